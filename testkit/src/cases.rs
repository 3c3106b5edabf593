//! Command-line cases: files that say how to run a program and what must come of it.
//!
//! A case file is text of any kind; lines that begin with `;;` (or `#`, in files without wasm
//! text) and a keyword are its headers. Each `RUN` begins a case, and what follows it until the
//! next one belongs to it:
//!
//! ```text
//! ;; RUN: bimetal run %s a "b c"    the command line, split like a shell's; no shell runs
//! ;; STDIN: text                    a line of standard input
//! ;; ENV: KEY=VALUE                 a variable of the environment, which is otherwise empty
//! ;; WRITE: name text               a file `%t/name` to write before, with `\n` and `\xNN`
//! ;; EXIT: 134                      the exit code; 0 without it
//! ;; STDOUT: text                   a line of standard output; together they are all of it
//! ;; STDOUT-HAS: text               a part of standard output, in this order
//! ;; STDERR: text                   a part of standard error, in this order
//! ;; STDOUT-NOT: text               is not in standard output
//! ;; STDERR-NOT: text               is not in standard error
//! ```
//!
//! In each of them `%s` is the file, `%d` its folder and `%t` an empty folder of the case's own.
//! Without `STDOUT` and `STDOUT-HAS` there must be no standard output; without `STDERR`, no
//! standard error if the exit code is 0. So a case that forgets something fails.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// One run of a program.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The file and the run's number in it, for messages.
    pub name: String,
    path: PathBuf,
    command: String,
    stdin: String,
    env: Vec<String>,
    write: Vec<String>,
    exit: i32,
    stdout: Option<String>,
    stdout_has: Vec<String>,
    stdout_not: Vec<String>,
    stderr: Vec<String>,
    stderr_not: Vec<String>,
}

/// Reads the cases of every file in `folder` (not of its subfolders), in order of names.
///
/// # Errors
/// A file that cannot be read, has no case, or has a header that is not known.
pub fn load_folder(folder: &Path) -> Result<Vec<Case>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        // Binary files are other cases' material.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let found = parse(&path, &text).with_context(|| path.display().to_string())?;
        if found.is_empty() {
            bail!("{}: no `RUN:` line", path.display());
        }
        cases.extend(found);
    }
    Ok(cases)
}

/// Reads the cases of one file. A file whose first line is `;; MATERIAL` has none and is for
/// others to name.
///
/// # Errors
/// A header that is not known or stands before the first `RUN`.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    if text.starts_with(";; MATERIAL") {
        return Ok(vec![]);
    }
    for (number, line) in text.lines().enumerate() {
        let Some((keyword, value)) = header(line) else {
            continue;
        };
        if keyword == "RUN" {
            cases.push(Case {
                name: format!("{stem}:{}", number + 1),
                path: path.to_path_buf(),
                command: value.to_string(),
                ..Case::default()
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            bail!("line {}: `{keyword}` before the first `RUN`", number + 1);
        };
        let value = value.to_string();
        match keyword {
            "STDIN" => case.stdin.push_str(&(value + "\n")),
            "ENV" => case.env.push(value),
            "WRITE" => case.write.push(value),
            "EXIT" => {
                case.exit = value
                    .trim()
                    .parse()
                    .with_context(|| format!("line {}: `EXIT` is a number", number + 1))?;
            }
            "STDOUT" => case
                .stdout
                .get_or_insert_default()
                .push_str(&(value + "\n")),
            "STDOUT-HAS" => case.stdout_has.push(value),
            "STDOUT-NOT" => case.stdout_not.push(value),
            "STDERR" => case.stderr.push(value),
            "STDERR-NOT" => case.stderr_not.push(value),
            other => bail!("line {}: unknown header `{other}`", number + 1),
        }
    }
    Ok(cases)
}

/// `;; KEYWORD: value`, where the keyword is in capitals; anything else is a comment.
fn header(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix(";;").or_else(|| line.strip_prefix('#'))?;
    let (keyword, value) = rest.trim_start().split_once(':')?;
    let is_keyword = !keyword.is_empty()
        && keyword
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    is_keyword.then(|| (keyword, value.strip_prefix(' ').unwrap_or(value)))
}

impl Case {
    /// Runs the case; the first word of the command line stands for `program`.
    ///
    /// # Errors
    /// What differs from the headers, with the whole output.
    pub fn run(&self, program: &Path) -> Result<()> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let expand = |text: &str| -> String {
            let parent = self.path.parent().unwrap_or(Path::new("."));
            text.replace("%s", &self.path.display().to_string())
                .replace("%d", &parent.display().to_string())
                .replace("%t", &folder.path().display().to_string())
        };
        for file in &self.write {
            let (name, content) = file.split_once(' ').unwrap_or((file, ""));
            std::fs::write(folder.path().join(name), unescape(content)?)?;
        }

        let words = split(&self.command)?;
        let mut command = Command::new(program);
        command
            .args(
                words
                    .iter()
                    .skip(1)
                    .map(|word| OsString::from(expand(word))),
            )
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in &self.env {
            let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
            command.env(key, expand(value));
        }
        let mut child = command.spawn().context("the program does not start")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program may end without reading its input.
            let _ = stdin.write_all(self.stdin.as_bytes());
        }
        let output = child.wait_with_output()?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);

        let mut differences = Vec::new();
        let code = output.status.code();
        if code != Some(self.exit) {
            differences.push(format!(
                "exit code: expected {}, got {}",
                self.exit, output.status
            ));
        }
        match &self.stdout {
            Some(expected) if *stdout != expand(expected) => {
                differences.push(format!("stdout: expected:\n{expected}"));
            }
            None if self.stdout_has.is_empty() && !stdout.is_empty() => {
                differences.push("stdout: expected nothing".into());
            }
            _ => {}
        }
        if self.stderr.is_empty() && self.exit == 0 && !stderr.is_empty() {
            differences.push("stderr: expected nothing".into());
        }
        for (name, text, parts, absent) in [
            ("stdout", &stdout, &self.stdout_has, &self.stdout_not),
            ("stderr", &stderr, &self.stderr, &self.stderr_not),
        ] {
            let mut rest: &str = text;
            for part in parts.iter().map(|part| expand(part)) {
                match rest.find(&part) {
                    Some(at) => rest = &rest[at + part.len()..],
                    None => differences.push(format!("{name}: expected (in order): {part}")),
                }
            }
            for part in absent.iter().map(|part| expand(part)) {
                if text.contains(&part) {
                    differences.push(format!("{name}: must not have: {part}"));
                }
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: {}\n{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            self.name,
            self.command,
            differences.join("\n")
        )
    }
}

