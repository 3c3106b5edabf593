//! The report of a race: who ran, on what machine, every single measurement; and its printed table.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::stats::{geometric_mean, median, minimum, spread};

/// All that one `cargo xtask bench` measured. This is also the JSON file's shape.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub schema: u32,
    /// When the race began, in UTC.
    pub date: String,
    /// Where it ran.
    pub host: Host,
    /// Who ran. The first one is the subject: ratios are its time over another's.
    pub contenders: Vec<Contender>,
    /// What was raced.
    pub races: Vec<Race>,
}

/// The machine of a report.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Host {
    /// The processor's name.
    pub cpu: String,
    /// Hardware threads that were available.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
}

/// One that runs programs: a runtime, or a native build.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Contender {
    /// A short name: `bimetal`, `wasmtime`, `native`.
    pub name: String,
    /// What it says its version is.
    pub version: String,
    /// How it is run, for the reader.
    pub how: String,
    /// The contender that this one is, but for a setting whose price is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant_of: Option<String>,
}

/// What a race measures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A guest program that computes for seconds.
    Run,
    /// Compiling a large module, and nothing else.
    Compile,
    /// A large program that does next to nothing, with nothing cached.
    Start,
    /// The same, by who has run or compiled it before.
    Restart,
    /// Compiling a large module that is known but for one function.
    Rebuild,
    /// One call between host and wasm, as a library.
    Call,
    /// Making an instance with its store, maybe using it, and dropping both.
    Instance,
    /// A guest program with checks for deadlines or fuel in its code.
    Checks,
    /// A guest program that makes objects on the collected heap.
    Gc,
    /// Threads that share a memory, as a library.
    Threads,
}

/// One number of a sample.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metric {
    /// Wall time.
    Wall,
    /// Wall time of something short.
    PerCall,
    /// User and system time of all threads.
    Cpu,
    /// Peak resident memory.
    Memory,
}

/// One program, run by everyone who can.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Race {
    /// What is measured.
    pub kind: Kind,
    /// The program's name.
    pub program: String,
    /// The samples of each contender, in the order of the rounds.
    pub samples: BTreeMap<String, Vec<Sample>>,
}

/// One run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Sample {
    /// Wall time in seconds.
    pub wall: f64,
    /// User and system time in seconds.
    pub cpu: f64,
    /// Peak resident memory in bytes.
    pub memory: u64,
}

impl Kind {
    /// All kinds, in the order of the report.
    pub const ALL: [Kind; 10] = [
        Kind::Run,
        Kind::Gc,
        Kind::Compile,
        Kind::Start,
        Kind::Restart,
        Kind::Rebuild,
        Kind::Call,
        Kind::Instance,
        Kind::Checks,
        Kind::Threads,
    ];

    /// A heading for the kind.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Run => "Run time of compiled programs",
            Kind::Gc => "Run time of programs on collected objects",
            Kind::Compile => "Compiling large modules",
            Kind::Start => "Cold start",
            Kind::Restart => "Second start",
            Kind::Rebuild => "Compiling again with one function changed",
            Kind::Call => "Calls between host and wasm",
            Kind::Instance => "A store and an instance",
            Kind::Checks => "The price of checks",
            Kind::Threads => "Threads that share a memory",
        }
    }

    /// What counts in this kind.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Kind::Run => &[Metric::Wall, Metric::Cpu],
            Kind::Gc => &[Metric::Wall, Metric::Cpu, Metric::Memory],
            Kind::Compile => &[Metric::Cpu, Metric::Wall, Metric::Memory],
            Kind::Start => &[Metric::Wall, Metric::Memory],
            Kind::Restart => &[Metric::Wall, Metric::Cpu, Metric::Memory],
            Kind::Rebuild => &[Metric::Cpu, Metric::Wall, Metric::Memory],
            Kind::Call | Kind::Instance | Kind::Threads => &[Metric::PerCall],
            Kind::Checks => &[Metric::Cpu],
        }
    }
}

impl Metric {
    /// What it is called, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Wall => "wall time, s",
            Metric::PerCall => "time of one, ns",
            Metric::Cpu => "processor time, s",
            Metric::Memory => "peak memory, MB",
        }
    }

    /// The sample's value in the unit of `title`.
    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Metric::Wall => sample.wall,
            Metric::PerCall => sample.wall * 1e9,
            Metric::Cpu => sample.cpu,
            Metric::Memory => sample.memory as f64 / 1e6,
        }
    }
}

impl Race {
    /// A contender's values of one metric; empty when it did not take part.
    pub fn values(&self, contender: &str, metric: Metric) -> Vec<f64> {
        let samples = self.samples.get(contender).map_or(&[][..], Vec::as_slice);
        samples.iter().map(|s| metric.of(s)).collect()
    }

