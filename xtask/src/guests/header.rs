//! The machine-readable header of a WASI guest: which directories, arguments and input it expects
//! and what must come of it. `wasi/tests/guests/README.md` is the definition.
//!
//! An unknown directive or flag is an error: a case that is half understood proves nothing.

use anyhow::{Context, Result, bail};

/// One way to run a guest, and what must happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// Preopened directories in order.
    pub(crate) dirs: Vec<Dir>,
    /// Arguments after `argv[0]`; `{root}` stands for the fixture's absolute path.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) stdin: String,
    /// Whether the guest is given a listening TCP socket.
    pub(crate) listen: bool,
    /// What the runner's client sends to it before it closes its sending half.
    pub(crate) client: Option<String>,
    /// What is made on the host before the run, in order.
    pub(crate) fixtures: Vec<Fixture>,
    pub(crate) exit: i32,
    pub(crate) stdout: Vec<String>,
    pub(crate) stdout_bytes: Option<usize>,
    pub(crate) stderr: Vec<String>,
    pub(crate) stderr_has: Vec<String>,
    /// Lines that the client must receive.
    pub(crate) client_receives: Vec<String>,
    /// Peers under which the case is known to come out otherwise.
    pub(crate) differs: Vec<String>,
    /// Whether the runtime must offer read-only directories.
    pub(crate) needs_read_only: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Dir {
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Fixture {
    File {
        path: String,
        text: String,
    },
    Mkdir {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    /// `outside/secret.txt` with `secret` in it, beside the preopened directories.
    Outside,
}

/// All cases of a guest's source, in order.
pub(crate) fn parse(source: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut read_only = false;
    for (number, line) in source.lines().enumerate() {
        let Some(comment) = line.strip_prefix("//") else {
            break;
        };
        let comment = comment.strip_prefix(' ').unwrap_or(comment);
        let Some((word, rest)) = comment.split_once(':') else {
            continue;
        };
        let shouting = word.chars().all(|c| c.is_ascii_uppercase() || c == '-');
        if word.is_empty() || !shouting {
            continue;
        }
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let at = || format!("line {}: {word}", number + 1);
        if word == "RUN" {
            cases.push(parse_run(rest).with_context(at)?);
            continue;
        }
        if word == "NEEDS" {
            match rest.trim() {
                "read-only" => read_only = true,
                other => bail!("line {}: NEEDS knows no `{other}`", number + 1),
            }
            continue;
        }
        let case = cases
            .last_mut()
            .context("an expectation before any RUN")
            .with_context(at)?;
        match word {
            "EXIT" => case.exit = rest.trim().parse().with_context(at)?,
            "STDOUT" => case.stdout.push(rest.to_owned()),
            "STDOUT-BYTES" => case.stdout_bytes = Some(rest.trim().parse().with_context(at)?),
            "STDERR" => case.stderr.push(rest.to_owned()),
            "STDERR-HAS" => case.stderr_has.push(rest.to_owned()),
            "DIFFERS" => {
                let (peer, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                if reason.trim().is_empty() {
                    bail!("line {}: DIFFERS needs a peer and a reason", number + 1);
                }
                case.differs.push(peer.to_owned());
            }
            "CLIENT" => case.client_receives.push(rest.to_owned()),
            _ => bail!("line {}: unknown directive {word}", number + 1),
        }
    }
    for case in &mut cases {
        case.needs_read_only = read_only || case.dirs.iter().any(|d| d.read_only);
    }
    Ok(cases)
}

fn parse_run(line: &str) -> Result<Case> {
    let mut case = Case::default();
    for word in split_words(line)? {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, value.to_owned()),
            None => (word.as_str(), String::new()),
        };
        let pair = || {
            value
                .split_once(':')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .with_context(|| format!("{flag} needs A:B"))
        };
        match flag {
            "--dir" => {
                let (mode, guest) = pair()?;
                let read_only = match mode.as_str() {
                    "rw" => false,
                    "ro" => true,
                    _ => bail!("--dir is rw:NAME or ro:NAME"),
                };
                case.dirs.push(Dir { guest, read_only });
            }
            "--arg" => case.args.push(value),
            "--env" => case.env.push(value),
            "--stdin" => case.stdin = value,
            "--listen" => case.listen = true,
            "--client" => case.client = Some(value),
            "--outside" => case.fixtures.push(Fixture::Outside),
            "--file" => {
                let (path, text) = pair()?;
                case.fixtures.push(Fixture::File { path, text });
            }
            "--mkdir" => case.fixtures.push(Fixture::Mkdir { path: value }),
            "--symlink" => {
                let (path, target) = pair()?;
                case.fixtures.push(Fixture::Symlink { path, target });
            }
            _ => bail!("unknown flag {flag}"),
        }
    }
    Ok(case)
}

/// Splits at blanks. Double quotes group; inside them `\n`, `\t`, `\"` and `\\` are escapes.
fn split_words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => {
                let escaped = match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(other @ ('"' | '\\')) => other,
                    other => bail!("unknown escape \\{}", other.unwrap_or(' ')),
                };
                word.get_or_insert_default().push(escaped);
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_quotes_and_escapes() {
        let words = split_words(r#"--arg=a --arg= --stdin="x y\n\"q\"" "two words""#).unwrap();
        assert_eq!(
            words,
            ["--arg=a", "--arg=", "--stdin=x y\n\"q\"", "two words"]
        );
        assert!(split_words("\"open").is_err());
        assert!(split_words(r#""\x""#).is_err());
    }

    #[test]
    fn expectations_belong_to_the_run_before_them() {
        let source = "// Story: not a directive.\n// RUN: --dir=rw:/a\n// EXIT: 3\n// STDOUT:  x\n\
                      // RUN: --dir=ro:/b\nint main;\n// EXIT: 9\n";
        let cases = parse(source).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!((cases[0].exit, cases[1].exit), (3, 0));
        assert_eq!(cases[0].stdout, [" x"]);
        assert!(!cases[0].needs_read_only && cases[1].needs_read_only);
    }

    #[test]
    fn every_guest_has_a_header() {
        let folder = crate::process::root().join("wasi/tests/guests");
        let mut guests = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "c") {
                let cases = parse(&std::fs::read_to_string(&path).unwrap());
                assert!(
                    !cases.unwrap().is_empty(),
                    "{} is never run",
                    path.display()
                );
                assert!(
                    path.with_extension("wasm").is_file(),
                    "{} is not built",
                    path.display()
                );
                guests += 1;
            }
        }
        assert!(guests > 20);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(parse("// EXIT: 1\n").is_err());
        assert!(parse("// RUN: --directory=x\n").is_err());
        assert!(parse("// RUN:\n// STDUOT: x\n").is_err());
        assert!(parse("// RUN: --dir=xx:/\n").is_err());
    }
}
