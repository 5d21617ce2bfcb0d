//! Binds Unix sockets.
//!
//! Mode and group are set before clients can connect. A path on which a server listens is never replaced; a stale path
//! is. If others can write to the directory, the socket gets its mode and group in a private directory, so that they
//! cannot replace it with a link or with another socket in the meantime.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::{Mode, SFlag, fchmod, mkdirat};
use nix::unistd::{Group, UnlinkatFlags, linkat, unlinkat};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::settings::SocketOptions;
use crate::transport::socket::{BoundSocket, SharedSocket, adopt};
use crate::transport::socket_path::{Entry, FileId, SocketPath, descriptor_path, file_id, replaced, without_proc};

/// The largest number of waiting datagrams (net.unix.max_dgram_qlen is 10 by default).
const MAX_WAITING: usize = 1024;

/// Binds a non-blocking socket to `path`, or takes over one. Sets the mode and group of a path that this process owns.
pub(super) fn bind_or_adopt(
    path: &Path,
    kind: Type,
    options: &SocketOptions,
    inherited: Option<SharedSocket>,
) -> io::Result<BoundSocket> {
    let group = options.group.as_deref().map(group_id).transpose()?;
    let Some(inherited) = inherited else {
        return match path.as_os_str().as_bytes() {
            [0, ..] => Ok((bind_new(&SockAddr::unix(path)?, kind)?, None)), // abstract: no file, so no mode and no group
            _ => bind_path(path, kind, options.mode, group),
        };
    };
    let (socket, socket_path) = adopt(inherited)?;
    if let Some(path) = socket_path.as_ref().filter(|path| path.is_owned()) {
        path.set_permissions(options.mode, group)?;
    }
    Ok((socket, socket_path))
}

fn bind_path(path: &Path, kind: Type, mode: u32, group: Option<u32>) -> io::Result<BoundSocket> {
    let address = SockAddr::unix(path)?;
    let entry = Entry::of(path)?;
    remove_stale(&entry, &address, kind)?;
    let socket = bind_new(&address, kind)?;
    let is_protected = entry.is_protected()?;
    let file = if is_protected { socket_at(&entry)? } else { set_in_private(&entry, &socket, kind, mode, group)? };
    let path = SocketPath::new(path, entry, file);
    if is_protected {
        path.set_permissions(mode, group)?;
    }
    Ok((socket, Some(Arc::new(path))))
}

fn bind_new(address: &SockAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    // Linux creates the path with the mode of the socket (unix(7)). Only the owner may connect until the mode is set.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    if kind == Type::DGRAM {
        // Before a client can send: the kernel does not add the sender to a datagram afterwards (unix(7)).
        setsockopt(&socket, sockopt::PassCred, &true)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

/// Sets mode and group in a private directory and moves the socket back to its path.
fn set_in_private(entry: &Entry, socket: &Socket, kind: Type, mode: u32, group: Option<u32>) -> io::Result<FileId> {
    let (directory, private) = PrivateDirectory::create(entry)?;
    renameat(&entry.directory, entry.name.as_os_str(), &private.directory, private.name.as_os_str())
        .map_err(|_| replaced())?;
    let file = identify(&private, socket, kind).inspect_err(|_| {
        // The file is of someone else.
        if link(&private, entry).is_ok() {
            let _ = private.remove();
        }
    })?;
    let private = SocketPath::new(Path::new(""), private, file); // removes the file from the private directory
    private.set_permissions(mode, group)?;
    link(private.entry(), entry).map_err(|error| match error {
        Errno::EEXIST => io::Error::from(io::ErrorKind::AddrInUse),
        error => error.into(),
    })?;
    drop(private);
    drop(directory);
    Ok(file)
}

/// Gives a file a second name, which must be free.
fn link(from: &Entry, to: &Entry) -> nix::Result<()> {
    linkat(&from.directory, from.name.as_os_str(), &to.directory, to.name.as_os_str(), AtFlags::empty())
}

fn socket_at(entry: &Entry) -> io::Result<FileId> {
    let stat = entry.stat()?;
    let is_socket = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    if is_socket { Ok(file_id(&stat)) } else { Err(replaced()) }
}

/// The identity of the file in a private directory, if it is the path of this socket: what is sent to the file arrives
/// at the socket.
fn identify(private: &Entry, mut socket: &Socket, kind: Type) -> io::Result<FileId> {
    let file = socket_at(private)?;
    let address = SockAddr::unix(descriptor_path(&private.directory).join(&private.name))?;
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    match probe.connect(&address) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(without_proc(error)),
        Err(_) => return Err(replaced()),
        Ok(()) => {}
    }
    let is_ours = if kind == Type::STREAM {
        socket.accept().is_ok()
    } else {
        // Datagrams of this user that arrived before have no server yet.
        let (nonce, mut received) = (random().to_ne_bytes(), [0; size_of::<u64>()]);
        (0..MAX_WAITING).take_while(|_| socket.read(&mut received).is_ok()).for_each(drop);
        probe.send(&nonce).is_ok() && socket.read(&mut received).is_ok() && received == nonce
    };
    if is_ours { Ok(file) } else { Err(replaced()) }
}

/// A new directory that only this user can access. Removed on drop if it is empty.
struct PrivateDirectory<'e> {
    beside: &'e Entry,
    name: OsString,
}

impl<'e> PrivateDirectory<'e> {
    /// Creates a private directory beside an entry, and an entry in it.
    fn create(beside: &'e Entry) -> io::Result<(Self, Entry)> {
        let name = OsString::from(format!(".switchboard-{:016x}", random()));
        mkdirat(&beside.directory, name.as_os_str(), Mode::S_IRWXU)?;
        let private = Self { beside, name };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened =
            openat(&beside.directory, private.name.as_os_str(), flags, Mode::empty()).map_err(|_| replaced())?;
        let entry = Entry { directory: opened, name: private.name.clone() };
        // Others may have replaced the directory, too.
        if entry.is_protected()? { Ok((private, entry)) } else { Err(replaced()) }
    }
}

impl Drop for PrivateDirectory<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(&self.beside.directory, self.name.as_os_str(), UnlinkatFlags::RemoveDir);
    }
}

fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Removes a stale socket. Fails if a server listens on the path, or if the file is not a socket.
fn remove_stale(entry: &Entry, address: &SockAddr, kind: Type) -> io::Result<()> {
    let found = match entry.stat() {
        Err(Errno::ENOENT) => return Ok(()),
        found => file_id(&found?),
    };
    if socket_at(entry).is_err() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    // Through the handle to the directory, so that the socket that is tried is the one that is removed.
    let directory = descriptor_path(&entry.directory);
    let connected = match directory.exists() {
        true => probe.connect(&SockAddr::unix(directory.join(&entry.name))?),
        false => probe.connect(address), // no /proc
    };
    match connected {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Not a socket that another server has bound in the meantime.
            if entry.stat().is_ok_and(|now| file_id(&now) == found) {
                entry.remove()?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, the queue is full, or permission is denied: a server may be listening.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    let found = Group::from_name(name)?.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("group {name:?} does not exist")))
}
