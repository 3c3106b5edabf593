//! Who can run programs, and with which command line: bimetal, native builds, and peers.
//!
//! Peers run what they have compiled before (`prepare`), for their compile time is another race;
//! bimetal compiles in each run, which for the guests is milliseconds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use bimetal_bench as report;

use crate::process::{find_program, need_program, root, run_quietly};

/// Native results equal those of wasm only without fused multiplication and addition.
const NATIVE_FLAGS: [&str; 3] = ["-std=gnu11", "-ffp-contract=off", "-w"];

/// What programs of `bimetal build` are called among the contenders.
pub(crate) const EXECUTABLE: &str = "executable";

/// One that takes part.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    version: String,
    how: Runner,
    variant_of: Option<String>,
}

#[derive(Clone, Debug)]
enum Runner {
    Bimetal {
        program: PathBuf,
        flags: Vec<String>,
    },
    Wasmtime {
        program: PathBuf,
        /// For compiling and for running.
        flags: Vec<String>,
    },
    Wasmer {
        program: PathBuf,
    },
    Node {
        program: PathBuf,
    },
    Native {
        compiler: Vec<String>,
        flags: Vec<&'static str>,
    },
}

/// A program that a contender can run, and the file to run: precompiled, or built natively.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    file: PathBuf,
}

impl Contender {
    pub(crate) fn bimetal(program: PathBuf, flags: &[String]) -> Result<Contender> {
        Ok(Contender {
            name: "bimetal".to_owned(),
            version: version(&program)?,
            how: Runner::Bimetal {
                program,
                flags: flags.to_vec(),
            },
            variant_of: None,
        })
    }

    /// A peer by name, which must be on PATH.
    pub(crate) fn peer(name: &str) -> Result<Contender> {
        let program = need_program(name, "peers are raced as they are found there")?;
        let version = version(&program)?;
        let how = match name {
            "wasmtime" => Runner::Wasmtime {
                program,
                flags: Vec::new(),
            },
            "wasmer" => Runner::Wasmer { program },
            "node" => Runner::Node { program },
            _ => bail!("no peer is called {name}: wasmtime, wasmer, node are known"),
        };
        Ok(Contender {
            name: name.to_owned(),
            version,
            how,
            variant_of: None,
        })
    }

    /// The same with deadlines and with fuel, far more than any program needs; nothing for who has no
    /// such switches.
    pub(crate) fn with_checks(&self) -> Vec<Contender> {
        let variants: [(&str, &[&str]); 2] = match self.how {
            Runner::Bimetal { .. } => [
                ("deadline", &["--timeout", "10h"]),
                ("fuel", &["--fuel", "4000000000000000000"]),
            ],
            Runner::Wasmtime { .. } => [
                ("deadline", &["-W", "epoch-interruption=y,timeout=36000s"]),
                ("fuel", &["-W", "fuel=4000000000000000000"]),
            ],
            _ => return Vec::new(),
        };
        let variant = |(setting, more): (&str, &[&str])| {
            let mut variant = self.clone();
            variant.name = format!("{}+{setting}", self.name);
            variant.variant_of = Some(self.name.clone());
            if let Runner::Bimetal { flags, .. } | Runner::Wasmtime { flags, .. } = &mut variant.how
            {
                flags.extend(more.iter().map(ToString::to_string));
            }
            variant
        };
        variants.into_iter().map(variant).collect()
    }

    /// The plain native build, and the best that this machine's compiler makes: the limit.
    pub(crate) fn native() -> Result<[Contender; 2]> {
        let compiler = match find_program("gcc").or_else(|| find_program("cc")) {
            Some(path) => vec![path.display().to_string()],
            None => {
                let python = need_program(
                    "python3",
                    "native builds need a C compiler: gcc, or Python's ziglang",
                )?;
                vec![
                    python.display().to_string(),
                    "-m".into(),
                    "ziglang".into(),
                    "cc".into(),
                ]
            }
        };
        let text = run_quietly(
            Command::new(&compiler[0])
                .args(&compiler[1..])
                .arg("--version"),
        )
        .context("native builds need a C compiler (or give --no-native)")?;
        let version = text.lines().next().unwrap_or_default().to_owned();
        let limit = if cfg!(target_arch = "x86_64") {
            vec!["-O3", "-march=x86-64-v3"]
        } else {
            vec!["-O3", "-mcpu=native"]
        };
        let contender = |name: &str, flags| Contender {
            name: name.to_owned(),
            version: version.clone(),
            how: Runner::Native {
                compiler: compiler.clone(),
                flags,
            },
            variant_of: None,
        };
        Ok([contender("native", vec!["-O2"]), contender("limit", limit)])
    }

