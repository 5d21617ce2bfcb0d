//! A conversation in datagrams.

use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use switchboard::framing::Framing;
use tokio::io::AsyncRead;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::Instant;

use super::{ConnectError, Input, Result, because, complain, print};
use crate::cli::ConnectOptions;

/// A socket whose messages are datagrams.
pub(super) enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    async fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(message).await,
            Self::Unix(socket) => socket.send(message).await,
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Unix(socket) => socket.recv(buffer).await,
        }
    }
}

/// A conversation in datagrams: it ends when the input has ended and nothing more came for long enough.
pub(super) async fn exchange(
    socket: &Datagrams,
    mut input: Input<impl AsyncRead + Unpin>,
    options: &ConnectOptions,
    out: &mut impl Write,
) -> Result<u8> {
    let mut buffer = vec![0; 65_536];
    let (mut open, mut status) = (true, 0);
    let mut silent_at = Instant::now();
    loop {
        tokio::select! {
            line = input.next(), if open => match line? {
                None => {
                    open = false;
                    silent_at = Instant::now() + options.wait;
                }
                Some(line) => {
                    let sent = match options.framing.datagram_out(line) {
                        Ok(datagram) => socket.send(&datagram).await.map_err(|error| refused(&error, options)),
                        Err(error) => Err(ConnectError(error.to_string())),
                    };
                    if let Err(error) = sent {
                        complain(&format!("a line was not sent: {error}"));
                        status = 1;
                    }
                }
            },
            received = socket.receive(&mut buffer) => match received {
                Ok(count) => {
                    let reply = options.framing.datagram_in(Bytes::copy_from_slice(&buffer[..count]));
                    print(out, &reply.map_err(|error| ConnectError(error.to_string()))?)?;
                    silent_at = Instant::now() + options.wait;
                }
                Err(error) => return Err(refused(&error, options)),
            },
            () = tokio::time::sleep_until(silent_at), if !open => return Ok(status),
        }
    }
}

fn refused(error: &io::Error, options: &ConnectOptions) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError(format!("nobody listens on {}", options.address)),
        _ => because(&options.address, error),
    }
}

/// A path of our own, for the answers of a Unix datagram socket. It is gone when we are.
pub(super) struct OwnPath(pub(super) PathBuf);

impl OwnPath {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("switchboard-connect-{}.sock", std::process::id()));
        // One that an earlier process of this number left behind.
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
