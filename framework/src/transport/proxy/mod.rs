//! The PROXY protocol as a layer around a transport: what comes is what the transport brings, after a header that says who the
//! client is.
//!
//! The header is read in the handshake of [`Accepted::then`], so it runs in the connection's own task and under its deadline.
//! It may come in any pieces, and what follows it may be glued to it: no byte behind it is read here, so nothing stays in the
//! path of the data. Whose header is believed was decided at the door; this only reads.

pub mod header;
mod v1;
mod v2;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tower::{Layer, Service};

use crate::address::Endpoint;
use crate::connection::ProxyInfo;
use crate::error::BoxError;
use crate::transport::{Accepted, BoxIo, HandshakeContext, SharedSocket, StreamListener};
use crate::transport::{Bind, Listener};

use header::Progress;

/// The receiver's side of the PROXY protocol, version 1 or 2: the header is required. As a `tower::Layer` it goes around any
/// transport of connections; TLS, if there is any, goes around it.
///
/// A client whose header is broken or missing is closed, and so is one that a rule turns away when the header has said who it
/// is. [`Connection::proxy`](crate::Connection::proxy) has what the header said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Receiver;

impl<S> Layer<S> for Receiver {
    type Service = Proxied<S>;

    fn layer(&self, inner: S) -> Proxied<S> {
        Proxied { inner }
    }
}

/// A transport behind a proxy.
#[derive(Debug, Clone)]
pub struct Proxied<S> {
    inner: S,
}

impl<S> Service<Bind> for Proxied<S>
where
    S: Service<Bind, Response = Listener, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Listener;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Listener, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, bind: Bind) -> Self::Future {
        let bound = self.inner.call(bind);
        Box::pin(async move {
            match bound.await? {
                Listener::Stream(listener) => Ok(Listener::Stream(Box::new(AcceptingListener(listener)))),
                Listener::Datagram(_) => Err("it brings datagrams, and a PROXY header needs connections".into()),
            }
        })
    }
}

struct AcceptingListener(Box<dyn StreamListener>);

#[async_trait]
impl StreamListener for AcceptingListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        Ok(self.0.accept().await?.map(|accepted| accepted.then(set_proxy_info)))
    }

    fn endpoint(&self) -> Endpoint {
        self.0.endpoint()
    }

    fn share(&self) -> Option<SharedSocket> {
        self.0.share()
    }
}

async fn set_proxy_info(mut io: BoxIo, arrival: HandshakeContext) -> io::Result<BoxIo> {
    arrival.set_proxy_info(read(&mut io).await?)?;
    Ok(io)
}

/// Reads one header and not a byte more.
async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyInfo> {
    let mut buffer = Vec::new();
    loop {
        let least = match header::parse(&buffer) {
            Ok(Progress::Done { info, .. }) => return Ok(info),
            Ok(Progress::NeedMore { least }) => least,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        };
        buffer.reserve(least); // bounded by the longest header that is taken
        if (&mut *io).take(least as u64).read_buf(&mut buffer).await? == 0 {
            let sentence = match &*buffer {
                [] => "the PROXY header is missing: the connection ended before its first byte".to_owned(),
                some => format!("the PROXY header is cut off: the connection ended after {}", header::shown(some)),
            };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, sentence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_header_is_read_in_any_pieces_and_nothing_behind_it() {
        for header in header::tests::good() {
            let glued = [&*header, b"PROXY \r\nbehind"].concat();
            for piece in [1, 2, 3, 7, glued.len()] {
                let (mut ours, mut theirs) = tokio::io::duplex(piece);
                let sent = glued.clone();
                let sender = tokio::spawn(async move { ours.write_all(&sent).await });
                read(&mut theirs).await.unwrap_or_else(|error| panic!("{}: {error}", header.escape_ascii()));
                let mut rest = Vec::new();
                theirs.read_to_end(&mut rest).await.expect("the rest can be read");
                assert_eq!(rest, b"PROXY \r\nbehind", "{}", header.escape_ascii());
                sender.await.expect("no panic").expect("all is taken");
            }
        }
    }

    #[tokio::test]
    async fn an_early_end_is_told() {
        for (bytes, part) in [("", "missing"), ("PROXY TCP4 1.2.3\x1b", "ended after \"PROXY TCP4 1.2.3\\x1b\"")] {
            let error = read(&mut bytes.as_bytes()).await.expect_err(bytes).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
