//! Unix datagram sockets. A reply goes only to a socket of the user who sent the request: the sender chooses the path
//! that it binds, and the path can name a socket of another user when the reply is sent.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use nix::getsockopt_impl;
use nix::libc::{self, O_NOFOLLOW, O_PATH};
use nix::sys::socket::{
    ControlMessageOwned, GetSockOpt, MsgFlags, SockaddrLike, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use nix::unistd::Uid;
use parking_lot::Mutex;
use socket2::{SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::{Sleep, sleep};

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::transport::listener::{Bind, DatagramSocket, Listener, Route, SchemeInfo, Transport, unsupported_endpoint};
use crate::transport::socket::SharedSocket;
use crate::transport::socket_path::{SocketPath, without_proc};
use crate::transport::unix_bind::bind_or_adopt;
use crate::transport::unread_replies::{Decision, SendBuffer, UnreadReplies};

/// The user id that the kernel reports for users and senders that it cannot name here (user_namespaces(7)).
const OVERFLOW_USER: u32 = 65_534;
/// Bytes of the path of a Unix socket. A path of this length has no terminator (unix(7)).
const MAX_PATH: usize = 108;
/// The requested size of the send buffer. `net.core.wmem_max` limits it, and the kernel doubles it (socket(7)).
const SEND_BUFFER: usize = 1024 * 1024;
/// Pause before a reply that waits for other clients is tried again. The kernel reports no event when they read.
const SEND_PAUSE: Duration = Duration::from_millis(1);

/// Reads `sk_meminfo`: bytes of received datagrams, their limit, bytes of unread sent datagrams, their limit.
#[derive(Clone, Copy)]
struct SocketMemory;
/// The value in `asm-generic/socket.h`. libc has no constant for it.
const SO_MEMINFO: libc::c_int = 55;
getsockopt_impl!(SocketMemory, libc::SOL_SOCKET, SO_MEMINFO, [u32; 4], sockopt::GetStruct<[u32; 4]>);

/// `unixgram:/path`. Uses the socket options `mode` and `group`. A client that has not bound its socket can send, but
/// receives no reply.
///
/// A reply is sent if the file at the path of the client is a socket that belongs to the user of the client, or if the
/// user is root. A client with an abstract name (unix(7)) is answered only if its user is root or the user of this
/// process: an abstract name has no owner, and in another network namespace another user can bind it. A datagram from a
/// relative path is dropped. The transport needs `/proc` (proc(5)).
///
/// Replies that a client has not read yet count against the send buffer of this socket. If more than a quarter of the
/// buffer is unread, clients that do not read get no further replies. A client gets replies again after it has read,
/// normally within the time for which it did not read. Hundreds of clients that never read can still fill the
/// buffer; replies are then dropped. Use `mode` and `group` to restrict access to trusted clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unixgram;

#[async_trait]
impl Transport for Unixgram {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("unixgram", "Unix datagram socket: unixgram:/path", Kind::Datagram)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Unixgram(path) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, socket_path) = bind_or_adopt(path, Type::DGRAM, &options, inherited)?;
        let local = Some(Arc::from(path.as_path()));
        listen_datagram(socket, socket_path, endpoint, local)
    }
}

