//! Which entries have been checked from their first byte to their last.
//!
//! Digests of what a program is about to use cost it a tenth of a short run. They are there to find
//! files that have changed, and the system can tell that too. So whoever has written an entry, or has
//! read it whole, leaves a *mark*: a digest, under the cache's key, of what identifies the file in its
//! present state (`bimetal_sys::file_identity`). An entry that has its mark is mapped and used as it
//! is; every other one is checked piece by piece as it is used.
//!
//! A mark is for one boot of the machine: what a crash has made of a file is not seen in its times. A
//! file's time of last change is set to a moment that no clock would give it, so that a later change
//! shows however coarse the file system's clock is.

use std::fs::{File, Metadata};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bimetal_artifact::Image;
use bimetal_sys::{FilePart, MappedFile};
use bimetal_wasm::{Bytes, DefinedFuncIndex};

use super::{Cache, IMAGE, Key, is_settled};
use crate::error::Result;

/// The extension of marks.
pub(super) const MARK: &str = "mark";

impl Cache {
    /// The mark of an entry whose file is in this state.
    fn mark_of(&self, key: Key, metadata: &Metadata) -> Option<Key> {
        static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        let boot = BOOT.get_or_init(bimetal_sys::boot_identity).as_ref()?;
        let mut hasher = blake3::Hasher::new_keyed(&self.0.key);
        hasher.update(MARK.as_bytes());
        hasher.update(&key.0);
        for number in bimetal_sys::file_identity(metadata) {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(boot);
        Some(Key(*hasher.finalize().as_bytes()))
    }

    /// Whether the entry has been checked in this state of its file.
    pub(super) fn is_marked(&self, key: Key, metadata: &Metadata) -> bool {
        let mark = self.mark_of(key, metadata);
        mark.is_some() && self.follow(key, MARK) == mark
    }

    /// Gives a file that has just been written a time that tells.
    pub(super) fn date(file: &File) -> std::io::Result<SystemTime> {
        let random = u32::from_le_bytes(bimetal_sys::random_bytes()?);
        // A millisecond is nothing to the order in which entries go.
        let before = Duration::from_nanos(u64::from(random) % 1_000_000);
        let time = SystemTime::now() - before;
        file.set_modified(time)?;
        Ok(time)
    }

    /// Leaves the mark of a whole entry whose file is in this state. Without it nothing but time is
    /// lost.
    pub(super) fn mark(&self, key: Key, metadata: &Metadata) {
        if let Some(mark) = self.mark_of(key, metadata)
            && let Err(error) = self.write_link(key, MARK, mark)
        {
            tracing::debug!(%error, "an entry is not marked");
        }
    }

    /// Checks a whole entry, and marks it if that finds nothing.
    pub(super) fn check(&self, key: Key) -> Result<()> {
        let file = File::open(self.path(key, IMAGE))?;
        let metadata = file.metadata()?;
        // What was written just now could be written again without its times telling.
        if !is_settled(&metadata) || self.mark_of(key, &metadata).is_none() {
            return Ok(());
        }
        let mapped = MappedFile::new(&file)?;
        let image = Image::open_with_key(Bytes::from_owner(mapped), &self.0.key)?;
        for index in 0..image.len() {
            let function = image.function(DefinedFuncIndex::from_u32(index as u32));
            let code = function.as_ref().and_then(|function| {
                let code = image.text_bytes().get(function.code.clone());
                Some((function, code?))
            });
            if let Some((function, code)) = code.filter(|(f, _)| !f.is_missing()) {
                function.verify(code)?;
            }
        }
        let memory = image.memory();
        image.check_memory(FilePart::new(&file, memory.start as u64..memory.end as u64))?;
        self.mark(key, &metadata);
        Ok(())
    }
}
