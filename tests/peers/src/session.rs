//! The protocols over a tokio stream, for the frameworks that only provide the stream.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sent to a new connection.
pub(crate) const WELCOME: &str = "welcome!";

/// Maximum bytes of one read.
pub(crate) const BUFFER: usize = 8 * 1024;

/// The reply to a message; `None` for the message that closes the connection.
pub(crate) fn greet(message: &[u8]) -> Option<Vec<u8>> {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    let name = ends.iter().find_map(|end| message.strip_suffix(*end)).unwrap_or(message);
    (name != b"exit").then(|| [b"hello, ", name, b"!"].concat())
}

/// Sends back each read, until the end of input.
pub(crate) async fn raw<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        buffer.clear();
    }
    Ok(())
}

/// Replies with greetings, until the end of input or `exit`.
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
