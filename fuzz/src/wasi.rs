//! WASI: sequences of calls with arguments that often make sense, on a scratch folder full of
//! symbolic links that lead out of it. Nothing outside may change or be read, nothing panics.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bimetal_wasi::p1::table::{Function, WireType, functions};
use bimetal_wasi::{DirPerms, FilePerms, GuestMemory, WasiCtx, WasiCtxBuilder};

use crate::source::Source;
use crate::{Notes, Target};

/// What stands in the file that must not be read.
const SECRET: &[u8] = b"the secret outside of the sandbox";
/// Names of files for the guest to use, in the scratch folder and beside it.
const PATHS: &[&str] = &[
    "file",
    "folder",
    "folder/inner",
    ".",
    "..",
    "",
    "/",
    "up",
    "up/secret",
    "out",
    "abs",
    "loop",
    "new",
    "new/deeper",
    "../secret",
    "../scratch/file",
    "folder/../..",
    "folder/up/../secret",
    "abs/x",
    "dangling",
    "./folder/./../file",
    "up/other/new",
    "/etc/passwd",
    "a\0b",
    "folder/",
    "file/",
    "up/scratch/new",
    "\u{fffd}\u{10ffff}",
    "new2",
    "new2/..",
    "loop/x",
    "root/tmp",
];

/// Where things are in the guest's memory.
const SIZE: usize = 1 << 16;
const PATH_AREA: usize = 0x1000;
const PATH_SLOT: usize = 0x40;
const LIST_AREA: usize = 0x800;
const SUBSCRIPTIONS: usize = 0x2000;
const SUBSCRIPTION_SIZE: usize = 48;

/// See the module.
#[derive(Debug)]
pub struct Wasi {
    functions: Vec<&'static Function>,
    /// What there is: the guest's folder, and what is outside of it.
    world: tempfile::TempDir,
    /// What is outside, as it must stay.
    before: Vec<String>,
    /// Whether the guest's folder is as it was made.
    fresh: bool,
    memory: Vec<u8>,
}

impl Wasi {
    /// With all functions.
    ///
    /// # Errors
    /// If no scratch folder can be made.
    pub fn new() -> Result<Wasi, String> {
        let functions = functions().filter(|function| function.call.is_some());
        let world = scratch().map_err(|error| error.to_string())?;
        prepare(world.path()).map_err(|error| format!("cannot prepare: {error}"))?;
        Ok(Wasi {
            functions: functions.collect(),
            before: outside(world.path())?,
            world,
            fresh: true,
            memory: vec![0; SIZE],
        })
    }
}

impl Wasi {
    /// Those that open and read more often than others: they lead further.
    fn choose(&self, source: &mut Source) -> &'static Function {
        let which = source.below(self.functions.len() as u64) as usize;
        let often = [
            "path_open",
            "path_open",
            "path_symlink",
            "path_rename",
            "fd_read",
        ];
        let name = often.get(source.below(15) as usize);
        let found = name.and_then(|name| self.functions.iter().find(|f| f.name == *name));
        found.copied().unwrap_or(self.functions[which])
    }
}

impl Target for Wasi {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let world = self.world.path();
        if !std::mem::replace(&mut self.fresh, false) {
            reset(world).map_err(|error| format!("cannot prepare: {error}"))?;
        }
        let mut ctx = context(&world.join("scratch"))?;
        // Eight bytes of input for a call: what is cut out of the input is a call less.
        let mut said = Vec::new();
        for (i, chunk) in input.chunks_exact(8).take(40).enumerate() {
            let seed = u64::from_le_bytes(chunk.try_into().map_err(|_| "eight bytes")?);
            let mut source = Source::new(seed);
            fill(&mut self.memory, &mut source, i == 0);
            let function = self.choose(&mut source);
            let args = arguments(function, &mut source);
            said.push(format!("{}{args:x?}", function.name));
            let Some(call) = function.call else { continue };
            let guest = &mut GuestMemory::new(&mut self.memory);
            let outcome = crate::runner::attempt(|| {
                match call(&mut ctx, guest, &args) {
                    Ok(()) => notes.count(&format!("{}: done", function.name)),
                    Err(error) => notes.count(&format!("{error}")),
                }
                Ok(())
            });
            outcome.map_err(|error| format!("{error}\nafter\n{}", said.join("\n")))?;
            // To look for it takes longer than most calls.
            if function.name.contains("read") && contains(&self.memory, SECRET) {
                return Err(format!("the secret was read by\n{}", said.join("\n")));
            }
        }
        drop(ctx);
        let after = outside(world)?;
        match self.before == after {
            true => Ok(()),
            false => Err(format!(
                "outside of the sandbox: {:?} became {after:?} by\n{}",
                self.before,
                said.join("\n")
            )),
        }
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        self.run(file, notes)
    }
}

