//! A directory that a guest was given, and everything that can be done with paths below it.
//!
//! Paths are resolved by `cap-std` alone: no `..`, absolute path, symbolic link, magic link or
//! concurrent rename leads out, and each attempt is [`ErrorCode::Perm`] (a magic link of `/proc`:
//! [`ErrorCode::Loop`]). On top of that stands the embedder's policy: what may be changed
//! ([`DirPerms`], [`FilePerms`]) is decided here, before the kernel is asked, and is passed on to
//! whatever is opened below. Nothing is moved or linked from a directory with fewer permissions to one
//! with more, because that would lift them.

use super::error::{ErrorCode, Result};
use super::file::{File, StatusFlags, set_times};
use super::stat::{FileStat, FileType, SetTime};
use bitflags::bitflags;
use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

bitflags! {
    /// What a guest may do with a directory and the directories below it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DirPerms: u8 {
        /// List it, open what is in it, and ask for attributes.
        const READ = 1 << 0;
        /// Create, remove, rename and link what is in it, and set times.
        const MUTATE = 1 << 1;
    }
}

bitflags! {
    /// What a guest may do with the files below a directory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FilePerms: u8 {
        /// Read them.
        const READ = 1 << 0;
        /// Change their contents, sizes and times.
        const WRITE = 1 << 1;
    }
}

/// How to open a path.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest {
    /// Follow a symbolic link that is the path's last component.
    pub follow: bool,
    /// Create a file if there is nothing.
    pub create: bool,
    /// With `create`: fail if there is something.
    pub exclusive: bool,
    /// Cut the file to nothing.
    pub truncate: bool,
    /// Fail unless it is a directory.
    pub directory: bool,
    /// The guest will read.
    pub read: bool,
    /// The guest will write.
    pub write: bool,
    /// The modes of the open file.
    pub flags: StatusFlags,
}

/// What was opened.
#[derive(Debug)]
pub enum Opened {
    /// A directory.
    Dir(Dir),
    /// Anything else.
    File(File),
}

/// An open directory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct Dir {
    dir: Arc<cap_std::fs::Dir>,
    dir_perms: DirPerms,
    file_perms: FilePerms,
}

