//! The guest's descriptor numbers: what each leads to, and with which rights.
//!
//! Numbers 0, 1 and 2 are the standard streams, then come the preopened directories, then the
//! listeners. C libraries find the directories by asking from 3 upwards until a number is none.

use super::types::{FdFlags, Rights};
use super::{Errno, Result};
use crate::core::{
    Connection, Dir, DirPerms, DirStream, File, FileStat, FileType, Host, Input, Interest,
    Listener, Opened, Output, StatusFlags, Table,
};
use std::os::fd::BorrowedFd;

/// An open directory with what preview 1 keeps about it. A clone is not listed anywhere.
#[derive(Debug)]
pub(super) struct OpenDir {
    pub dir: Dir,
    /// The guest's name for it, if it was there from the beginning.
    pub preopen: Option<String>,
    /// Where `fd_readdir` is.
    pub listing: Option<DirStream>,
}

impl Clone for OpenDir {
    fn clone(&self) -> OpenDir {
        OpenDir {
            dir: self.dir.clone(),
            preopen: self.preopen.clone(),
            listing: None,
        }
    }
}

/// What a descriptor leads to.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Input { stream: Input, nonblock: bool },
    Output { stream: Output, nonblock: bool },
    File(File),
    Dir(OpenDir),
    Listener(Listener),
    Connection(Connection),
}

/// One entry of the table. Clones lead to the same, with modes and rights as they are now.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    pub kind: Kind,
    /// The rights that make sense for `kind`, whatever was given up since.
    natural: Rights,
    pub base: Rights,
    pub inheriting: Rights,
}

impl Descriptor {
    /// A descriptor with all rights that make sense for it.
    fn new(kind: Kind) -> Descriptor {
        let position = |seekable| {
            if seekable {
                Rights::POSITION
            } else {
                Rights::empty()
            }
        };
        let mut inheriting = Rights::empty();
        let natural = match &kind {
            Kind::Input { stream, .. } => Rights::INPUT | position(stream.is_seekable()),
            Kind::Output { stream, .. } => Rights::OUTPUT | position(stream.is_seekable()),
            Kind::File(file) => {
                // A C library takes a character device without a position for a terminal.
                let seekable = match file.file_type() {
                    FileType::RegularFile | FileType::BlockDevice => true,
                    FileType::CharacterDevice => !file.is_terminal(),
                    _ => false,
                };
                let mut rights = Rights::FILE | position(seekable);
                rights.set(Rights::FD_READ, file.is_readable());
                if file.is_writable() {
                    rights |= Rights::WRITABLE_FILE;
                }
                rights
            }
            Kind::Dir(dir) => {
                // Inheriting names writing even where all is read-only, because C libraries
                // silently drop from their requests what is not inherited; then opening for
                // writing would succeed, instead of failing with "read-only file system".
                inheriting = Rights::all();
                let mutable = dir.dir.perms().0.contains(DirPerms::MUTATE);
                Rights::DIR
                    | if mutable {
                        Rights::MUTABLE_DIR
                    } else {
                        Rights::empty()
                    }
            }
            Kind::Listener(_) => {
                inheriting = Rights::CONNECTION;
                Rights::LISTENER
            }
            Kind::Connection(_) => Rights::CONNECTION,
        };
        Descriptor {
            kind,
            natural,
            base: natural,
            inheriting,
        }
    }

    /// A descriptor opened through `parent`, which may have less to pass on than makes sense.
    pub fn inherited(kind: Kind, parent_inheriting: Rights) -> Descriptor {
        let mut new = Descriptor::new(kind);
        new.base &= parent_inheriting;
        new.inheriting &= parent_inheriting;
        new
    }

    /// Fails unless the descriptor has the `rights`: "not capable" if they were given up, "bad
    /// descriptor" if they make no sense for it. What a read-only directory forbids passes
    /// here; the core refuses it by its own error.
    pub fn require(&self, rights: Rights) -> Result<()> {
        let missing = rights - self.base;
        if missing.is_empty() {
            return Ok(());
        }
        if missing.intersects(self.natural) {
            return Err(Errno::Notcapable);
        }
        match self.kind {
            Kind::Dir(_) if Rights::MUTABLE_DIR.contains(missing) => Ok(()),
            _ => Err(Errno::Badf),
        }
    }