/// In memory if there is such a folder: some calls wait for the disk.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()),
        false => tempfile::tempdir(),
    }
}

/// The guest sees `scratch`, nothing else.
fn prepare(world: &Path) -> std::io::Result<()> {
    fs::write(world.join("secret"), SECRET)?;
    fs::create_dir(world.join("other"))?;
    fs::create_dir(world.join("scratch"))?;
    fill_scratch(world)
}

/// As [`prepare`] left it: a guest may have changed all that is in its folder.
fn reset(world: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(world.join("scratch"))? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fill_scratch(world)
}

fn fill_scratch(world: &Path) -> std::io::Result<()> {
    let scratch = world.join("scratch");
    fs::create_dir(scratch.join("folder"))?;
    fs::write(scratch.join("file"), b"some bytes in a file")?;
    fs::write(scratch.join("folder/inner"), [7; 1000])?;
    for (name, to) in [
        ("up", Path::new("..")),
        ("out", Path::new("../secret")),
        ("abs", &world.join("secret")),
        ("loop", Path::new("loop")),
        ("dangling", Path::new("../other/new")),
        ("folder/up", Path::new("../..")),
        ("root", Path::new("/")),
    ] {
        symlink(to, scratch.join(name))?;
    }
    Ok(())
}

/// All that is beside the scratch folder.
fn outside(world: &Path) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    for folder in [world.to_path_buf(), world.join("other")] {
        for entry in fs::read_dir(&folder).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
            let name = path.strip_prefix(world).unwrap_or(&path).to_owned();
            // The scratch folder itself may change, but stays what it is.
            let details = match name == Path::new("scratch") {
                true => (0, 0, 0, 0),
                false => (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.nlink()),
            };
            seen.push(format!("{}: {:o} {details:?}", name.display(), meta.mode()));
        }
    }
    let secret = fs::read(world.join("secret")).map_err(|error| error.to_string())?;
    seen.push(format!("{}", secret == SECRET));
    seen.sort();
    Ok(seen)
}

fn context(scratch: &Path) -> Result<WasiCtx, String> {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["prog", "-x", ""]).env("A", "1").env("B", "");
    builder
        .preopened_dir(scratch, "/", DirPerms::all(), FilePerms::all())
        .map_err(|error| error.to_string())?;
    let folder = scratch.join("folder");
    builder
        .preopened_dir(folder, "folder", DirPerms::READ, FilePerms::READ)
        .map_err(|error| error.to_string())?;
    Ok(builder.build())
}