impl Dir {
    /// Opens a directory of the host by its path, with all of the host's authority. This is the
    /// one way in; everything else starts from a `Dir`.
    ///
    /// # Errors
    /// The path does not exist, is not a directory, or may not be opened.
    pub fn open_host(
        path: impl AsRef<Path>,
        dir_perms: DirPerms,
        file_perms: FilePerms,
    ) -> io::Result<Dir> {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Opened for reading if possible, because the O_PATH descriptor that `cap-std` would
        // choose can neither be synchronised nor have its times set.
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits() as i32)
            .open(path.as_ref());
        let dir = match opened {
            Ok(file) => cap_std::fs::Dir::from_std_file(file),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority())?
            }
            Err(e) => return Err(e),
        };
        Ok(Dir {
            dir: Arc::new(dir),
            dir_perms,
            file_perms,
        })
    }

    /// What may be done with it.
    pub fn perms(&self) -> (DirPerms, FilePerms) {
        (self.dir_perms, self.file_perms)
    }

    /// The descriptor, for listing.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn check_read(&self) -> Result<()> {
        if self.dir_perms.contains(DirPerms::READ) {
            Ok(())
        } else {
            Err(ErrorCode::Perm)
        }
    }

    fn check_mutate(&self) -> Result<()> {
        if self.dir_perms.contains(DirPerms::MUTATE) {
            Ok(())
        } else {
            Err(ErrorCode::Rofs)
        }
    }

    /// Opens `path`.
    pub fn open(&self, path: &str, request: &OpenRequest) -> Result<Opened> {
        check_path(path)?;
        self.check_read()?;
        if request.directory && (request.create || request.exclusive || request.truncate) {
            return Err(ErrorCode::Inval);
        }
        if request.read && !request.directory && !self.file_perms.contains(FilePerms::READ) {
            return Err(ErrorCode::Perm);
        }
        let mut request = *request;
        let writes = request.write || request.truncate;
        let create_forbidden = request.create && !self.dir_perms.contains(DirPerms::MUTATE);
        if create_forbidden || (writes && !self.file_perms.contains(FilePerms::WRITE)) {
            // As on a file system that is mounted read-only: first what is there, then the answer.
            match self.stat(path, request.follow) {
                Ok(_) if request.create && request.exclusive => return Err(ErrorCode::Exist),
                Ok(stat) if writes && !self.file_perms.contains(FilePerms::WRITE) => {
                    let dir = stat.file_type == FileType::Directory;
                    return Err(if dir {
                        ErrorCode::Isdir
                    } else {
                        ErrorCode::Rofs
                    });
                }
                Ok(_) => (request.create, request.exclusive) = (false, false),
                Err(ErrorCode::Noent) if request.create => return Err(ErrorCode::Rofs),
                Err(e) => return Err(e),
            }
        }
        match self.open_checked(path, &request, request.create || request.truncate) {
            // Creating and cutting need write access in `cap-std`. A file that is there and may
            // only be read can still be opened by "create if there is nothing".
            Err(ErrorCode::Acces | ErrorCode::Txtbsy)
                if request.create && !(request.exclusive || request.truncate || request.write) =>
            {
                let plain = OpenRequest {
                    create: false,
                    ..request
                };
                self.open_checked(path, &plain, false)
            }
            other => other,
        }
    }

    fn open_checked(&self, path: &str, request: &OpenRequest, write: bool) -> Result<Opened> {
        let mut options = OpenOptions::new();
        let write = request.write || write;
        options
            .read(request.read || !write)
            .write(write)
            .truncate(request.truncate)
            .follow(if request.follow {
                FollowSymlinks::Yes
            } else {
                FollowSymlinks::No
            })
            .sync(request.flags.contains(StatusFlags::SYNC))
            .dsync(request.flags.contains(StatusFlags::DSYNC))
            .rsync(request.flags.contains(StatusFlags::RSYNC));
        if request.create {
            if request.exclusive {
                options.create_new(true)
            } else {
                options.create(true)
            };
        }
        // A guest must not make a terminal the host's controlling one.
        let mut extra = OFlags::NOCTTY;
        extra.set(OFlags::DIRECTORY, request.directory);
        extra.set(OFlags::APPEND, request.flags.contains(StatusFlags::APPEND));
        extra.set(
            OFlags::NONBLOCK,
            request.flags.contains(StatusFlags::NONBLOCK),
        );
        options.custom_flags(extra.bits() as i32);

        let file = self.dir.open_with(path, &options)?.into_std();
        let file_type = FileStat::of_fd(&file)?.file_type;
        if file_type == FileType::Directory {
            return Ok(Opened::Dir(Dir {
                dir: Arc::new(cap_std::fs::Dir::from_std_file(file)),
                ..*self
            }));
        }
        Ok(Opened::File(File::new(
            OwnedFd::from(file),
            file_type,
            request.flags,
            request.read,
            request.write,
            self.file_perms,
        )))
    }

    /// The directory's own attributes.
    pub fn stat_self(&self) -> Result<FileStat> {
        FileStat::of_fd(self.fd())
    }

    /// Sets the directory's own times.
    pub fn set_times_self(&self, access: SetTime, modification: SetTime) -> Result<()> {
        self.check_mutate()?;
        set_times(self.fd(), access, modification)
    }

    /// Makes the directory's entries durable.
    pub fn sync(&self) -> Result<()> {
        Ok(rustix::fs::fsync(self.fd())?)
    }

    /// Makes the directory's entries durable, without attributes.
    pub fn sync_data(&self) -> Result<()> {
        Ok(rustix::fs::fdatasync(self.fd())?)
    }

    /// The attributes of what `path` names.
    pub fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        check_path(path)?;
        self.check_read()?;
        let metadata = if follow {
            self.dir.metadata(path)?
        } else {
            self.dir.symlink_metadata(path)?
        };
        Ok(FileStat::of_metadata(&metadata))
    }

    /// Sets the times of what `path` names.
    pub fn set_times(
        &self,
        path: &str,
        follow: bool,
        access: SetTime,
        modification: SetTime,
    ) -> Result<()> {
        check_path(path)?;
        self.check_mutate()?;
        if !self.file_perms.contains(FilePerms::WRITE)
            && self.stat(path, follow)?.file_type != FileType::Directory
        {
            return Err(ErrorCode::Rofs);
        }
        let (access, modification) = (access.to_spec(), modification.to_spec());
        if follow {
            self.dir.set_times(path, access, modification)?;
        } else {
            self.dir.set_symlink_times(path, access, modification)?;
        }
        Ok(())
    }

    /// Creates a directory.
    pub fn create_dir(&self, path: &str) -> Result<()> {
        check_path(path)?;
        if self.check_mutate().is_err() {
            // As on a file system that is mounted read-only, where "make it unless it exists"
            // must find that it does.
            let exists = self.stat(path, false).is_ok();
            return Err(if exists {
                ErrorCode::Exist
            } else {
                ErrorCode::Rofs
            });
        }
        Ok(self.dir.create_dir(path)?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.check_mutate()?;
        // What is removed must be a directory with or without a slash behind it, but `cap-std`
        // takes "name/" for "the directory itself, from within", which no kernel removes.
        let trimmed = path.trim_end_matches('/');
        Ok(self
            .dir
            .remove_dir(if trimmed.is_empty() { path } else { trimmed })?)
    }

    /// Removes anything that is not a directory; a symbolic link is removed itself.
    pub fn remove_file(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.check_mutate()?;
        Ok(self.dir.remove_file(path)?)
    }

    /// Gives what `from` names the name `to` below `to_dir`, replacing what is there.
    pub fn rename(&self, from: &str, to_dir: &Dir, to: &str) -> Result<()> {
        self.check_move(from, to_dir, to)?;
        // `cap-std` drops slashes behind the target, which say that it is to be a directory.
        if to.ends_with('/') && self.stat(from, false)?.file_type != FileType::Directory {
            return Err(ErrorCode::Notdir);
        }
        Ok(self.dir.rename(from, &to_dir.dir, to)?)
    }

    /// Gives the file that `from` names a second name; a symbolic link is linked itself.
    pub fn hard_link(&self, from: &str, to_dir: &Dir, to: &str) -> Result<()> {
        self.check_move(from, to_dir, to)?;
        Ok(self.dir.hard_link(from, &to_dir.dir, to)?)
    }

    fn check_move(&self, from: &str, to_dir: &Dir, to: &str) -> Result<()> {
        check_path(from)?;
        check_path(to)?;
        self.check_mutate()?;
        to_dir.check_mutate()?;
        let lifts = !self.dir_perms.contains(to_dir.dir_perms)
            || !self.file_perms.contains(to_dir.file_perms);
        if lifts { Err(ErrorCode::Xdev) } else { Ok(()) }
    }

    /// Creates a symbolic link at `path`. Its contents must be relative, because the host's own
    /// programs would follow an absolute link out of the directory.
    pub fn symlink(&self, contents: &str, path: &str) -> Result<()> {
        check_path(contents)?;
        check_path(path)?;
        self.check_mutate()?;
        if contents.starts_with('/') {
            return Err(ErrorCode::Perm);
        }
        Ok(self.dir.symlink_contents(contents, path)?)
    }

    /// The contents of a symbolic link. An absolute link is not shown: it would tell the guest
    /// about the host's directories, where it cannot go.
    pub fn read_link(&self, path: &str) -> Result<PathBuf> {
        check_path(path)?;
        self.check_read()?;
        Ok(self.dir.read_link(path)?)
    }
}

/// What no path may be, whatever is done with it.
fn check_path(path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(ErrorCode::Noent);
    }
    if path.contains('\0') {
        return Err(ErrorCode::Inval);
    }
    Ok(())
}
