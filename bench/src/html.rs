//! The report as one HTML page with SVG plots: no script, no font and no picture from elsewhere, so
//! the file can be mailed and still opens in ten years.

use std::fmt::Write;

use crate::report::{Kind, Metric, Race, Report};
use crate::stats::{minimum, spread};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #d0d7de; --quiet: #57606a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #30363d; --quiet: #9da7b3 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem } h3 { font-size: 1rem; margin-bottom: .3rem }
p, figcaption { color: var(--quiet) } figure { margin: 0; overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } 
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid var(--faint) }
th:first-child, td:first-child { text-align: left } td.good { color: #1a7f37 } td.bad { color: #cf222e }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif } svg .quiet { fill: var(--quiet) }
svg line { stroke: var(--faint) } svg line.one { stroke: var(--ink) }
";

/// Colours that the eye tells apart, also with colour blindness (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c",
];

/// The whole page.
pub fn page(report: &Report) -> String {
    let subject = report.subject();
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0} races</title>\n\
         <style>{STYLE}</style>\n<h1>{0} races</h1>\n<p>{1}, {2} threads, {3}; {4}.</p>\n",
        escape(subject),
        escape(&report.host.cpu),
        report.host.threads,
        escape(&report.host.system),
        escape(&report.date),
    );
    out.push_str("<table><tr><th>contender<th style=\"text-align:left\">version<th style=\"text-align:left\">how\n");
    for c in &report.contenders {
        let _ = writeln!(
            out,
            "<tr><td>{}<td style=\"text-align:left\">{}<td style=\"text-align:left\"><code>{}</code>",
            escape(&c.name),
            escape(&c.version),
            escape(&c.how)
        );
    }
    out.push_str("</table>\n");
    for kind in Kind::ALL {
        if report.races(kind).next().is_none() {
            continue;
        }
        let _ = writeln!(out, "<h2>{}</h2>", kind.title());
        for &metric in kind.metrics() {
            let _ = writeln!(out, "<h3>{}</h3>", capital(metric.title()));
            if kind == Kind::Checks {
                variants_table(&mut out, report, kind, metric);
                continue;
            }
            ratio_plot(&mut out, report, kind, metric);
            table(&mut out, report, kind, metric);
        }
    }
    out.push_str("</html>\n");
    out
}