    /// The ratio of two contenders' minima: below 1, `subject` needs less. `None` unless both ran.
    pub fn ratio(&self, subject: &str, peer: &str, metric: Metric) -> Option<f64> {
        let ratio = minimum(&self.values(subject, metric)) / minimum(&self.values(peer, metric));
        // What remains of a call after its loop was subtracted can be nothing.
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }

    /// The same of the medians.
    pub fn median_ratio(&self, subject: &str, peer: &str, metric: Metric) -> Option<f64> {
        let ratio = median(&self.values(subject, metric)) / median(&self.values(peer, metric));
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }
}

impl Report {
    /// The name of the first contender.
    pub fn subject(&self) -> &str {
        self.contenders.first().map_or("", |c| c.name.as_str())
    }

    /// The races of a kind.
    pub fn races(&self, kind: Kind) -> impl Iterator<Item = &Race> {
        self.races.iter().filter(move |race| race.kind == kind)
    }

    /// The contenders other than the subject that took part in a race of this kind.
    pub fn peers(&self, kind: Kind) -> Vec<&str> {
        let took_part = |name: &str| self.races(kind).any(|race| race.samples.contains_key(name));
        let names = self.contenders.iter().skip(1).map(|c| c.name.as_str());
        names.filter(|name| took_part(name)).collect()
    }

    /// The geometric mean of the ratios to a peer, over the races where both took part, and how many
    /// those were.
    pub fn mean_ratio(&self, kind: Kind, peer: &str, metric: Metric) -> Option<(f64, usize)> {
        let subject = self.subject();
        let ratios: Vec<f64> = self
            .races(kind)
            .filter_map(|race| race.ratio(subject, peer, metric))
            .collect();
        (!ratios.is_empty()).then(|| (geometric_mean(&ratios), ratios.len()))
    }

    fn name_width(&self, kind: Kind) -> usize {
        let names = self.races(kind).map(|race| race.program.chars().count());
        names.max().unwrap_or(0).max(12)
    }

    /// The contenders that are another with a setting, and that other, as far as both took part in a
    /// race of this kind.
    pub fn variants(&self, kind: Kind) -> Vec<(&str, &str)> {
        let took_part = |name: &str| self.races(kind).any(|race| race.samples.contains_key(name));
        let both =
            |c: &Contender| took_part(&c.name) && c.variant_of.as_deref().is_some_and(took_part);
        self.contenders
            .iter()
            .filter(|c| both(c))
            .filter_map(|c| Some((c.name.as_str(), c.variant_of.as_deref()?)))
            .collect()
    }

    /// The geometric mean of a variant's ratios to what it is a variant of: 1.03 is 3 % more.
    pub fn variant_mean(&self, kind: Kind, variant: (&str, &str), metric: Metric) -> Option<f64> {
        let (name, base) = variant;
        let ratios: Vec<f64> = self
            .races(kind)
            .filter_map(|race| race.ratio(name, base, metric))
            .collect();
        (!ratios.is_empty()).then(|| geometric_mean(&ratios))
    }

    /// What the variants cost more, by minima and, in parentheses, by medians.
    fn variants_table(&self, kind: Kind, metric: Metric) -> String {
        let variants = self.variants(kind);
        let mut out = format!(
            "\n{}: more {}\n{:12}",
            kind.title(),
            metric.title(),
            "program"
        );
        for (name, _) in &variants {
            let _ = write!(out, "  {name:>20}");
        }
        let percent = |ratio: f64| 100.0 * (ratio - 1.0);
        for race in self.races(kind) {
            let _ = write!(out, "\n{:12}", race.program);
            for (name, base) in &variants {
                let cell = match (
                    race.ratio(name, base, metric),
                    race.median_ratio(name, base, metric),
                ) {
                    (Some(least), Some(middle)) => {
                        format!("{:+.1} % ({:+.1} %)", percent(least), percent(middle))
                    }
                    _ => "-".to_owned(),
                };
                let _ = write!(out, "  {cell:>20}");
            }
        }
        let _ = write!(out, "\n{:12}", "mean");
        for &variant in &variants {
            let mean = self.variant_mean(kind, variant, metric);
            let cell = mean.map_or("-".to_owned(), |mean| format!("{:+.2} %", percent(mean)));
            let _ = write!(out, "  {cell:>20}");
        }
        out.push('\n');
        out
    }

