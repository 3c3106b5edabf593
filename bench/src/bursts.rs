//! Measuring what takes nanoseconds or microseconds, Bimetal and others in one process.
//!
//! All do the same things in short bursts, taking turns. A round keeps each one's best burst, so what a
//! busy machine takes away falls out; what comes out is seconds for one, of each round.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use crate::report::{Kind, Race, Sample};
use crate::stats::minimum;

/// Bursts in a round.
const BURSTS: u32 = 5;

/// Something to measure.
#[allow(missing_debug_implementations, reason = "it is mostly a closure")]
pub struct Case {
    name: &'static str,
    /// How many in a burst.
    count: u32,
    /// What to subtract: the name of another case.
    without: Option<&'static str>,
    /// Does so many.
    run: Box<dyn FnMut(u32)>,
}

impl Case {
    /// What `run` does so often as it is told, `count` times in a burst.
    pub fn new(name: &'static str, count: u32, run: impl FnMut(u32) + 'static) -> Case {
        Case {
            name,
            count,
            without: None,
            run: Box::new(run),
        }
    }

    /// Subtracts the best time of another case.
    pub fn without(mut self, other: &'static str) -> Case {
        self.without = Some(other);
        self
    }

    /// Seconds for one, of the best burst.
    fn measure(&mut self) -> f64 {
        let bursts = (0..BURSTS).map(|_| {
            let start = Instant::now();
            (self.run)(self.count);
            start.elapsed().as_secs_f64() / f64::from(self.count)
        });
        bursts.fold(f64::INFINITY, f64::min)
    }
}

/// Who takes part, in the order of their turns.
pub type Field = Vec<(&'static str, Vec<Case>)>;

/// Runs all rounds; seconds per call by case and contender.
fn race(kind: Kind, field: &mut Field, rounds: u32, filter: &[String]) -> Vec<Race> {
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
        times.map_or(0.0, |(_, times)| minimum(times))
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
            kind,
            program: name.to_owned(),
            samples,
        });
    }
    races
}

/// The program: `NAME ROUNDS [CASE]…`, only cases whose name contains one of these. Prints races as
/// JSON.
pub fn main(kind: Kind, field: impl FnOnce() -> Field) -> ExitCode {
    let mut args = std::env::args().skip(1);
    let rounds = match args.next().map(|text| text.parse::<u32>()) {
        None => 20,
        Some(Ok(rounds)) if rounds > 0 => rounds,
        Some(_) => {
            eprintln!("usage: [ROUNDS [CASE]...]");
            return ExitCode::FAILURE;
        }
    };
    let filter: Vec<String> = args.collect();
    let races = race(kind, &mut field(), rounds, &filter);
    match serde_json::to_string(&races) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The whole of a benchmark that races libraries: the `cases()` of a file, compiled against Bimetal
/// and, with the feature `peer`, against Wasmtime, each of which it knows as `runtime`.
#[macro_export]
macro_rules! library_race {
    ($kind:ident, $cases:literal) => {
        mod bimetal_side {
            use ::bimetal as runtime;
            include!($cases);
        }

        #[cfg(feature = "peer")]
        mod wasmtime_side {
            use ::wasmtime as runtime;
            include!($cases);
        }

        fn field() -> $crate::bursts::Field {
            let error = |error: &dyn std::fmt::Display| format!("cannot prepare: {error:#}");
            let mut field = $crate::bursts::Field::new();
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

        fn main() -> std::process::ExitCode {
            $crate::bursts::main($crate::Kind::$kind, field)
        }
    };
}
