//! The standard streams: inherited from the host, a descriptor of the embedder's, memory, a
//! trait object, or nothing.
//!
//! A stream with a descriptor costs one system call per read or write. The non-blocking mode is a
//! property of the guest's handle and is imitated with `poll`: setting it on the open file would
//! also change it for the shell that started the host and for everybody else who shares the
//! terminal.

use super::error::{ErrorCode, Result};
use super::pipe::{MemoryInputPipe, MemoryOutputPipe};
use super::poll::{Interest, blocking, is_ready};
use super::stat::{FileStat, FileType};
use rustix::fs::SeekFrom;
use rustix::io::retry_on_intr;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A source of bytes that the embedder programs.
pub trait InputStream: Send {
    /// Reads into `bufs` in order and returns how many bytes; 0 is the end. May block.
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
}

/// A sink of bytes that the embedder programs.
pub trait OutputStream: Send {
    /// Takes bytes from `bufs` in order and returns how many. May block.
    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Called when the guest asks for its output to be made durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adapts any `std::io::Read`.
struct Reader<R>(R);

impl<R: io::Read + Send> InputStream for Reader<R> {
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored(bufs)
    }
}

/// Adapts any `std::io::Write`.
struct Writer<W>(W);

impl<W: io::Write + Send> OutputStream for Writer<W> {
    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A descriptor that a stream reads or writes.
#[derive(Debug)]
enum Handle {
    Inherited(BorrowedFd<'static>),
    Owned(OwnedFd),
}

#[derive(Debug)]
struct OsStream {
    handle: Handle,
    file_type: FileType,
    terminal: bool,
    seekable: bool,
}

impl OsStream {
    fn new(handle: Handle) -> OsStream {
        let fd = match &handle {
            Handle::Inherited(fd) => *fd,
            Handle::Owned(fd) => fd.as_fd(),
        };
        let file_type = FileStat::of_fd(fd).map(|s| s.file_type).unwrap_or_default();
        let terminal = fd.is_terminal();
        let seekable = !terminal && rustix::fs::tell(fd).is_ok();
        OsStream {
            handle,
            file_type,
            terminal,
            seekable,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Inherited(fd) => *fd,
            Handle::Owned(fd) => fd.as_fd(),
        }
    }
}

enum Inner<T: ?Sized> {
    Null,
    Os(OsStream),
    Custom(Mutex<Box<T>>),
}

impl<T: ?Sized> Inner<T> {
    fn os(&self) -> Option<&OsStream> {
        match self {
            Inner::Os(os) => Some(os),
            Inner::Null | Inner::Custom(_) => None,
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self {
            Inner::Null => write!(f, "{name}(null)"),
            Inner::Os(os) => write!(f, "{name}({:?})", os.handle),
            Inner::Custom(_) => write!(f, "{name}(custom)"),
        }
    }

    fn stat(&self) -> Result<FileStat> {
        match self {
            Inner::Os(os) => FileStat::of_fd(os.fd()),
            Inner::Null | Inner::Custom(_) => Ok(FileStat {
                file_type: self.file_type(),
                nlink: 1,
                ..FileStat::default()
            }),
        }
    }

    fn file_type(&self) -> FileType {
        match self {
            Inner::Null => FileType::CharacterDevice,
            Inner::Os(os) => os.file_type,
            Inner::Custom(_) => FileType::Unknown,
        }
    }
}

macro_rules! stream_handle {
    ($(#[$doc:meta])* $name:ident, $trait:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Arc<Inner<dyn $trait>>);

        impl $name {
            /// The null device: reads give the end, writes vanish, as with `/dev/null`.
            pub fn null() -> $name {
                $name(Arc::new(Inner::Null))
            }

            /// A stream that the embedder programs.
            pub fn custom(stream: impl $trait + 'static) -> $name {
                $name(Arc::new(Inner::Custom(Mutex::new(Box::new(stream)))))
            }

            fn inherited(fd: BorrowedFd<'static>) -> $name {
                $name(Arc::new(Inner::Os(OsStream::new(Handle::Inherited(fd)))))
            }

            /// The descriptor of the operating system, if there is one.
            pub fn fd(&self) -> Option<BorrowedFd<'_>> {
                self.0.os().map(OsStream::fd)
            }

            /// What the stream leads to.
            pub fn file_type(&self) -> FileType {
                self.0.file_type()
            }

            /// Whether a terminal is at the other end.
            pub fn is_terminal(&self) -> bool {
                self.0.os().is_some_and(|os| os.terminal)
            }

            /// Whether there is a position that can be moved; on the null device there is, and
            /// it is always 0.
            pub fn is_seekable(&self) -> bool {
                match &*self.0 {
                    Inner::Null => true,
                    Inner::Os(os) => os.seekable,
                    Inner::Custom(_) => false,
                }
            }

            /// The descriptor for an operation with a position; `None` is the null device.
            fn seekable_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
                match &*self.0 {
                    Inner::Null => Ok(None),
                    Inner::Os(os) if os.seekable => Ok(Some(os.fd())),
                    Inner::Os(_) | Inner::Custom(_) => Err(ErrorCode::Spipe),
                }
            }

            /// Moves the position, if there is one; returns the new one.
            pub fn seek(&self, to: SeekFrom) -> Result<u64> {
                Ok(self.seekable_fd()?.map_or(Ok(0), |fd| rustix::fs::seek(fd, to))?)
            }

            /// Whether both are the same stream, as clones are.
            pub fn is_same(&self, other: &$name) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }

            /// The attributes of what the stream leads to.
            pub fn stat(&self) -> Result<FileStat> {
                self.0.stat()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.describe(f, stringify!($name))
            }
        }