    pub(crate) fn describe(&self) -> report::Contender {
        let how = match &self.how {
            Runner::Bimetal { flags, .. } => ["bimetal run".to_owned()]
                .iter()
                .chain(flags)
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            Runner::Wasmtime { flags, .. } => {
                let flags = flags.join(" ");
                format!("wasmtime compile; wasmtime run --allow-precompiled {flags}")
                    .trim_end()
                    .to_owned()
            }
            Runner::Wasmer { .. } => "wasmer compile; wasmer run".to_owned(),
            Runner::Node { .. } => "node bench/node.mjs".to_owned(),
            Runner::Native { flags, .. } => format!("cc {} {}", flags.join(" "), NATIVE_FLAGS[1]),
        };
        report::Contender {
            name: self.name.clone(),
            version: self.version.clone(),
            how,
            variant_of: self.variant_of.clone(),
        }
    }

    /// Makes what a run needs, in `scratch`. Not measured.
    pub(crate) fn prepare(
        &self,
        wasm: &Path,
        source: Option<&Path>,
        scratch: &Path,
    ) -> Result<Option<Prepared>> {
        let stem = wasm.file_stem().unwrap_or_default().to_string_lossy();
        let out = scratch.join(format!("{stem}.{}", self.name));
        match &self.how {
            Runner::Bimetal { .. } | Runner::Node { .. } => {
                return Ok(Some(Prepared {
                    file: wasm.to_path_buf(),
                }));
            }
            Runner::Wasmtime { program, flags } => {
                run_quietly(
                    Command::new(program)
                        .arg("compile")
                        .args(flags)
                        .arg(wasm)
                        .arg("-o")
                        .arg(&out),
                )?;
            }
            Runner::Wasmer { program } => {
                run_quietly(
                    Command::new(program)
                        .arg("compile")
                        .arg(wasm)
                        .arg("-o")
                        .arg(&out),
                )?;
            }
            Runner::Native { compiler, flags } => {
                let Some(source) = source else {
                    return Ok(None);
                };
                run_quietly(
                    Command::new(&compiler[0])
                        .args(&compiler[1..])
                        .args(flags)
                        .args(NATIVE_FLAGS)
                        .arg("-o")
                        .arg(&out)
                        .arg(source)
                        .arg("-lm"),
                )?;
            }
        }
        Ok(Some(Prepared { file: out }))
    }

    /// The command that runs a prepared program.
    pub(crate) fn run(&self, prepared: &Prepared, args: &[String]) -> Command {
        let mut command;
        match &self.how {
            Runner::Bimetal { program, flags } => {
                command = Command::new(program);
                command.env("BIMETAL_CACHE_DIR", "");
                command.arg("run").args(flags).arg(&prepared.file);
            }
            Runner::Wasmtime { program, flags } => {
                command = Command::new(program);
                command
                    .args(["run", "--allow-precompiled"])
                    .args(flags)
                    .arg(&prepared.file);
            }
            Runner::Wasmer { program } => {
                command = Command::new(program);
                command.arg("run").arg(&prepared.file);
                if !args.is_empty() {
                    command.arg("--");
                }
            }
            Runner::Node { program } => {
                command = Command::new(program);
                command
                    .arg("--no-warnings")
                    .arg(root().join("bench/node.mjs"))
                    .arg(&prepared.file);
            }
            Runner::Native { .. } => command = Command::new(&prepared.file),
        }
        command.args(args);
        command
    }

    /// Prepares second starts of a program: what is kept of the first is there afterwards. `None` from
    /// one who has no such thing.
    pub(crate) fn restart(
        &self,
        wasm: &Path,
        argv0: &str,
        args: &[&str],
        scratch: &Path,
    ) -> Result<Option<Again>> {
        let again = match &self.how {
            Runner::Bimetal { program, flags } => {
                let mut again = Again::of(program, &["run"]);
                again.arguments.extend(flags.iter().map(Into::into));
                again.cache = Some(scratch.join("restart"));
                again.finish(wasm, argv0, args)
            }
            Runner::Wasmtime { program, .. } => {
                let Some(compiled) = self.prepare(wasm, None, scratch)? else {
                    return Ok(None);
                };
                let again = Again::of(program, &["run", "--allow-precompiled"]);
                again.finish(&compiled.file, argv0, args)
            }
            Runner::Wasmer { .. } | Runner::Node { .. } | Runner::Native { .. } => return Ok(None),
        };
        // What a run leaves is noted when the file has been as it is for two seconds, and the second
        // run may need what the first has not.
        for _ in 0..3 {
            run_quietly(&mut again.command())?;
        }
        Ok(Some(again))
    }

