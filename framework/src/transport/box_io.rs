//! Type-erased byte streams.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A type-erased byte stream. A [`TcpStream`] is stored in place: a message then touches one cache line less, and calls
/// no function through a pointer. Every other stream is boxed.
pub struct BoxIo(Kind);

enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
}

impl BoxIo {
    /// Erases the type of a byte stream.
    pub fn new(io: impl Io) -> Self {
        let mut io = Some(io);
        match (&mut io as &mut dyn Any).downcast_mut::<Option<TcpStream>>().and_then(Option::take) {
            Some(tcp) => Self(Kind::Tcp(tcp)),
            None => Self(Kind::Other(Box::new(io.expect("only a TCP stream is taken")))),
        }
    }
}

macro_rules! io {
    ($self:ident, $io:ident => $call:expr) => {
        match &mut $self.0 {
            Kind::Tcp(io) => {
                let $io = Pin::new(io);
                $call
            }
            Kind::Other(io) => {
                let $io = Pin::new(io);
                $call
            }
        }
    };
}

impl AsyncRead for BoxIo {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        io!(self, io => io.poll_read(cx, buffer))
    }
}

impl AsyncWrite for BoxIo {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        io!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        io!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Tcp(io) => io.is_write_vectored(),
            Kind::Other(io) => io.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io!(self, io => io.poll_shutdown(cx))
    }
}

impl fmt::Debug for BoxIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxIo").finish_non_exhaustive()
    }
}