        impl From<OwnedFd> for $name {
            /// The other end of a pipe, a file, a socket: anything with a descriptor.
            fn from(fd: OwnedFd) -> $name {
                $name(Arc::new(Inner::Os(OsStream::new(Handle::Owned(fd)))))
            }
        }

        impl From<std::fs::File> for $name {
            fn from(file: std::fs::File) -> $name {
                OwnedFd::from(file).into()
            }
        }
    };
}

stream_handle! {
    /// Where a guest reads its standard input. Clones are the same stream.
    Input, InputStream
}

stream_handle! {
    /// Where a guest's standard output or error goes. Clones are the same stream.
    Output, OutputStream
}

impl From<MemoryInputPipe> for Input {
    fn from(pipe: MemoryInputPipe) -> Input {
        Input::custom(pipe)
    }
}

impl From<io::PipeReader> for Input {
    fn from(pipe: io::PipeReader) -> Input {
        OwnedFd::from(pipe).into()
    }
}

impl From<MemoryOutputPipe> for Output {
    fn from(pipe: MemoryOutputPipe) -> Output {
        Output::custom(pipe)
    }
}

impl From<io::PipeWriter> for Output {
    fn from(pipe: io::PipeWriter) -> Output {
        OwnedFd::from(pipe).into()
    }
}

impl Input {
    /// The host process's own standard input.
    pub fn stdin() -> Input {
        Input::inherited(rustix::stdio::stdin())
    }

    /// A stream that reads from `reader`.
    pub fn reader(reader: impl io::Read + Send + 'static) -> Input {
        Input::custom(Reader(reader))
    }

    /// Reads at `offset`, leaving the position alone, if there is one.
    pub fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        match self.seekable_fd()? {
            Some(fd) => Ok(retry_on_intr(|| rustix::io::preadv(fd, bufs, offset))?),
            None => Ok(0),
        }
    }

    /// Reads into `bufs`; 0 is the end. With `nonblock`, [`ErrorCode::Again`] instead of waiting.
    pub fn read(&self, bufs: &mut [IoSliceMut<'_>], nonblock: bool) -> Result<usize> {
        match &*self.0 {
            Inner::Null => Ok(0),
            Inner::Os(os) => {
                let fd = os.fd();
                if nonblock && !is_ready(fd, Interest::Read)? {
                    return Err(ErrorCode::Again);
                }
                blocking(fd, Interest::Read, || rustix::io::readv(fd, bufs))
            }
            Inner::Custom(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(stream.read(bufs)?)
            }
        }
    }
}

fn total_len(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|b| b.len()).sum()
}

/// A pipe that polls as writable takes this much without blocking, whatever else is in it.
const ATOMIC_PIPE_WRITE: usize = 4096;

impl Output {
    /// The host process's own standard output.
    pub fn stdout() -> Output {
        Output::inherited(rustix::stdio::stdout())
    }

    /// The host process's own standard error.
    pub fn stderr() -> Output {
        Output::inherited(rustix::stdio::stderr())
    }

    /// A stream that writes to `writer`.
    pub fn writer(writer: impl io::Write + Send + 'static) -> Output {
        Output::custom(Writer(writer))
    }

    /// Writes at `offset`, leaving the position alone, if there is one.
    pub fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        match self.seekable_fd()? {
            Some(fd) => Ok(retry_on_intr(|| rustix::io::pwritev(fd, bufs, offset))?),
            None => Ok(total_len(bufs)),
        }
    }

    /// Writes from `bufs`, perhaps only a part. With `nonblock`, [`ErrorCode::Again`] instead of
    /// waiting.
    pub fn write(&self, bufs: &[IoSlice<'_>], nonblock: bool) -> Result<usize> {
        match &*self.0 {
            Inner::Null => Ok(total_len(bufs)),
            Inner::Os(os) => {
                let fd = os.fd();
                if !nonblock {
                    return blocking(fd, Interest::Write, || rustix::io::writev(fd, bufs));
                }
                if !is_ready(fd, Interest::Write)? {
                    return Err(ErrorCode::Again);
                }
                let may_block =
                    !matches!(os.file_type, FileType::RegularFile | FileType::BlockDevice);
                match bufs.iter().find(|b| !b.is_empty()) {
                    Some(first) if may_block => {
                        let part = &first[..first.len().min(ATOMIC_PIPE_WRITE)];
                        Ok(retry_on_intr(|| rustix::io::write(fd, part))?)
                    }
                    _ => Ok(retry_on_intr(|| rustix::io::writev(fd, bufs))?),
                }
            }
            Inner::Custom(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(stream.write(bufs)?)
            }
        }
    }

    /// Makes what was written durable, as far as the stream knows how.
    pub fn flush(&self) -> Result<()> {
        match &*self.0 {
            Inner::Null => Ok(()),
            Inner::Os(os) => Ok(rustix::fs::fsync(os.fd())?),
            Inner::Custom(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(stream.flush()?)
            }
        }
    }
}
