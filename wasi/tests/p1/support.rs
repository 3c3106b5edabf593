//! A guest without wasm: a context, 256 KiB of memory, and a function per call that puts the
//! parameters into memory and takes the results out.

use bimetal_wasi::p1::{self, Errno, OFlags, Rights};
use bimetal_wasi::{DirPerms, FilePerms, GuestMemory, WasiCtx, WasiCtxBuilder};
use std::path::Path;

pub type Result<T, E = Errno> = std::result::Result<T, E>;

/// The first descriptor that can be a directory.
pub const ROOT: u32 = 3;
/// Where calls put small results.
pub const OUT: u32 = 64;
/// Where parameters begin.
const ARENA: u32 = 4096;
pub const MEMORY: usize = 256 << 10;

pub const READ: u64 = Rights::FD_READ.bits();
pub const WRITE: u64 = Rights::FD_WRITE.bits();
pub const CREATE: u32 = OFlags::CREAT.bits() as u32;
pub const DIRECTORY: u32 = OFlags::DIRECTORY.bits() as u32;
pub const EXCL: u32 = OFlags::EXCL.bits() as u32;
pub const TRUNC: u32 = OFlags::TRUNC.bits() as u32;
pub const NOFOLLOW: u32 = 0;
pub const FOLLOW: u32 = 1;

pub const DIR: u8 = 3;
pub const FILE: u8 = 4;
pub const SYMLINK: u8 = 7;

