//! What a call across the border costs, for a library's user: host → wasm, wasm → host, and making
//! an instance; Bimetal and, with the feature `peer`, Wasmtime in the same process.
//!
//! Both run the same source ([`cases.rs`](../cases.rs), compiled against each), taking turns in
//! short bursts of a fraction of a millisecond. A round keeps each one's best burst, so what a busy
//! machine takes away falls out, and what is printed (as JSON, for `cargo xtask bench --parts
//! calls`) is seconds per call, of each round.
//!
//! A call of the host out of wasm is measured in a loop of wasm; the best time of the same loop
//! with an addition in the call's place is subtracted. So it can come out as less than nothing,
//! were a call cheaper than an addition.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use bimetal_bench::{Kind, Race, Sample};

/// Bursts in a round.
const BURSTS: u32 = 5;

/// Something to measure.
struct Case {
    name: &'static str,
    /// Calls in a burst.
    calls: u32,
    /// What to subtract: the name of another case.
    without: Option<&'static str>,
    /// Does so many.
    run: Box<dyn FnMut(u32)>,
}

impl Case {
    fn new(name: &'static str, calls: u32, run: impl FnMut(u32) + 'static) -> Case {
        Case {
            name,
            calls,
            without: None,
            run: Box::new(run),
        }
    }

    fn without(mut self, other: &'static str) -> Case {
        self.without = Some(other);
        self
    }

    /// Seconds per call, of the best burst.
    fn measure(&mut self) -> f64 {
        let bursts = (0..BURSTS).map(|_| {
            let start = Instant::now();
            (self.run)(self.calls);
            start.elapsed().as_secs_f64() / f64::from(self.calls)
        });
        bursts.fold(f64::INFINITY, f64::min)
    }
}

mod bimetal_side {
    use ::bimetal as runtime;
    include!("cases.rs");
}

#[cfg(feature = "peer")]
mod wasmtime_side {
    use ::wasmtime as runtime;
    include!("cases.rs");
}

/// Who takes part, in the order of their turns.
type Field = Vec<(&'static str, Vec<Case>)>;

fn field() -> Field {
    let error = |error: &dyn std::fmt::Display| format!("cannot prepare: {error:#}");
    let mut field: Field = Vec::new();
    match bimetal_side::cases() {
        Ok(cases) => field.push(("bimetal", cases)),
        Err(e) => eprintln!("{}", error(&e)),
    }
    #[cfg(feature = "peer")]
    match wasmtime_side::cases() {
        Ok(cases) => field.push(("wasmtime (library)", cases)),
        Err(e) => eprintln!("{}", error(&e)),
    }
    field
}

/// Runs all rounds; seconds per call by case and contender.
fn race(field: &mut Field, rounds: u32, filter: &[String]) -> Vec<Race> {
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let cases = || field.iter().flat_map(|(_, cases)| cases);
    let subtracted: Vec<&str> = cases()
        .filter(|case| wanted(case.name))
        .filter_map(|case| case.without)
        .collect();
    let names: Vec<&str> = field
        .first()
        .map(|(_, cases)| cases.iter().map(|case| case.name).collect())
        .unwrap_or_default();
    let names = names
        .into_iter()
        .filter(|name| wanted(name) || subtracted.contains(name))
        .collect::<Vec<_>>();
    let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..=rounds {
        for &name in &names {
            for (who, cases) in field.iter_mut() {
                let Some(case) = cases.iter_mut().find(|case| case.name == name) else {
                    continue;
                };
                let time = case.measure();
                // The first round is for the caches and the lazy compiler.
                if round > 0 {
                    times.entry((name, who)).or_default().push(time);
                }
            }
        }
    }
    let least = |name: &str, who: &str| {
        let times = times.iter().find(|((n, w), _)| *n == name && *w == who);
        times.map_or(0.0, |(_, times)| bimetal_bench::minimum(times))
    };
    let mut races = Vec::new();
    for &name in names.iter().filter(|name| wanted(name)) {
        let mut samples = BTreeMap::new();
        for (who, cases) in field.iter() {
            let Some(case) = cases.iter().find(|case| case.name == name) else {
                continue;
            };
            let less = case.without.map_or(0.0, |other| least(other, who));
            let Some(times) = times.get(&(name, *who)) else {
                continue;
            };
            let sample = |time: &f64| Sample {
                wall: time - less,
                cpu: 0.0,
                memory: 0,
            };
            samples.insert((*who).to_owned(), times.iter().map(sample).collect());
        }
        races.push(Race {
            kind: Kind::Call,
            program: name.to_owned(),
            samples,
        });
    }
    races
}

/// `calls ROUNDS [NAME]…`: only cases whose name contains one of these.
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let rounds = match args.next().map(|text| text.parse::<u32>()) {
        None => 20,
        Some(Ok(rounds)) if rounds > 0 => rounds,
        Some(_) => {
            eprintln!("usage: calls [ROUNDS [NAME]...]");
            return ExitCode::FAILURE;
        }
    };
    let filter: Vec<String> = args.collect();
    let races = race(&mut field(), rounds, &filter);
    match serde_json::to_string(&races) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
