//! The connection of a peer: it reads all the time, while any step of the script runs.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use switchboard::framing::{AnyFraming, Framing};
use switchboard::script::MAX_DATA;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::Encoder;

use super::received::{Closed, MAX_UNREAD, Received};
use crate::dial::{DatagramSocket, OpenError, Server, Stream};
use crate::exit;

/// Maximum size of one read, and the largest datagram.
const READ_SIZE: usize = 64 * 1024;
/// Datagrams that are sent again to the next address of a host, if no server listens at the first one.
const KEPT_DATAGRAMS: usize = 16;

pub(super) struct Connection {
    socket: Socket,
    pub(super) received: Received,
    /// How the server has closed; nothing more arrives.
    pub(super) closed: Option<Closed>,
    /// The client does not read.
    pub(super) is_paused: bool,
    /// Received bytes at which the client stops reading.
    max_unread: usize,
    /// The server has sent something.
    has_received: bool,
    /// The first datagrams.
    unanswered: Vec<Bytes>,
    buffer: Vec<u8>,
}

enum Socket {
    Stream(Box<Stream>),
    /// The future of the next datagram is kept: unlike a poll of the socket, it is also woken by an error.
    Datagram(Arc<DatagramSocket>, Option<BoxFuture<'static, io::Result<Vec<u8>>>>),
}

impl Connection {
    /// `expected` is the number of bytes that the steps of the peer expect.
    pub(super) async fn open(server: &Server, framing: Option<&AnyFraming>, expected: usize) -> Result<Self, String> {
        let (socket, received) = if server.is_datagram() {
            (Socket::Datagram(Arc::new(server.open_datagram().await?), None), Received::Datagrams(VecDeque::new()))
        } else {
            let opened = server.open().await.map_err(|error: OpenError| error.to_string())?;
            let received = match framing {
                None => Received::Bytes(BytesMut::new()),
                Some(framing) => {
                    Received::Messages(VecDeque::new(), Box::new(framing.codec(MAX_DATA)), BytesMut::new())
                }
            };
            (Socket::Stream(Box::new(opened.stream)), received)
        };
        Ok(Self {
            socket,
            received,
            closed: None,
            is_paused: false,
            max_unread: MAX_UNREAD + expected,
            has_received: false,
            unanswered: Vec::new(),
            buffer: vec![0; READ_SIZE],
        })
    }

    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.socket, Socket::Datagram(..))
    }

    /// The bytes on the wire of the data of a step. The error is a sentence.
    pub(super) fn encode(&self, data: Vec<u8>, framing: Option<&AnyFraming>) -> Result<Bytes, String> {
        let Some(framing) = framing else { return Ok(data.into()) };
        if self.is_datagram() {
            return framing.datagram_out(data.into()).map_err(|error| error.to_string());
        }
        let mut buffer = BytesMut::new();
        framing.codec(MAX_DATA).encode(data.into(), &mut buffer).map_err(|error| error.to_string())?;
        Ok(buffer.freeze())
    }

    /// Reads everything that has arrived. The task is woken when more arrives.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, server: &Server, framing: Option<&AnyFraming>) {
        while !self.is_paused && self.closed.is_none() && self.received.len() < self.max_unread {
            let Poll::Ready(read) = self.poll_read(cx) else { return };
            let result = match read {
                Ok(count) => self.add(count, framing).map_err(Closed::Invalid),
                Err(error) => Err(match error.kind() {
                    io::ErrorKind::ConnectionReset => Closed::Reset,
                    io::ErrorKind::ConnectionRefused => Closed::Refused,
                    _ => Closed::Failed(failed(&error, server)),
                }),
            };
            if let Err(closed) = result {
                self.closed = Some(closed);
            }
        }
    }

    /// Reads into the buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Stream(stream) => {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                ready!(Pin::new(&mut **stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Socket::Datagram(socket, receiving) => {
                let next = receiving.get_or_insert_with(|| Box::pin(receive(socket.clone())));
                let datagram = ready!(next.as_mut().poll(cx));
                *receiving = None;
                let datagram = datagram?;
                self.buffer[..datagram.len()].copy_from_slice(&datagram);
                Poll::Ready(Ok(datagram.len()))
            }
        }
    }

    /// Takes so many bytes from the buffer. Without any, a stream has ended.
    fn add(&mut self, count: usize, framing: Option<&AnyFraming>) -> Result<(), String> {
        let bytes = &self.buffer[..count];
        let is_datagram = matches!(self.socket, Socket::Datagram(..));
        self.has_received |= is_datagram || count > 0;
        if !is_datagram && count == 0 {
            self.closed = Some(Closed::Ended);
        }
        let added = match framing {
            Some(framing) if is_datagram => framing
                .datagram_in(Bytes::copy_from_slice(bytes))
                .map_err(|error| error.to_string())
                .and_then(|message| self.received.add(&message, false)),
            _ => self.received.add(bytes, self.closed.is_some()),
        };
        added.map_err(|error| format!("what the server sent is not a message of the framing: {error}"))
    }

    /// Sends bytes of a stream. What the server does not receive because it has closed is lost, as with TCP.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        let Socket::Stream(stream) = &mut self.socket else { return Poll::Ready(Ok(())) };
        let mut stream = Pin::new(&mut **stream);
        while !bytes.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, bytes)) {
                Ok(count) => bytes.advance(count),
                Err(error) => return Poll::Ready(unless_closed(error)),
            }
        }
        Poll::Ready(ready!(stream.poll_flush(cx)).or_else(unless_closed))
    }

    /// Ends the output of a stream.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Socket::Stream(stream) = &mut self.socket else { return Poll::Ready(Ok(())) };
        Poll::Ready(ready!(Pin::new(&mut **stream).poll_shutdown(cx)).or_else(unless_closed))
    }

    /// Sends a datagram.
    pub(super) async fn send_datagram(&mut self, datagram: Bytes) -> io::Result<()> {
        let Socket::Datagram(socket, _) = &self.socket else { return Ok(()) };
        if !self.has_received && self.unanswered.len() < KEPT_DATAGRAMS {
            self.unanswered.push(datagram.clone());
        }
        match socket.send(&datagram).await {
            // The kernel reports here that an earlier datagram found no server.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.closed = Some(Closed::Refused);
                Ok(())
            }
            result => result.map(drop),
        }
    }

    /// If no server listens at this address of the host, sends the first datagrams to the next one. Returns whether
    /// there is one.
    pub(super) async fn try_next_address(&mut self) -> bool {
        let Socket::Datagram(socket, receiving) = &mut self.socket else { return false };
        *receiving = None;
        let Some(socket) = Arc::get_mut(socket).filter(|_| !self.has_received) else { return false };
        while socket.use_next_address().await {
            let mut is_sent = true;
            for datagram in &self.unanswered {
                is_sent &= socket.send(datagram).await.is_ok();
            }
            if is_sent {
                self.closed = None;
                return true;
            }
        }
        false
    }

    /// Resets the connection.
    pub(super) fn reset(self) -> io::Result<()> {
        match self.socket {
            Socket::Stream(stream) => crate::dial::reset_on_drop(&stream),
            Socket::Datagram(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

async fn receive(socket: Arc<DatagramSocket>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; READ_SIZE];
    let count = socket.receive(&mut buffer).await?;
    buffer.truncate(count);
    Ok(buffer)
}

/// The server has closed the connection, so the rest is lost.
fn unless_closed(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

/// The sentence of an I/O error.
pub(super) fn failed(error: &io::Error, server: &Server) -> String {
    match &server.tls {
        Some(tls) => tls.explain(error),
        None => format!("the connection failed: {}", exit::reason(error)),
    }
}