    /// How executables of this contender are told of, if it has a runtime to make them of.
    pub(crate) fn describe_executable(&self) -> Option<report::Contender> {
        let program = self.bimetal_program()?;
        let runtime = program.with_file_name("bimetal-runtime");
        runtime.is_file().then(|| report::Contender {
            name: EXECUTABLE.to_owned(),
            version: self.version.clone(),
            how: "bimetal build, and that program".to_owned(),
            variant_of: None,
        })
    }

    /// The module as one native program, if there is a runtime to make it of.
    pub(crate) fn executable(
        &self,
        wasm: &Path,
        argv0: &str,
        args: &[&str],
        scratch: &Path,
    ) -> Result<Option<Again>> {
        let (Some(_), Some(bimetal)) = (self.describe_executable(), self.bimetal_program()) else {
            return Ok(None);
        };
        let built = scratch.join(format!("{argv0}.{EXECUTABLE}"));
        run_quietly(
            Command::new(bimetal)
                .args(["build", "--argv0", argv0, "-o"])
                .arg(&built)
                .arg(wasm),
        )?;
        Ok(Some(Again::of(&built, args)))
    }

    /// The program of bimetal.
    pub(crate) fn bimetal_program(&self) -> Option<&Path> {
        match &self.how {
            Runner::Bimetal { program, .. } => Some(program),
            _ => None,
        }
    }

    /// The same contender, when it knows nothing of a module; for who can know something.
    pub(crate) fn compiling_all(&self) -> Option<Contender> {
        self.bimetal_program()?;
        let mut all = self.clone();
        all.name = "everything".into();
        Some(all)
    }

    /// The command of [`Contender::compile`], with a cache in `folder`.
    pub(crate) fn compile_into(&self, wasm: &Path, folder: &Path) -> Option<Command> {
        let mut command = self.compile(wasm, folder)?;
        command.env("BIMETAL_CACHE_DIR", folder);
        Some(command)
    }

    /// The command that compiles a module completely, or `None` when the contender has none.
    pub(crate) fn compile(&self, wasm: &Path, scratch: &Path) -> Option<Command> {
        let out = scratch.join(format!("compiled.{}", self.name));
        let mut command;
        match &self.how {
            Runner::Bimetal { program, flags } => {
                command = Command::new(program);
                command.env("BIMETAL_CACHE_DIR", "");
                command
                    .args(["run", "--eager", "--compile-only"])
                    .args(flags)
                    .arg(wasm);
            }
            Runner::Wasmtime { program, .. } | Runner::Wasmer { program } => {
                command = Command::new(program);
                command.arg("compile").arg(wasm).arg("-o").arg(out);
            }
            Runner::Node { .. } | Runner::Native { .. } => return None,
        }
        Some(command)
    }

    /// The command that runs a module with nothing cached, or `None`.
    pub(crate) fn start(
        &self,
        wasm: &Path,
        argv0: &str,
        args: &[&str],
        scratch: &Path,
    ) -> Option<Command> {
        let mut command;
        match &self.how {
            Runner::Bimetal { program, flags } => {
                command = Command::new(program);
                command.env("BIMETAL_CACHE_DIR", "");
                command
                    .arg("run")
                    .args(flags)
                    .args(["--argv0", argv0])
                    .arg(wasm);
            }
            Runner::Wasmtime { program, .. } => {
                command = Command::new(program);
                command
                    .args(["run", "-C", "cache=n", "--argv0", argv0])
                    .arg(wasm);
            }
            Runner::Wasmer { program } => {
                // It has no switch for "no cache"; a folder that nobody used before is one.
                let cache = tempfile::tempdir_in(scratch).map(tempfile::TempDir::keep);
                command = Command::new(program);
                command.env(
                    "WASMER_CACHE_DIR",
                    cache.unwrap_or_else(|_| scratch.to_path_buf()),
                );
                command.arg("run").arg(wasm).arg("--");
            }
            Runner::Node { program } => {
                command = Command::new(program);
                command
                    .arg("--no-warnings")
                    .arg(root().join("bench/node.mjs"));
                command.args(["--argv0", argv0]).arg(wasm);
            }
            Runner::Native { .. } => return None,
        }
        command.args(args);
        Some(command)
    }
}

/// A command that can be run again and again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Bimetal's cache.
    cache: Option<PathBuf>,
}

impl Again {
    fn of(program: &Path, arguments: &[&str]) -> Again {
        Again {
            program: program.to_owned(),
            arguments: arguments.iter().map(Into::into).collect(),
            cache: None,
        }
    }

    fn finish(mut self, file: &Path, argv0: &str, args: &[&str]) -> Again {
        self.arguments.extend(["--argv0".into(), argv0.into()]);
        self.arguments.push(file.into());
        self.arguments.extend(args.iter().map(Into::into));
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(cache) = &self.cache {
            command.env("BIMETAL_CACHE_DIR", cache);
        }
        command
    }
}

fn version(program: &Path) -> Result<String> {
    let text = run_quietly(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
