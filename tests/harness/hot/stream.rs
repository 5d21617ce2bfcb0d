//! A connection with a scripted client.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use switchboard::transport::Listener;
use switchboard::transport::{Accepted, StreamListener};
use switchboard::{Address, Endpoint, async_trait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::hot::script::{Script, Shared};

/// A listener with one client.
pub(super) fn listener(script: Script, shared: Arc<Shared>, endpoint: Endpoint) -> Listener {
    Listener::Stream(Box::new(Once { endpoint, client: Some(Client::new(script, shared)) }))
}

struct Once {
    endpoint: Endpoint,
    client: Option<Client>,
}

#[async_trait]
impl StreamListener for Once {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let Some(client) = self.client.take() else { std::future::pending().await };
        let [peer, local] = [40_000, 9999].map(|port| Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        Ok(Some(Accepted::ready(peer, local, client)))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

/// The connection. A read returns the next batch after the previous one is answered.
struct Client {
    script: Script,
    shared: Arc<Shared>,
    /// Batches that may still be sent.
    left: usize,
    /// The bytes already written of the greeting or the current reply.
    written: usize,
    greeted: bool,
    answered: bool,
    /// The next batch is not yet available. As with a socket, the task must be woken first.
    awaited: bool,
    reader: Option<Waker>,
}

impl Client {
    fn new(script: Script, shared: Arc<Shared>) -> Self {
        let greeted = script.greeting.is_empty();
        Self { script, shared, left: 0, written: 0, greeted, answered: greeted, awaited: true, reader: None }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.answered {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if this.left == 0 {
            this.left = ready!(this.shared.poll_more(cx));
        }
        if std::mem::take(&mut this.awaited) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        buffer.put_slice(&this.script.batch);
        this.left -= 1;
        this.awaited = true;
        this.answered = this.script.reply.is_empty();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let expected = if this.greeted { &this.script.reply } else { &this.script.greeting };
        assert!(expected[this.written..].starts_with(bytes), "the server wrote something else");
        this.written += bytes.len();
        if this.written == expected.len() {
            (this.written, this.greeted, this.answered) = (0, true, true);
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