pub struct Guest {
    pub ctx: WasiCtx,
    pub mem: Vec<u8>,
    top: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub filetype: u8,
    pub nlink: u64,
    pub size: u64,
    pub atim: u64,
    pub mtim: u64,
    pub ctim: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdStat {
    pub filetype: u8,
    pub flags: u16,
    pub base: Rights,
    pub inheriting: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirent {
    pub next: u64,
    pub ino: u64,
    pub filetype: u8,
    pub name: Vec<u8>,
}

impl Guest {
    pub fn new(ctx: WasiCtx) -> Guest {
        Guest {
            ctx,
            mem: vec![0; MEMORY],
            top: ARENA,
        }
    }

    /// With one directory, readable and writable.
    pub fn with_dir(host: &Path) -> Guest {
        Guest::with_perms(host, DirPerms::all(), FilePerms::all())
    }

    pub fn with_perms(host: &Path, dir: DirPerms, file: FilePerms) -> Guest {
        let mut builder = WasiCtxBuilder::new();
        builder.preopened_dir(host, "/", dir, file).unwrap();
        Guest::new(builder.build())
    }

    /// Calls a function, then forgets the parameters.
    pub fn call<R>(&mut self, f: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> R) -> R {
        self.top = ARENA;
        f(&mut self.ctx, &mut GuestMemory::new(&mut self.mem))
    }

    /// Puts bytes where the next call finds them.
    pub fn put(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.top;
        self.mem[at as usize..][..bytes.len()].copy_from_slice(bytes);
        self.top += (bytes.len() as u32).next_multiple_of(8);
        (at, bytes.len() as u32)
    }

    pub fn u16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.mem[at as usize..][..2].try_into().unwrap())
    }

    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.mem[at as usize..][..4].try_into().unwrap())
    }

    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.mem[at as usize..][..8].try_into().unwrap())
    }

    pub fn open_full(
        &mut self,
        dir: u32,
        lookup: u32,
        path: &str,
        oflags: u32,
        rights: u64,
        fdflags: u32,
    ) -> Result<u32> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_open(c, m, dir, lookup, p, l, oflags, rights, 0, fdflags, OUT))?;
        Ok(self.u32(OUT))
    }

    /// Opens below the first directory, following links.
    pub fn open(&mut self, path: &str, oflags: u32, rights: u64) -> Result<u32> {
        self.open_full(ROOT, FOLLOW, path, oflags, rights, 0)
    }

    pub fn close(&mut self, fd: u32) -> Result<()> {
        self.call(|c, m| p1::fd_close(c, m, fd))
    }

    fn iovs(&mut self, vectors: &[(u32, u32)]) -> u32 {
        let bytes: Vec<u8> = vectors
            .iter()
            .flat_map(|(p, l)| [p.to_le_bytes(), l.to_le_bytes()].concat())
            .collect();
        self.put(&bytes).0
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32> {
        let v = self.put(bytes);
        let iovs = self.iovs(&[v]);
        self.call(|c, m| p1::fd_write(c, m, fd, iovs, 1, OUT))?;
        Ok(self.u32(OUT))
    }

    pub fn pwrite(&mut self, fd: u32, bytes: &[u8], offset: u64) -> Result<u32> {
        let v = self.put(bytes);
        let iovs = self.iovs(&[v]);
        self.call(|c, m| p1::fd_pwrite(c, m, fd, iovs, 1, offset, OUT))?;
        Ok(self.u32(OUT))
    }

    /// Reads at most `len` bytes.
    pub fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>> {
        let v = self.put(&vec![0; len as usize]);
        let iovs = self.iovs(&[v]);
        self.call(|c, m| p1::fd_read(c, m, fd, iovs, 1, OUT))?;
        Ok(self.mem[v.0 as usize..][..self.u32(OUT) as usize].to_vec())
    }

    pub fn pread(&mut self, fd: u32, len: u32, offset: u64) -> Result<Vec<u8>> {
        let v = self.put(&vec![0; len as usize]);
        let iovs = self.iovs(&[v]);
        self.call(|c, m| p1::fd_pread(c, m, fd, iovs, 1, offset, OUT))?;
        Ok(self.mem[v.0 as usize..][..self.u32(OUT) as usize].to_vec())
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64> {
        self.call(|c, m| p1::fd_seek(c, m, fd, offset, whence, OUT))?;
        Ok(self.u64(OUT))
    }

    pub fn tell(&mut self, fd: u32) -> Result<u64> {
        self.call(|c, m| p1::fd_tell(c, m, fd, OUT))?;
        Ok(self.u64(OUT))
    }

    fn stat_at(&self, at: u32) -> Stat {
        Stat {
            dev: self.u64(at),
            ino: self.u64(at + 8),
            filetype: self.mem[at as usize + 16],
            nlink: self.u64(at + 24),
            size: self.u64(at + 32),
            atim: self.u64(at + 40),
            mtim: self.u64(at + 48),
            ctim: self.u64(at + 56),
        }
    }

    pub fn fd_stat(&mut self, fd: u32) -> Result<Stat> {
        self.call(|c, m| p1::fd_filestat_get(c, m, fd, OUT))?;
        Ok(self.stat_at(OUT))
    }

    pub fn stat(&mut self, path: &str, lookup: u32) -> Result<Stat> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_filestat_get(c, m, ROOT, lookup, p, l, OUT))?;
        Ok(self.stat_at(OUT))
    }

    pub fn fdstat(&mut self, fd: u32) -> Result<FdStat> {
        self.call(|c, m| p1::fd_fdstat_get(c, m, fd, OUT))?;
        Ok(FdStat {
            filetype: self.mem[OUT as usize],
            flags: self.u16(OUT + 2),
            base: Rights::from_bits(self.u64(OUT + 8)).unwrap(),
            inheriting: Rights::from_bits(self.u64(OUT + 16)).unwrap(),
        })
    }

    pub fn set_rights(&mut self, fd: u32, base: Rights, inheriting: Rights) -> Result<()> {
        let (base, inheriting) = (base.bits(), inheriting.bits());
        self.call(|c, m| p1::fd_fdstat_set_rights(c, m, fd, base, inheriting))
    }

    pub fn mkdir(&mut self, path: &str) -> Result<()> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_create_directory(c, m, ROOT, p, l))
    }

    pub fn rmdir(&mut self, path: &str) -> Result<()> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_remove_directory(c, m, ROOT, p, l))
    }

    pub fn unlink(&mut self, path: &str) -> Result<()> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_unlink_file(c, m, ROOT, p, l))
    }

    pub fn rename_to(&mut self, from: &str, dir: u32, to: &str) -> Result<()> {
        let ((p, l), (q, k)) = (self.put(from.as_bytes()), self.put(to.as_bytes()));
        self.call(|c, m| p1::path_rename(c, m, ROOT, p, l, dir, q, k))
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.rename_to(from, ROOT, to)
    }

    pub fn link_to(&mut self, flags: u32, from: &str, dir: u32, to: &str) -> Result<()> {
        let ((p, l), (q, k)) = (self.put(from.as_bytes()), self.put(to.as_bytes()));
        self.call(|c, m| p1::path_link(c, m, ROOT, flags, p, l, dir, q, k))
    }

    pub fn link(&mut self, from: &str, to: &str) -> Result<()> {
        self.link_to(0, from, ROOT, to)
    }

    pub fn symlink(&mut self, contents: &str, path: &str) -> Result<()> {
        let ((p, l), (q, k)) = (self.put(contents.as_bytes()), self.put(path.as_bytes()));
        self.call(|c, m| p1::path_symlink(c, m, p, l, ROOT, q, k))
    }

    pub fn readlink(&mut self, path: &str, len: u32) -> Result<Vec<u8>> {
        let (p, l) = self.put(path.as_bytes());
        let (buf, _) = self.put(&vec![0; len as usize]);
        self.call(|c, m| p1::path_readlink(c, m, ROOT, p, l, buf, len, OUT))?;
        Ok(self.mem[buf as usize..][..self.u32(OUT) as usize].to_vec())
    }

    pub fn set_times(
        &mut self,
        path: &str,
        lookup: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> Result<()> {
        let (p, l) = self.put(path.as_bytes());
        self.call(|c, m| p1::path_filestat_set_times(c, m, ROOT, lookup, p, l, atim, mtim, flags))
    }

    /// One call of `fd_readdir`: the bytes it stored.
    pub fn readdir(&mut self, fd: u32, len: u32, cookie: u64) -> Result<Vec<u8>> {
        let (buf, _) = self.put(&vec![0; len as usize]);
        self.call(|c, m| p1::fd_readdir(c, m, fd, buf, len, cookie, OUT))?;
        Ok(self.mem[buf as usize..][..self.u32(OUT) as usize].to_vec())
    }

    /// All entries, read as a C library does: from the last whole entry on, with a buffer of
    /// `len` bytes.
    pub fn list(&mut self, fd: u32, len: u32) -> Result<Vec<Dirent>> {
        let (mut all, mut cookie) = (Vec::new(), 0);
        loop {
            let bytes = self.readdir(fd, len, cookie)?;
            let entries = parse_dirents(&bytes);
            assert!(
                !entries.is_empty() || bytes.len() < len as usize,
                "buffer too small"
            );
            cookie = entries.last().map_or(cookie, |e| e.next);
            all.extend(entries);
            if bytes.len() < len as usize {
                return Ok(all);
            }
        }
    }
}

/// The whole entries at the beginning of what `fd_readdir` stored.
pub fn parse_dirents(mut bytes: &[u8]) -> Vec<Dirent> {
    let mut entries = Vec::new();
    while bytes.len() >= 24 {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let Some(name) = bytes.get(24..24 + len) else {
            break;
        };
        entries.push(Dirent {
            next: word(0),
            ino: word(8),
            filetype: bytes[20],
            name: name.to_vec(),
        });
        bytes = &bytes[24 + len..];
    }
    entries
}

/// A scratch directory with a preopen inside and a secret outside of it.
pub struct Scratch {
    pub base: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Scratch {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("root")).unwrap();
        std::fs::write(base.path().join("secret"), "secret").unwrap();
        Scratch { base }
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.base.path().join("root")
    }

    pub fn guest(&self) -> Guest {
        Guest::with_dir(&self.root())
    }
}
