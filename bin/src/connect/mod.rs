//! `switchboard connect`: a client that sends each line of standard input as a message and prints the replies.

mod datagram;
mod io;
mod stream;
mod terminal;

use std::io::{Error, Write, stdout};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

use switchboard::Endpoint;
use tokio::io::{AsyncRead, BufReader, Stdin, stdin};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host};

use crate::connect::datagram::DatagramSocket;
pub(crate) use crate::connect::io::Target;
use crate::connect::io::{Input, Result, failed};
use crate::connect::terminal::Terminal;

/// Runs until the input has ended and the server has closed or was silent for `--wait`. The exit status is 1 if a line
/// could not be sent.
pub(crate) fn connect(target: &Target) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("cannot start the runtime", &error))?;
    let status = match Terminal::open() {
        Some((lines, mut terminal)) => runtime.block_on(run(target, Input::<Stdin>::Terminal(lines), &mut terminal)),
        None => runtime.block_on(run(target, Input::Piped(BufReader::new(stdin()), Vec::new()), &mut stdout())),
    };
    // Does not wait for a blocking read of standard input.
    runtime.shutdown_background();
    status
}

/// Connects to a path or, if it begins with NUL, to an abstract name.
fn connect_unixgram(socket: UnixDatagram, path: &Path) -> std::io::Result<UnixDatagram> {
    let address = match path.as_os_str().as_bytes() {
        [0, name @ ..] => UnixAddr::from_abstract_name(name)?,
        _ => UnixAddr::from_pathname(path)?,
    };
    let socket = socket.into_std()?;
    socket.connect_addr(&address)?;
    UnixDatagram::from_std(socket)
}

async fn run(target: &Target, input: Input<impl AsyncRead + Unpin>, out: &mut impl Write) -> Result<u8> {
    let address = &target.address;
    let not_connected = |error: Error| failed(format_args!("cannot connect to {address}"), &error);
    let reason = match address {
        Endpoint::Tcp(at) => {
            let stream = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(not_connected)?;
            // Sends each line immediately instead of waiting for the next one (Nagle's algorithm).
            let _ = stream.set_nodelay(true);
            return stream::run(stream, input, target, out).await;
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(not_connected)?;
            return stream::run(stream, input, target, out).await;
        }
        Endpoint::Udp(at) => {
            let peer = lookup_host((at.host.as_str(), at.port)).await.map_err(not_connected)?.next();
            let peer = peer.ok_or_else(|| not_connected(Error::other("the host has no address")))?;
            let local: SocketAddr = if peer.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(local).await.map_err(not_connected)?;
            socket.connect(peer).await.map_err(not_connected)?;
            return datagram::run(&DatagramSocket::Udp(socket), input, target, out).await;
        }
        Endpoint::Unixgram(path) => {
            // The server needs a path to reply to. It is removed at the end.
            let socket = tempfile::Builder::new().prefix("switchboard-connect-").make(|path| UnixDatagram::bind(path));
            let (socket, _path) = socket.map_err(|error| failed("cannot create a socket", &error))?.into_parts();
            let socket = connect_unixgram(socket, path).map_err(not_connected)?;
            return datagram::run(&DatagramSocket::Unix(socket), input, target, out).await;
        }
        Endpoint::Tls(at) => format!("TLS is not supported; use openssl s_client -connect {at}"),
        Endpoint::Systemd(name) => {
            format!("{name:?} is only known to its server; use the address of the socket (systemctl status shows it)")
        }
        Endpoint::Memory(_) => "mem:// works only inside one process; use tcp, udp, unix or unixgram".to_owned(),
        other => format!("unsupported transport {:?}; use tcp, udp, unix or unixgram", other.scheme()),
    };
    Err(format!("cannot connect to {address}: {reason}"))
}
