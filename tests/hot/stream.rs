//! A connection with a scripted client.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use switchboard::transport::Listener;
use switchboard::transport::{Accepted, StreamListener};
use switchboard::{Address, Endpoint, async_trait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot::{self, Receiver, Sender};

use crate::script::{Script, Shared};

/// A listener with one client, which connects once or for each batch.
pub(super) fn listener(script: Script, shared: Arc<Shared>, reconnects: bool, endpoint: Endpoint) -> Listener {
    Listener::Stream(Box::new(ScriptedListener {
        endpoint,
        script,
        shared,
        reconnects,
        left: 0,
        open: None,
        accepted: 0,
    }))
}

struct ScriptedListener {
    endpoint: Endpoint,
    script: Script,
    shared: Arc<Shared>,
    reconnects: bool,
    /// Batches for which the client has yet to connect.
    left: usize,
    /// Ends with the last connection.
    open: Option<Receiver<()>>,
    /// Connections so far.
    accepted: u32,
}

#[async_trait]
impl StreamListener for ScriptedListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let mut client = Client::new(self.script.clone(), self.shared.clone());
        if self.reconnects {
            if let Some(open) = &mut self.open {
                let _ = open.await; // the client has been dropped
            }
            self.open = None;
            if self.left == 0 {
                self.left = poll_fn(|cx| self.shared.poll_more(cx)).await;
            }
            self.left -= 1;
            let (guard, open) = oneshot::channel();
            (client.left, client.only_batch, self.open) = (1, Some(guard), Some(open));
        } else if self.accepted > 0 {
            return std::future::pending().await;
        }
        self.accepted += 1;
        // Each client has its own address: whether the filter of bans rejects an address depends on its random keys.
        let peer = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + self.accepted);
        let [peer, local] = [(peer, 40_000), (Ipv4Addr::LOCALHOST, 9999)].map(|it| Address::Inet(SocketAddr::from(it)));
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
    /// Set if the client disconnects after one batch. Dropped with the connection.
    only_batch: Option<Sender<()>>,
}

impl Client {
    fn new(script: Script, shared: Arc<Shared>) -> Self {
        let greeted = script.greeting.is_empty();
        let (left, written, reader, only_batch) = Default::default();
        Self { script, shared, left, written, greeted, answered: greeted, awaited: true, reader, only_batch }
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
            if this.only_batch.is_some() {
                return Poll::Ready(Ok(()));
            }
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