    /// Tables for a terminal: for each kind and metric the subject's minimum and its noise, then for
    /// each peer the ratio of the minima and, in parentheses, of the medians.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let subject = self.subject();
        for kind in Kind::ALL {
            let peers = self.peers(kind);
            if self.races(kind).next().is_none() {
                continue;
            }
            for &metric in kind.metrics() {
                if kind == Kind::Checks {
                    out.push_str(&self.variants_table(kind, metric));
                    continue;
                }
                let _ = writeln!(out, "\n{}: {}", kind.title(), metric.title());
                let width = self.name_width(kind);
                let _ = write!(out, "{:width$} {:>9} {:>6}", "program", subject, "noise");
                for peer in &peers {
                    let _ = write!(out, "  {:>15}", format!("/ {peer}"));
                }
                out.push('\n');
                for race in self.races(kind) {
                    let own = race.values(subject, metric);
                    let _ = write!(out, "{:width$}", race.program);
                    if own.is_empty() {
                        let _ = write!(out, " {:>9} {:>6}", "-", "-");
                    } else {
                        let noise = 100.0 * spread(&own);
                        let _ = write!(out, " {:9.3} {noise:5.1}%", minimum(&own));
                    }
                    for peer in &peers {
                        let cell = match (
                            race.ratio(subject, peer, metric),
                            race.median_ratio(subject, peer, metric),
                        ) {
                            (Some(least), Some(middle)) => format!("{least:.3} ({middle:.3})"),
                            _ => "-".to_owned(),
                        };
                        let _ = write!(out, "  {cell:>15}");
                    }
                    out.push('\n');
                }
                let _ = write!(out, "{:width$} {:>9} {:>6}", "mean", "", "");
                for peer in &peers {
                    let cell = match self.mean_ratio(kind, peer, metric) {
                        Some((mean, count)) => format!("{mean:.3} of {count}"),
                        None => "-".to_owned(),
                    };
                    let _ = write!(out, "  {cell:>15}");
                }
                out.push('\n');
            }
        }
        let _ = writeln!(
            out,
            "\nRatios are {subject} / peer by minima (medians): below 1 is better for {subject}."
        );
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A contender's name and its times.
    type Times<'a> = (&'a str, &'a [f64]);

    pub(crate) fn report(times: &[(&str, &[Times<'_>])]) -> Report {
        let contender = |name: &str| Contender {
            name: name.to_owned(),
            version: "1 < 2".to_owned(),
            how: String::new(),
            variant_of: None,
        };
        let sample = |&wall: &f64| Sample {
            wall,
            cpu: wall,
            memory: 1_000_000,
        };
        Report {
            contenders: times[0].1.iter().map(|(name, _)| contender(name)).collect(),
            races: times
                .iter()
                .map(|(program, samples)| Race {
                    kind: Kind::Run,
                    program: (*program).to_owned(),
                    samples: samples
                        .iter()
                        .map(|(name, walls)| {
                            ((*name).to_owned(), walls.iter().map(sample).collect())
                        })
                        .collect(),
                })
                .collect(),
            ..Report::default()
        }
    }

    #[test]
    fn ratios_and_their_mean() {
        let report = report(&[
            ("a", &[("us", &[1.0, 1.2, 1.1]), ("them", &[2.0, 2.2, 2.4])]),
            ("b", &[("us", &[2.0]), ("them", &[1.0])]),
            ("c", &[("us", &[2.0])]),
        ]);
        assert_eq!(report.races[0].ratio("us", "them", Metric::Wall), Some(0.5));
        assert_eq!(
            report.races[0].median_ratio("us", "them", Metric::Wall),
            Some(0.5)
        );
        assert_eq!(report.races[2].ratio("us", "them", Metric::Wall), None);
        let (mean, count) = report.mean_ratio(Kind::Run, "them", Metric::Wall).unwrap();
        assert!((mean - 1.0).abs() < 1e-12 && count == 2);
        let table = report.table();
        assert!(
            table.contains("0.500 (0.500)") && table.contains("1.000 of 2"),
            "{table}"
        );
    }

    #[test]
    fn what_a_setting_costs() {
        let mut report = report(&[
            ("a", &[("us", &[1.0, 1.0]), ("us+x", &[1.1, 1.2])]),
            ("b", &[("us", &[2.0]), ("us+x", &[2.2])]),
        ]);
        report.contenders[1].variant_of = Some("us".to_owned());
        for race in &mut report.races {
            race.kind = Kind::Checks;
        }
        let variants = report.variants(Kind::Checks);
        assert_eq!(variants, [("us+x", "us")]);
        let mean = report.variant_mean(Kind::Checks, variants[0], Metric::Cpu);
        assert!((mean.unwrap() - 1.1).abs() < 1e-12);
        let table = report.table();
        assert!(
            table.contains("+10.0 % (+15.0 %)") && table.contains("+10.00 %"),
            "{table}"
        );
    }

    #[test]
    fn json_gives_the_same_report_back() {
        let report = report(&[("a", &[("us", &[1.5])])]);
        let json = serde_json::to_string(&report).unwrap();
        let back: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::to_string(&back).unwrap());
        assert!(json.contains("\"kind\":\"run\""));
    }
}