/// Paths, lists of buffers, subscriptions that end soon; the rest stays what calls made of it.
fn fill(memory: &mut [u8], source: &mut Source, all: bool) {
    if all {
        memory.fill(0);
        for chunk in memory[..PATH_AREA].chunks_exact_mut(8) {
            chunk.copy_from_slice(&source.number().to_le_bytes());
        }
    }
    for (i, path) in PATHS.iter().enumerate() {
        let at = PATH_AREA + i * PATH_SLOT;
        memory[at..at + path.len()].copy_from_slice(path.as_bytes());
    }
    for i in 0..16 {
        let at = LIST_AREA + i * 8;
        let (pointer, len) = match source.below(8) {
            0 => (source.number() as u32, source.number() as u32),
            1 => (0x4000, u32::MAX),
            _ => (
                0x4000 + source.below(0x4000) as u32,
                source.below(300) as u32,
            ),
        };
        memory[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
        memory[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
    }
    for i in 0..8 {
        let at = SUBSCRIPTIONS + i * SUBSCRIPTION_SIZE;
        let slot = &mut memory[at..at + SUBSCRIPTION_SIZE];
        slot.fill(0);
        slot[0] = source.number() as u8;
        slot[8] = source.below(if i == 0 { 1 } else { 4 }) as u8;
        let target = source.below(8) as u32;
        slot[16..20].copy_from_slice(&target.to_le_bytes());
        slot[24..32].copy_from_slice(&source.below(10_000).to_le_bytes());
    }
    // The first one is a clock that there is, so that waiting ends.
    memory[SUBSCRIPTIONS + 16] &= 1;
}

fn arguments(function: &Function, source: &mut Source) -> Vec<u64> {
    // Waiting for what never comes is no defect; so are the arguments well-chosen, or out of
    // bounds.
    if function.name == "poll_oneoff" {
        let count = source.below(9);
        return match source.below(8) {
            0 => vec![SUBSCRIPTIONS as u64, 0x100, 0, 0x80],
            1 => vec![SUBSCRIPTIONS as u64, 0x100, u64::from(u32::MAX), 0x80],
            2 => vec![(SIZE - 8) as u64, 0x100, 1, 0x80],
            3 => vec![SUBSCRIPTIONS as u64, (SIZE - 8) as u64, 2, 0x80],
            4 => vec![SUBSCRIPTIONS as u64, 0x100, 2, (SIZE - 2) as u64],
            _ => vec![SUBSCRIPTIONS as u64, 0x100, count, 0x80],
        };
    }
    let mut path = 0;
    let mut args = Vec::new();
    for param in function.params {
        let wild = source.below(24) == 0;
        let name = param.name;
        let value = match name {
            _ if wild && !(function.name == "fd_allocate" && name == "len") => match param.ty {
                WireType::I32 => source.number() >> source.below(64),
                WireType::I64 => source.number() >> source.below(64),
            },
            // The two folders, what was opened, the rest.
            "fd" | "old_fd" | "new_fd" | "to" => match source.below(8) {
                0 => source.below(10),
                1 | 2 if !function.name.starts_with("path") => 5 + source.below(3),
                _ => 3 + source.below(5) / 4,
            },
            _ if name.ends_with("path_len") => match source.below(16) {
                0 => source.below(PATH_SLOT as u64),
                _ => PATHS[path].len() as u64,
            },
            _ if name.ends_with("path") => {
                path = source.below(PATHS.len() as u64) as usize;
                (PATH_AREA + path * PATH_SLOT) as u64
            }
            "iovs" | "ri_data" | "si_data" => (LIST_AREA + 8 * source.below(12) as usize) as u64,
            "iovs_len" | "ri_data_len" | "si_data_len" => source.below(5),
            "buf_len" | "path_buf_len" => source.below(600),
            "base" | "inheriting" => match source.below(3) {
                0 => source.number(),
                1 => (1 << 29) - 1,
                _ => u64::MAX,
            },
            // No disk is to be filled.
            "len" => source.below(1 << 16),
            "size" | "offset" | "cookie" => match source.below(6) {
                0 => source.number(),
                1 => u64::MAX - source.below(4),
                2 => i64::MAX as u64 - source.below(4),
                _ => source.below(2000),
            },
            "lookup" | "dirflags" | "old_flags" if source.below(8) != 0 => source.below(2),
            "fdflags" | "id" if source.below(4) != 0 => source.below(2),
            "oflags" if source.below(4) != 0 => source.below(2),
            "oflags" | "fdflags" | "flags" | "lookup" | "dirflags" | "old_flags" | "fst_flags"
            | "whence" | "how" | "advice" | "id" => match source.below(4) {
                0 => source.below(64),
                1 => 0,
                _ => source.below(8),
            },
            "atim" | "mtim" | "precision" => source.number() >> source.below(64),
            _ => match source.below(8) {
                0 => (SIZE as u64).saturating_sub(source.below(80)),
                _ => 0x100 + source.below(0x200),
            },
        };
        args.push(value);
    }
    args
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    // The first byte is compared quickly, and is rare.
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| Some(byte) == wanted.first()) {
        rest = &rest[at..];
        if rest.starts_with(wanted) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