/// Splits a command line at spaces; quotes of both kinds keep them, and there is nothing else.
fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("an open quote in `{line}`");
    }
    words.extend(word);
    Ok(words)
}

/// Replaces `\n`, `\\` and `\xNN`.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                    _ => bail!("`\\x` wants two digits in `{text}`"),
                }
            }
            _ => bail!("an unknown escape in `{text}`"),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_belong_to_the_run_before_them() {
        let text = ";; RUN: x run %s\n;; STDOUT: a\n;; STDOUT: b\n(module)\n\
                    ;; a comment: no header\n;; RUN: x no\n;; EXIT: 1\n;; STDERR: error\n";
        let cases = parse(Path::new("dir/t.wat"), text).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].stdout.as_deref(), Some("a\nb\n"));
        assert_eq!((cases[1].exit, cases[1].name.as_str()), (1, "t.wat:6"));
    }

    #[test]
    fn unknown_headers_are_errors() {
        assert!(parse(Path::new("t"), ";; RUN: x\n;; STDUOT: a\n").is_err());
        assert!(parse(Path::new("t"), ";; EXIT: 1\n").is_err());
    }

    #[test]
    fn words() {
        assert_eq!(
            split("a  'b c' d\"e f\" ''").unwrap(),
            ["a", "b c", "de f", ""]
        );
        assert!(split("a 'b").is_err());
        assert_eq!(unescape("a\\n\\x00\\\\").unwrap(), b"a\n\0\\");
    }

    /// A runner that passes everything would make every case worthless.
    #[cfg(unix)]
    #[test]
    fn differences_are_found() {
        let run = |headers: &str| {
            let cases = parse(Path::new("t"), headers).unwrap();
            cases[0].run(Path::new("/bin/sh"))
        };
        let hello = ";; RUN: sh -c 'echo hello'\n";
        assert!(run(&format!("{hello};; STDOUT: hello\n")).is_ok());
        assert!(run(hello).is_err());
        assert!(run(&format!("{hello};; STDOUT: bye\n")).is_err());
        assert!(run(&format!("{hello};; STDOUT: hello\n;; EXIT: 1\n")).is_err());
        assert!(run(&format!("{hello};; STDOUT-HAS: ell\n;; STDOUT-NOT: x\n")).is_ok());
        assert!(run(&format!("{hello};; STDOUT-HAS: ell\n;; STDOUT-NOT: hell\n")).is_err());
        assert!(run(";; RUN: sh -c 'exit 3'\n;; EXIT: 3\n").is_ok());
        assert!(run(";; RUN: sh -c 'echo oops >&2'\n").is_err());
        assert!(run(";; RUN: sh -c 'echo oops >&2'\n;; STDERR: oops\n").is_ok());
        assert!(run(";; RUN: sh -c 'cat'\n;; STDIN: in\n;; STDOUT: in\n").is_ok());
        assert!(run(";; RUN: sh -c 'cat %t/f'\n;; WRITE: f x\\n\n;; STDOUT: x\n").is_ok());
    }
}