    /// Whether the right makes sense for what this is.
    pub fn supports(&self, right: Rights) -> bool {
        self.natural.contains(right)
    }

    /// The directory that this is; [`Errno::Notdir`] if it is none.
    pub fn dir(&self, rights: Rights) -> Result<&OpenDir> {
        let Kind::Dir(dir) = &self.kind else {
            return Err(Errno::Notdir);
        };
        self.require(rights)?;
        Ok(dir)
    }

    /// Like [`Descriptor::dir`], to change.
    pub fn dir_mut(&mut self, rights: Rights) -> Result<&mut OpenDir> {
        self.dir(rights)?;
        match &mut self.kind {
            Kind::Dir(dir) => Ok(dir),
            _ => Err(Errno::Notdir),
        }
    }

    /// The connection that this is; [`Errno::Notsock`] if it is none.
    pub fn connection(&self, rights: Rights) -> Result<&Connection> {
        match &self.kind {
            Kind::Connection(connection) => {
                self.require(rights)?;
                Ok(connection)
            }
            Kind::Listener(_) => Err(Errno::Notconn),
            _ => Err(Errno::Notsock),
        }
    }

    /// The listener that this is; [`Errno::Notsock`] if it is no socket.
    pub fn listener(&self, rights: Rights) -> Result<&Listener> {
        match &self.kind {
            Kind::Listener(listener) => {
                self.require(rights)?;
                Ok(listener)
            }
            Kind::Connection(_) => Err(Errno::Inval),
            _ => Err(Errno::Notsock),
        }
    }

    /// The type of what this leads to.
    pub fn file_type(&self) -> FileType {
        match &self.kind {
            Kind::Input { stream, .. } => stream.file_type(),
            Kind::Output { stream, .. } => stream.file_type(),
            Kind::File(file) => file.file_type(),
            Kind::Dir(_) => FileType::Directory,
            Kind::Listener(_) | Kind::Connection(_) => FileType::SocketStream,
        }
    }

    /// The attributes of what this leads to.
    pub fn stat(&self) -> Result<FileStat> {
        Ok(match &self.kind {
            Kind::Input { stream, .. } => stream.stat(),
            Kind::Output { stream, .. } => stream.stat(),
            Kind::File(file) => file.stat(),
            Kind::Dir(dir) => dir.dir.stat_self(),
            Kind::Listener(listener) => listener.stat(),
            Kind::Connection(connection) => connection.stat(),
        }?)
    }

    /// The modes.
    pub fn flags(&self) -> FdFlags {
        let status = match &self.kind {
            Kind::Input { nonblock, .. } | Kind::Output { nonblock, .. } => {
                if *nonblock {
                    StatusFlags::NONBLOCK
                } else {
                    StatusFlags::empty()
                }
            }
            Kind::File(file) => file.flags(),
            Kind::Dir(_) => StatusFlags::empty(),
            Kind::Listener(listener) => listener.flags(),
            Kind::Connection(connection) => connection.flags(),
        };
        status.into()
    }

    /// What to wait on until this is ready; `None` if it always is.
    pub fn waits_on(&self, interest: Interest) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            Kind::Input { stream, .. } if interest == Interest::Read => stream.fd(),
            Kind::Output { stream, .. } if interest == Interest::Write => stream.fd(),
            Kind::Input { .. } | Kind::Output { .. } | Kind::Dir(_) => None,
            Kind::File(file) => Some(file.fd()),
            Kind::Listener(listener) => Some(listener.fd()),
            Kind::Connection(connection) => Some(connection.fd()),
        }
    }
}

/// A guest's table of descriptors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptors {
    table: Table<Descriptor>,
    /// The only one that there is, with its number, if this is for one call.
    only: Option<(u32, Descriptor)>,
}