/// One dot for each program and peer on a logarithmic axis of ratios; left of 1 is better.
fn ratio_plot(out: &mut String, report: &Report, kind: Kind, metric: Metric) {
    let subject = report.subject();
    let peers = report.peers(kind);
    let races: Vec<&Race> = report.races(kind).collect();
    let ratios: Vec<f64> = races
        .iter()
        .flat_map(|race| peers.iter().filter_map(|p| race.ratio(subject, p, metric)))
        .collect();
    if ratios.is_empty() {
        return;
    }
    let low = minimum(&ratios).min(0.5).ln() - 0.1;
    let high = -minimum(&ratios.iter().map(|r| -r).collect::<Vec<_>>());
    let high = high.max(2.0).ln() + 0.1;
    let (left, width, row) = (110.0, 640.0, 22.0);
    let x = |ratio: f64| left + (ratio.ln() - low) / (high - low) * width;
    let rows = races.len() + 1;
    let bottom = 30.0 + row * rows as f64;
    let _ = writeln!(
        out,
        "<figure><svg viewBox=\"0 0 780 {:.0}\" width=\"780\" role=\"img\" aria-label=\"ratios of {}\">",
        bottom + 30.0,
        metric.title()
    );
    for tick in [
        0.05, 0.1, 0.2, 0.33, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0,
    ] {
        let at: f64 = x(tick);
        if (left..=left + width).contains(&at) {
            let class = if tick == 1.0 { " class=\"one\"" } else { "" };
            let _ = writeln!(
                out,
                "<line{class} x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"24\" y2=\"{bottom:.0}\"/>\
                 <text class=\"quiet\" x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{tick}</text>",
                bottom + 16.0
            );
        }
    }
    for (i, peer) in peers.iter().enumerate() {
        let at = left + 130.0 * i as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{at:.0}\" cy=\"10\" r=\"5\" fill=\"{}\"/><text x=\"{:.0}\" y=\"14\">/ {}</text>",
            COLOURS[i % COLOURS.len()],
            at + 10.0,
            escape(peer)
        );
    }
    for line in 0..rows {
        let y = 40.0 + row * line as f64;
        let race = races.get(line);
        let name = race.map_or("mean", |r| r.program.as_str());
        let weight = if race.is_none() {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\"{weight}>{}</text>",
            left - 12.0,
            y + 4.0,
            escape(name)
        );
        for (i, peer) in peers.iter().enumerate() {
            let ratio = match race {
                Some(race) => race.ratio(subject, peer, metric),
                None => report.mean_ratio(kind, peer, metric).map(|(mean, _)| mean),
            };
            if let Some(ratio) = ratio {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{}\" fill-opacity=\".85\">\
                     <title>{} / {}, {}: {ratio:.3}</title></circle>",
                    x(ratio),
                    COLOURS[i % COLOURS.len()],
                    escape(subject),
                    escape(peer),
                    escape(name)
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "</svg><figcaption>{} / peer, logarithmic; left of 1 is better for {0}.</figcaption></figure>",
        escape(subject)
    );
}

fn table(out: &mut String, report: &Report, kind: Kind, metric: Metric) {
    let subject = report.subject();
    let peers = report.peers(kind);
    let _ = write!(
        out,
        "<table><tr><th>program<th>{}<th>noise",
        escape(subject)
    );
    for peer in &peers {
        let _ = write!(out, "<th>{}<th>ratio", escape(peer));
    }
    out.push('\n');
    for race in report.races(kind) {
        let own = race.values(subject, metric);
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{:.1} %",
            escape(&race.program),
            number(minimum(&own)),
            100.0 * spread(&own)
        );
        for peer in &peers {
            let value = minimum(&race.values(peer, metric));
            let _ = write!(
                out,
                "<td>{}{}",
                number(value),
                ratio_cell(race.ratio(subject, peer, metric))
            );
        }
        out.push('\n');
    }
    out.push_str("<tr><th>geometric mean<td><td>");
    for peer in &peers {
        let mean = report.mean_ratio(kind, peer, metric).map(|(mean, _)| mean);
        let _ = write!(out, "<td>{}", ratio_cell(mean));
    }
    out.push_str("\n</table>\n");
}

/// What settings cost: a variant's value over that of what it is a variant of.
fn variants_table(out: &mut String, report: &Report, kind: Kind, metric: Metric) {
    let variants = report.variants(kind);
    out.push_str("<table><tr><th>program");
    for (name, base) in &variants {
        let _ = write!(out, "<th>{} / {}", escape(name), escape(base));
    }
    for race in report.races(kind) {
        let _ = write!(out, "\n<tr><td>{}", escape(&race.program));
        for (name, base) in &variants {
            out.push_str(&ratio_cell(race.ratio(name, base, metric)));
        }
    }
    out.push_str("\n<tr><th>geometric mean");
    for &variant in &variants {
        out.push_str(&ratio_cell(report.variant_mean(kind, variant, metric)));
    }
    out.push_str("\n</table>\n");
}

fn ratio_cell(ratio: Option<f64>) -> String {
    match ratio {
        Some(r) if r < 0.98 => format!("<td class=\"good\">{r:.3}"),
        Some(r) if r > 1.02 => format!("<td class=\"bad\">{r:.3}"),
        Some(r) => format!("<td>{r:.3}"),
        None => "<td>–".to_owned(),
    }
}

fn number(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".to_owned(),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.3}"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::report::tests::report;

    #[test]
    fn a_page_stands_alone_and_escapes_what_it_shows() {
        let report = report(&[
            ("a", &[("us", &[1.0, 1.1]), ("them", &[2.0, 2.0])]),
            ("b", &[("us", &[3.0]), ("them", &[1.0])]),
        ]);
        let page = page(&report);
        assert!(page.contains("<svg") && page.contains("1 &lt; 2"));
        for outside in ["http:", "https:", "<script", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("NaN"));
    }
}
