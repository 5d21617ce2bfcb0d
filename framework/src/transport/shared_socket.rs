//! Handles to sockets that are bound, for whoever goes on listening there: other settings, or the next process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::{SockRef, Type};

use crate::address::Endpoint;

/// A handle to a socket that is bound, and listening if it is one for connections. While one handle is open, so is the socket.
#[derive(Debug)]
pub struct SharedSocket {
    /// Before the socket, so that nobody else can have the path yet when it is removed.
    place: Option<Arc<SocketPath>>,
    fd: OwnedFd,
}

impl SharedSocket {
    /// A socket that came from elsewhere: the process before this one, or a service manager.
    pub fn new(fd: OwnedFd) -> Self {
        Self { place: None, fd }
    }

    /// Another handle to the socket of a listener; `None` when the process has no descriptor left for it.
    pub fn of(socket: impl AsFd) -> Option<Self> {
        socket.as_fd().try_clone_to_owned().ok().map(Self::new)
    }

    /// With the path that goes when the last handle of this process is closed.
    pub(crate) fn at(self, place: Arc<SocketPath>) -> Self {
        Self { place: Some(place), ..self }
    }

    /// One more handle to the same socket; `None` when the process has no descriptor left for it.
    pub fn try_clone(&self) -> Option<Self> {
        Self::of(&self.fd).map(|try_clone| Self { place: self.place.clone(), ..try_clone })
    }

    /// Whether sockets of this user may be bound to the same port.
    pub(crate) fn set_reuse_port(&self, lend: bool) {
        // Only sockets of a network have a port; with others it fails, and nothing is lost.
        let _ = SockRef::from(&self.fd).set_reuse_port(lend);
    }

    /// The path of a Unix socket goes with the last handle of this process, unless it shall stay because another process listens
    /// there too.
    pub(crate) fn keep_path(&self, keep: bool) {
        if let Some(place) = &self.place {
            place.keep.store(keep, Relaxed);
        }
    }

    /// Whether the file at the path of a Unix socket is ours.
    pub(crate) fn owns_path(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_ours())
    }

    /// Another process made the file at this path and listens there; it stays until [`keep_path`](Self::keep_path) says otherwise.
    pub(crate) fn at_path(self, path: &Path) -> io::Result<Self> {
        let place = Arc::new(SocketPath::at(path)?);
        place.keep.store(true, Relaxed);
        Ok(self.at(place))
    }

    /// Where it is bound, as an address of the transport of its kind. An error: it is no socket, or of no kind that is known.
    pub fn address(&self) -> io::Result<Endpoint> {
        let socket = SockRef::from(&self.fd);
        let (address, kind) = (socket.local_addr()?, socket.r#type()?);
        let endpoint = match (address.as_socket(), address.as_pathname(), kind) {
            (Some(at), _, Type::STREAM) => format!("tcp://{at}"),
            (Some(at), _, Type::DGRAM) => format!("udp://{at}"),
            (_, Some(path), Type::STREAM) => return Ok(Endpoint::Unix(path.to_owned())),
            (_, Some(path), Type::DGRAM) => return Ok(Endpoint::Unixgram(path.to_owned())),
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it has no address that is known")),
        };
        endpoint.parse().map_err(io::Error::other)
    }

    /// The descriptor itself. A path that goes with it stays for the other handles.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(crate) fn into_parts(self) -> (OwnedFd, Option<Arc<SocketPath>>) {
        (self.fd, self.place)
    }
}

/// A path that is ours; removed when dropped, if it still is.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    file: (u64, u64),
    /// Somebody else listens there too.
    keep: AtomicBool,
}

impl SocketPath {
    /// Whether what is at the path is still ours.
    pub(crate) fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// The file that is there now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        identity(path).map(|file| Self { path: path.to_owned(), file, keep: AtomicBool::new(false) })
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if !self.keep.load(Relaxed) && self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
