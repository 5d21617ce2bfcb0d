//! The path of a bound Unix socket: a name in an open directory, and the file that this process created there.
//!
//! Others may be able to rename or replace the path and its parents at any time. Every change therefore goes through
//! the handle to the directory, and applies only to the file with the known device and inode number.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{Gid, UnlinkatFlags, fchownat, geteuid, unlinkat};

/// The device and the inode number of a file.
pub(crate) type FileId = (u64, u64);

/// The path of a Unix socket. The file is removed on drop if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    entry: Entry,
    file: FileId,
    /// Another process listens on the path too.
    keep: AtomicBool,
}

impl SocketPath {
    pub(super) fn new(path: &Path, entry: Entry, file: FileId) -> Self {
        Self { path: path.to_owned(), entry, file, keep: AtomicBool::new(false) }
    }

    /// The path of a socket that another process has bound. It stays until [`keep`](Self::keep) is called with `false`.
    pub(super) fn of_other(path: &Path, file: Option<FileId>) -> io::Result<Self> {
        let entry = Entry::of(path)?;
        let file = match file {
            Some(file) => file,
            None => file_id(&entry.stat()?),
        };
        let path = Self::new(path, entry, file);
        path.keep(true);
        Ok(path)
    }

    pub(super) fn keep(&self, keep: bool) {
        self.keep.store(keep, Relaxed);
    }

    pub(super) fn file(&self) -> FileId {
        self.file
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether clients that use the path reach this file.
    pub(crate) fn is_owned(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// Whether `path` leads to this file, perhaps through symbolic links.
    pub(super) fn is_file_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// Sets the group and the mode of the file.
    pub(super) fn set_permissions(&self, mode: u32, group: Option<u32>) -> io::Result<()> {
        self.entry.set_permissions(self.file, mode, group)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if !self.keep.load(Relaxed) && self.entry.stat().is_ok_and(|found| file_id(&found) == self.file) {
            let _ = self.entry.remove();
        }
    }
}

pub(super) fn file_id(stat: &FileStat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
}

impl Entry {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the path must end with the name of a file");
        let name = path.file_name().ok_or_else(invalid)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { directory, name })
    }

    /// The file at this name. Does not follow a symbolic link.
    pub(super) fn stat(&self) -> nix::Result<FileStat> {
        fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    pub(super) fn remove(&self) -> nix::Result<()> {
        unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
    }

    /// Whether only this user and root can rename or replace a file of this user in the directory.
    pub(super) fn is_protected(&self) -> nix::Result<bool> {
        let directory = fstat(&self.directory)?;
        let mode = Mode::from_bits_truncate(directory.st_mode);
        let is_shared = mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) && !mode.contains(Mode::S_ISVTX);
        Ok((directory.st_uid == 0 || directory.st_uid == geteuid().as_raw()) && !is_shared)
    }

    /// Sets the group and the mode of this file. Fails if another file is at this name now.
    pub(super) fn set_permissions(&self, file: FileId, mode: u32, group: Option<u32>) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())?;
        if file_id(&fstat(&opened)?) != file {
            return Err(replaced());
        }
        if let Some(group) = group {
            fchownat(&opened, OsStr::new(""), None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?;
        }
        // fchmod(2) does not accept an O_PATH descriptor; its link in /proc leads to the opened file (open(2)).
        fs::set_permissions(descriptor_path(&opened), fs::Permissions::from_mode(mode)).map_err(without_proc)
    }
}

pub(super) fn replaced() -> io::Error {
    let reason =
        "another process has replaced the path while it was bound; use a directory in which others cannot write";
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// Names the cause if a path in /proc is not found.
pub(super) fn without_proc(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    io::Error::new(error.kind(), format!("a Unix socket with a path needs /proc, which is not mounted: {error}"))
}

/// The path of an open file in /proc (proc(5)). An access to it can fail because of /proc: see [`without_proc`].
pub(super) fn descriptor_path(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}
