//! A listener whose clients send a PROXY header first.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connection::ProxyInfo;
use crate::transport::accepted::{Accepted, HandshakeContext};
use crate::transport::box_io::BoxIo;
use crate::transport::listener::{HandshakeListener, StreamListener};
use crate::transport::proxy::header::{Progress, escape};
use crate::transport::proxy::parser::parse;

/// Requires a PROXY header from each client of another listener. With TLS, the header comes before the TLS handshake.
///
/// A connection is closed if its header is missing or invalid, or if the client that the header names is rejected.
/// [`Connection::proxy`](crate::Connection::proxy) returns the contents of the header.
///
/// # Errors
///
/// This build does not support the PROXY protocol.
pub fn require_header(listener: Box<dyn StreamListener>) -> io::Result<Box<dyn StreamListener>> {
    let endpoint = listener.endpoint();
    let add_handshake = |accepted: Accepted| accepted.then(receive_header);
    Ok(Box::new(HandshakeListener { inner: listener, endpoint, add_handshake }))
}

async fn receive_header(mut io: BoxIo, context: HandshakeContext) -> io::Result<BoxIo> {
    context.set_proxy_info(read(&mut io).await?)?;
    Ok(io)
}

/// Reads one header. It never reads past the end of the header, so the byte stream needs no buffer afterwards.
async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyInfo> {
    let mut buffer = Vec::new();
    loop {
        let least = match parse(&buffer) {
            Ok(Progress::Done { info, .. }) => return Ok(info),
            Ok(Progress::NeedMore { least }) => least,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        };
        buffer.reserve(least); // at most the size of the longest header
        if (&mut *io).take(least as u64).read_buf(&mut buffer).await? == 0 {
            let sentence = match &*buffer {
                [] => "the PROXY header is missing: the connection ended before its first byte".to_owned(),
                some => format!("the PROXY header is incomplete: the connection ended after {}", escape(some)),
            };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, sentence));
        }
    }
}

#[cfg(test)]
mod tests;
