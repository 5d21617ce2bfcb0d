//! The protocols over a tokio stream, for the frameworks that only provide the stream.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a new connection hears.
pub(crate) const WELCOME: &str = "welcome!";

/// Bytes that one read may bring.
pub(crate) const BUFFER: usize = 8 * 1024;

/// The answer to a message; `None` for the one that closes.
pub(crate) fn greet(message: &[u8]) -> Option<Vec<u8>> {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    let name = ends.iter().find_map(|end| message.strip_suffix(*end)).unwrap_or(message);
    (name != b"exit").then(|| [b"hello, ", name, b"!"].concat())
}

/// Sends back what was read, until the peer has finished.
pub(crate) async fn raw<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        buffer.clear();
    }
    Ok(())
}

/// Greets, until the peer has finished or says that it will.
pub(crate) async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.write_all(WELCOME.as_bytes()).await?;
    stream.flush().await?;
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while stream.read_buf(&mut buffer).await? > 0 {
        let Some(greeting) = greet(&buffer) else { break };
        stream.write_all(&greeting).await?;
        stream.flush().await?;
        buffer.clear();
    }
    stream.shutdown().await
}
