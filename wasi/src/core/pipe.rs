//! Byte streams that live in the embedder's memory.

use super::stream::{InputStream, OutputStream};
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Gives a guest the bytes it was made with, then the end. Clones share the position.
#[derive(Clone, Debug)]
pub struct MemoryInputPipe(Arc<Mutex<io::Cursor<Vec<u8>>>>);

impl MemoryInputPipe {
    /// A stream of `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> MemoryInputPipe {
        MemoryInputPipe(Arc::new(Mutex::new(io::Cursor::new(bytes.into()))))
    }
}

impl InputStream for MemoryInputPipe {
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        io::Read::read_vectored(&mut *lock(&self.0), bufs)
    }
}

/// Keeps what a guest writes, up to a limit. Clones share the contents, so keep one and give the
/// other to the builder.
#[derive(Clone, Debug)]
pub struct MemoryOutputPipe {
    contents: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl MemoryOutputPipe {
    /// Holds at most `capacity` bytes; a write beyond it fails as on a full disk, so that a guest
    /// cannot use up the host's memory.
    pub fn new(capacity: usize) -> MemoryOutputPipe {
        MemoryOutputPipe {
            contents: Arc::default(),
            capacity,
        }
    }

    /// A copy of everything written so far.
    pub fn contents(&self) -> Vec<u8> {
        lock(&self.contents).clone()
    }

    /// Takes out what was written so far, which makes room for as much again.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.contents))
    }
}

impl OutputStream for MemoryOutputPipe {
    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut contents = lock(&self.contents);
        let mut written = 0;
        for buf in bufs {
            let room = self.capacity.saturating_sub(contents.len());
            let n = room.min(buf.len());
            contents
                .try_reserve(n)
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            contents.extend_from_slice(&buf[..n]);
            written += n;
            if n < buf.len() {
                break;
            }
        }
        if written == 0 && bufs.iter().any(|b| !b.is_empty()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(written)
    }
}

/// The data under these locks is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
