//! What changed between two reports, beyond what noise explains.
//!
//! Machines differ and are busy; so a contender's time is first divided by that of one which took
//! part in both reports and did not change (the reference: a native build if there is one). Only
//! without such a one are plain times compared, and the answer says so.

use std::fmt::Write;

use crate::report::{Kind, Metric, Race, Report};
use crate::stats::{geometric_mean, minimum, spread};

/// No difference below this is reported, whatever the samples say.
const FLOOR: f64 = 0.02;

/// A text that says what the subject of `new` does otherwise than in `old`: one line for each
/// program whose difference is larger than the noise of the samples, then a summary.
pub fn compare(old: &Report, new: &Report) -> String {
    let mut out = String::new();
    let subject = new.subject();
    let reference = reference(old, new);
    match reference {
        Some(name) => {
            let _ = writeln!(
                out,
                "Changes of {subject}, relative to {name} in the same run:"
            );
        }
        None => {
            let _ = writeln!(
                out,
                "Changes of {subject}, in plain times (no unchanged contender ran in both):"
            );
        }
    }
    if old.host.cpu != new.host.cpu {
        let _ = writeln!(
            out,
            "(The machines differ: {} and {}.)",
            old.host.cpu, new.host.cpu
        );
    }
    let (mut compared, mut noted, mut ratios) = (0, 0, Vec::new());
    for race in &new.races {
        let same = |r: &&Race| r.kind == race.kind && r.program == race.program;
        let Some(before) = old.races.iter().find(same) else {
            continue;
        };
        for &metric in race.kind.metrics() {
            // A peak of memory does not depend on how busy the machine is.
            let by = reference.filter(|_| metric != Metric::Memory);
            let (Some((was, was_noise)), Some((is, is_noise))) = (
                value(before, subject, by, metric),
                value(race, subject, by, metric),
            ) else {
                continue;
            };
            compared += 1;
            let ratio = is / was;
            if race.kind == Kind::Run && metric == Metric::Wall {
                ratios.push(ratio);
            }
            let noise = FLOOR.max(2.0 * (was_noise + is_noise));
            if (ratio - 1.0).abs() <= noise {
                continue;
            }
            noted += 1;
            let _ = writeln!(
                out,
                "  {:12} {:32} {:+.1} % (noise {:.1} %) {}",
                race.program,
                format!("{}: {}", race.kind.title().to_lowercase(), metric.title()),
                100.0 * (ratio - 1.0),
                100.0 * noise,
                if ratio < 1.0 { "better" } else { "WORSE" },
            );
        }
    }
    if compared == 0 {
        let _ = writeln!(out, "  no race that {subject} ran in both");
    } else if noted == 0 {
        let _ = writeln!(out, "  nothing beyond noise");
    }
    if !ratios.is_empty() {
        let _ = writeln!(
            out,
            "  run time over {} programs: {:+.1} %",
            ratios.len(),
            100.0 * (geometric_mean(&ratios) - 1.0)
        );
    }
    out
}

/// A contender that both reports have, other than the subject: native builds first, for nothing
/// that we change changes them.
fn reference<'a>(old: &Report, new: &'a Report) -> Option<&'a str> {
    let same = |name: &str, version: &str| {
        old.contenders
            .iter()
            .any(|c| c.name == name && c.version == version)
    };
    let mut common: Vec<&str> = new
        .contenders
        .iter()
        .skip(1)
        .filter(|c| same(&c.name, &c.version))
        .map(|c| c.name.as_str())
        .collect();
    common.sort_by_key(|name| match *name {
        "native" => 0,
        "limit" => 1,
        _ => 2,
    });
    common.first().copied()
}

/// The subject's minimum, divided by the reference's if that took part, and the noise of both.
fn value(
    race: &Race,
    subject: &str,
    reference: Option<&str>,
    metric: Metric,
) -> Option<(f64, f64)> {
    let own = race.values(subject, metric);
    let mut result = (minimum(&own), spread(&own));
    if let Some(reference) = reference {
        let by = race.values(reference, metric);
        if !by.is_empty() {
            result = (result.0 / minimum(&by), result.1 + spread(&by));
        }
    }
    (result.0.is_finite() && result.0 > 0.0).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::report::tests::report;

    #[test]
    fn a_slower_machine_is_no_change() {
        let old = report(&[("a", &[("us", &[1.0, 1.0]), ("native", &[0.5, 0.5])])]);
        let new = report(&[("a", &[("us", &[2.0, 2.0]), ("native", &[1.0, 1.0])])]);
        let text = compare(&old, &new);
        assert!(
            text.contains("relative to native") && text.contains("nothing beyond noise"),
            "{text}"
        );
    }

    #[test]
    fn reports_with_nothing_in_common_say_so() {
        let old = report(&[("a", &[("us", &[1.0])])]);
        let new = report(&[("a", &[("them", &[1.0])])]);
        assert!(compare(&old, &new).contains("no race that them ran in both"));
    }

    #[test]
    fn a_change_within_noise_is_not_told_and_one_beyond_is() {
        let old = report(&[
            ("noisy", &[("us", &[1.0, 1.2, 1.2])]),
            ("calm", &[("us", &[1.0, 1.0, 1.0])]),
        ]);
        let new = report(&[
            ("noisy", &[("us", &[1.3, 1.3, 1.3])]),
            ("calm", &[("us", &[1.3, 1.3, 1.3])]),
        ]);
        let text = compare(&old, &new);
        assert!(!text.contains("noisy "), "{text}");
        assert!(
            text.contains("calm") && text.contains("+30.0 %") && text.contains("WORSE"),
            "{text}"
        );
        assert!(text.contains("plain times"), "{text}");
    }
}