pub(super) fn listen_datagram(
    socket: Socket,
    socket_path: Option<Arc<SocketPath>>,
    endpoint: Endpoint,
    path: Option<Arc<Path>>,
) -> io::Result<Listener> {
    fs::metadata("/proc/self/fd").map_err(without_proc)?; // for the replies
    setsockopt(&socket, sockopt::PassCred, &true)?; // an inherited socket may not have it
    if socket.send_buffer_size()? < 2 * SEND_BUFFER {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    let socket = UnixDatagram::from_std(socket.into())?;
    Ok(Listener::Datagram(Box::new(UnixDatagramSocket {
        socket_path,
        socket,
        endpoint,
        local: Address::Unix(path),
        own_user: Uid::effective().as_raw(),
        scratch: Mutex::default(),
        unread_replies: Mutex::default(),
        send_pause: Mutex::default(),
    })))
}

struct UnixDatagramSocket {
    /// Declared before the socket, so that the path is removed before another process can bind it.
    socket_path: Option<Arc<SocketPath>>,
    socket: UnixDatagram,
    endpoint: Endpoint,
    local: Address,
    own_user: u32,
    /// The receive buffer, as large as the buffer of the driver.
    scratch: Mutex<Vec<u8>>,
    unread_replies: Mutex<UnreadReplies>,
    send_pause: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl UnixDatagramSocket {
    /// Receives a datagram, the address of its sender and the user who sent it (`SCM_CREDENTIALS`, unix(7)).
    fn receive(&self, scratch: &mut Vec<u8>, buffer: &mut BytesMut) -> io::Result<Route> {
        let room = buffer.capacity() - buffer.len();
        scratch.resize(scratch.len().max(room), 0);
        // Room for nothing else: the kernel closes passed file descriptors that do not fit.
        let mut control = nix::cmsg_space!(UnixCredentials);
        let (bytes, route) = {
            let mut slices = [IoSliceMut::new(&mut scratch[..room])];
            let fd = self.socket.as_raw_fd();
            let message = recvmsg::<UnixAddr>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
            let mut route = Route::new(peer_address(message.address.as_ref()), None);
            // Fails if the sender has passed file descriptors.
            route.user = message.cmsgs().into_iter().flatten().find_map(|control| match control {
                ControlMessageOwned::ScmCredentials(sender) => user(&sender),
                _ => None,
            });
            (message.bytes, route)
        };
        buffer.extend_from_slice(&scratch[..bytes]);
        Ok(route)
    }

    /// `None` if the kernel does not report it (Linux before 4.12).
    fn send_buffer(&self) -> Option<SendBuffer> {
        let [_, _, unread, size] = SocketMemory.get(&self.socket).ok()?;
        Some(SendBuffer { unread: unread as usize, size: size as usize })
    }

    /// Sends to the socket file that was checked, even if the path is replaced meanwhile.
    fn send(&self, payload: &[u8], path: &Path, user: Option<u32>) -> io::Result<()> {
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        let Some(user) = user else { return refused("the user of the sender is unknown".into()) };
        let is_root = Uid::from_raw(user).is_root();
        let socket = SockRef::from(&self.socket);
        // Not through tokio: one receiver with a full queue would clear the write readiness for all receivers.
        let sent = if path.as_os_str().as_bytes().starts_with(&[0]) {
            if !is_root && user != self.own_user {
                return refused(format!("user {user} sent from an abstract name; only a path shows its owner"));
            }
            socket.send_to(payload, &SockAddr::unix(path)?)
        } else {
            let file = OpenOptions::new().read(true).custom_flags(O_PATH | O_NOFOLLOW).open(path)?;
            let metadata = file.metadata()?;
            if !metadata.file_type().is_socket() {
                return refused("the path of the sender is not a socket now".into());
            }
            if !is_root && user != metadata.uid() {
                let owner = metadata.uid();
                return refused(format!("user {user} sent from a path whose socket belongs to user {owner}"));
            }
            socket.send_to(payload, &SockAddr::unix(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))?)
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::other("the queue of the receiver is full"))
            }
            Err(error) => Err(error),
        }
    }
}

impl DatagramSocket for UnixDatagramSocket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        loop {
            match self.socket.try_io(Interest::READABLE, || self.receive(&mut self.scratch.lock(), buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_recv_ready(cx))?,
                received => return Poll::Ready(received),
            }
        }
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        match &route.peer {
            Address::Unix(Some(path)) => {
                let mut unread_replies = self.unread_replies.lock();
                match unread_replies.decide(path, payload.len(), || self.send_buffer()) {
                    Decision::Send => {}
                    Decision::Wait => return Err(io::ErrorKind::WouldBlock.into()),
                    Decision::Drop => return Err(io::Error::other("the client does not read its replies")),
                }
                self.send(payload, path, route.user)?;
                unread_replies.sent(path, payload.len());
                Ok(())
            }
            _ => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the sender has not bound its socket")),
        }
    }

    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pause = self.send_pause.lock();
        ready!(pause.get_or_insert_with(|| Box::pin(sleep(SEND_PAUSE))).as_mut().poll(cx));
        *pause = None;
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn local(&self) -> Address {
        self.local.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        Some(SharedSocket::of(&self.socket)?.with_path(self.socket_path.clone()))
    }
}

/// The address of a peer. An abstract name (unix(7)) becomes a path that begins with NUL.
fn peer_address(peer: Option<&UnixAddr>) -> Address {
    // An unbound sender has an address of length 0.
    let path = peer.filter(|peer| peer.len() > 0).and_then(|peer| match (peer.path(), peer.as_abstract()) {
        (Some(path), _) => {
            let path = path.as_os_str().as_bytes();
            Some(Arc::from(Path::new(OsStr::from_bytes(&path[..path.len().min(MAX_PATH)]))))
        }
        (None, Some(name)) => Some(Arc::from(Path::new(OsStr::from_bytes(&[b"\0", name].concat())))),
        (None, None) => None,
    });
    Address::Unix(path)
}

/// The user who sent a datagram. `None` if the kernel did not record the sender, because the datagram was sent before
/// this process requested it, or cannot name the sender in the namespaces of this process.
fn user(sender: &UnixCredentials) -> Option<u32> {
    Some(sender.uid()).filter(|user| sender.pid() != 0 || *user != OVERFLOW_USER)
}