impl Descriptors {
    /// The table that a guest starts with.
    pub(crate) fn new(host: &Host, listeners: Vec<Listener>) -> Descriptors {
        let output = |stream: &Output| Kind::Output {
            stream: stream.clone(),
            nonblock: false,
        };
        let stdio = [
            Kind::Input {
                stream: host.stdin.clone(),
                nonblock: false,
            },
            output(&host.stdout),
            output(&host.stderr),
        ];
        let dirs = host.preopens.iter().map(|preopen| {
            Kind::Dir(OpenDir {
                dir: preopen.dir.clone(),
                preopen: Some(preopen.name.clone()),
                listing: None,
            })
        });
        let listeners = listeners.into_iter().map(Kind::Listener);
        let mut table = Table::default();
        for kind in stdio.into_iter().chain(dirs).chain(listeners) {
            // There are fewer than 2^31 of them: each took the embedder a call.
            let _ = table.insert(Descriptor::new(kind));
        }
        Descriptors { table, only: None }
    }

    /// A table of one descriptor, for a call that shall not keep others from using this one.
    pub(crate) fn only(&self, fd: u32) -> Descriptors {
        let descriptor = self.table.get(fd).cloned();
        Descriptors {
            table: Table::default(),
            only: descriptor.map(|descriptor| (fd, descriptor)),
        }
    }

    /// What to wait on before an operation on a descriptor, if it may have to wait.
    pub(crate) fn waits(&self, fd: u32, interest: Interest) -> Option<BorrowedFd<'_>> {
        let descriptor = self.get(fd).ok()?;
        let waits = !descriptor.flags().contains(FdFlags::NONBLOCK)
            && !matches!(
                descriptor.file_type(),
                FileType::RegularFile | FileType::BlockDevice
            );
        descriptor.waits_on(interest).filter(|_| waits)
    }

    pub(super) fn get(&self, fd: u32) -> Result<&Descriptor> {
        match &self.only {
            Some((only, descriptor)) if *only == fd => Ok(descriptor),
            _ => self.table.get(fd).ok_or(Errno::Badf),
        }
    }

    pub(super) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor> {
        self.table.get_mut(fd).ok_or(Errno::Badf)
    }

    /// The directory under `fd`, with `rights`.
    pub(super) fn dir(&self, fd: u32, rights: Rights) -> Result<&Dir> {
        Ok(&self.get(fd)?.dir(rights)?.dir)
    }

    pub(super) fn insert(&mut self, descriptor: Descriptor) -> Result<u32> {
        self.table.insert(descriptor).ok_or(Errno::Mfile)
    }

    pub(super) fn remove(&mut self, fd: u32) -> Result<Descriptor> {
        self.table.remove(fd).ok_or(Errno::Badf)
    }

    /// Gives the number `to` to what `from` leads to; what was there comes back, to be closed.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let descriptor = self.remove(from)?;
        let closed = self.table.replace(to, descriptor);
        closed.map(Some).map_err(|_| Errno::Badf)
    }

    /// What the guest has opened itself.
    pub(crate) fn opened(&self) -> Vec<u32> {
        let is_opened = |kind: &Kind| match kind {
            Kind::File(_) | Kind::Connection(_) => true,
            Kind::Dir(dir) => dir.preopen.is_none(),
            Kind::Input { .. } | Kind::Output { .. } | Kind::Listener(_) => false,
        };
        let opened = self.table.iter().filter(|(_, d)| is_opened(&d.kind));
        opened.map(|(fd, _)| fd).collect()
    }

    pub(crate) fn listeners(&self) -> Vec<u32> {
        let listeners = self
            .table
            .iter()
            .filter(|(_, d)| matches!(d.kind, Kind::Listener(_)));
        listeners.map(|(fd, _)| fd).collect()
    }
}

impl From<Opened> for Kind {
    fn from(opened: Opened) -> Kind {
        match opened {
            Opened::Dir(dir) => Kind::Dir(OpenDir {
                dir,
                preopen: None,
                listing: None,
            }),
            Opened::File(file) => Kind::File(file),
        }
    }
}
