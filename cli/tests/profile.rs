//! `--profile` and `--coredump`: what the program writes, read back.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/guests/debug.wasm")
}

/// Runs `compute` of the guest in `folder`; the process's number.
fn run(folder: &Path, options: &[&str], by: &str) -> u32 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bimetal"))
        .env("BIMETAL_CACHE_DIR", "")
        .current_dir(folder)
        .arg("run")
        .args(options)
        .args(["--invoke", "compute"])
        .arg(guest())
        .args(["6", by])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(if by == "0" { 134 } else { 0 }));
    pid
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_jitdump_has_the_code_of_each_function() {
    for eager in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options: &[&str] = match eager {
            // Nothing is inlined.
            true => &["--profile", "jitdump", "--eager", "-O0"],
            false => &["--profile", "jitdump", "-O0"],
        };
        let pid = run(folder.path(), options, "2");
        let dump = std::fs::read(folder.path().join(format!("jit-{pid}.dump"))).unwrap();
        // `JiTD`, version, size of the header, machine, nothing, process.
        assert_eq!(u32_at(&dump, 0), 0x4a69_5444);
        assert_eq!((u32_at(&dump, 4), u32_at(&dump, 8)), (1, 40));
        let machine = if cfg!(target_arch = "x86_64") {
            62
        } else {
            183
        };
        assert_eq!((u32_at(&dump, 12), u32_at(&dump, 20)), (machine, pid));
        let mut time = u64_at(&dump, 24);
        let mut names = Vec::new();
        let mut at = 40;
        while at < dump.len() {
            let record = &dump[at..at + u32_at(&dump, at + 4) as usize];
            assert_eq!(u32_at(record, 0), 0, "only code is loaded");
            assert!(u64_at(record, 8) >= time);
            time = u64_at(record, 8);
            assert_eq!(u32_at(record, 16), pid);
            assert_eq!(u64_at(record, 24), u64_at(record, 32));
            assert_ne!(u64_at(record, 32), 0);
            assert_eq!(u64_at(record, 48), names.len() as u64);
            let end = record[56..].iter().position(|&byte| byte == 0).unwrap();
            names.push(String::from_utf8(record[56..56 + end].to_vec()).unwrap());
            assert_eq!(
                record.len() as u64,
                56 + end as u64 + 1 + u64_at(record, 40)
            );
            at += record.len();
        }
        for name in [
            "debug.wasm!compute",
            "debug.wasm!shapes::area(shapes::Square const&, int)",
            "bimetal::host_to_wasm(i32, i32) -> (i32)",
        ] {
            assert!(names.iter().any(|other| other == name), "{names:?}");
        }
    }
}

#[test]
fn a_perf_map_is_where_perf_looks() {
    let folder = tempfile::tempdir().unwrap();
    let pid = run(folder.path(), &["--profile", "perf"], "2");
    let path = format!("/tmp/perf-{pid}.map");
    let map = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let compute = map.lines().find(|l| l.ends_with(" debug.wasm!compute"));
    let mut words = compute.unwrap().split(' ');
    for _ in ["address", "size"] {
        let number = u64::from_str_radix(words.next().unwrap(), 16);
        assert_ne!(number, Ok(0));
        assert!(number.is_ok());
    }
}

#[test]
fn a_core_dump_is_a_module_and_written_only_for_traps() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--coredump", "core"], "2");
    assert!(!folder.path().join("core").exists());
    run(folder.path(), &["--coredump", "core"], "0");
    let dump = std::fs::read(folder.path().join("core")).unwrap();
    let module = bimetal_wasm::Module::new(dump, &Default::default()).unwrap();
    let names: Vec<&str> = module.custom_sections.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["core", "coremodules", "coreinstances", "corestack"]);
    assert_eq!(module.memories.len(), 1);
    assert_eq!(module.globals.len(), 1);
}
