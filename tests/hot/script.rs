//! The script of a client, the batches it may send, and the transport that provides it.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use switchboard::transport::{Bind, Listener, SchemeInfo, Transport};
use switchboard::{Kind, async_trait};

use crate::{datagram, stream};

/// The bytes that a scripted client sends and expects.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// The greeting of the server.
    pub(super) greeting: Vec<u8>,
    /// The bytes of one read.
    pub(super) batch: Vec<u8>,
    /// The expected reply to a batch.
    pub(super) reply: Vec<u8>,
    /// The number of messages per batch.
    pub(super) depth: usize,
}

/// The state shared by the client and its runner.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Grant>);

#[derive(Debug, Default)]
struct Grant {
    batches: usize,
    is_done: bool,
    client: Option<Waker>,
    runner: Option<Waker>,
}

impl Shared {
    /// Lets the client send this many batches.
    pub(super) fn grant(&self, batches: usize) {
        let mut grant = self.0.lock().unwrap();
        (grant.batches, grant.is_done) = (batches, false);
        if let Some(client) = grant.client.take() {
            client.wake();
        }
    }

    /// Ready when all granted batches are answered.
    pub(super) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut grant = self.0.lock().unwrap();
        if grant.is_done {
            return Poll::Ready(());
        }
        grant.runner = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Called by the client when it has sent all batches; ready when more are granted.
    pub(super) fn poll_more(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut grant = self.0.lock().unwrap();
        if grant.batches > 0 {
            return Poll::Ready(std::mem::take(&mut grant.batches));
        }
        grant.client = Some(cx.waker().clone());
        grant.is_done = true;
        if let Some(runner) = grant.runner.take() {
            runner.wake();
        }
        Poll::Pending
    }
}

/// The `script:` transport with one client.
pub(super) struct Scripted {
    pub(super) kind: Kind,
    pub(super) script: Script,
    pub(super) shared: Arc<Shared>,
    /// Whether the client connects again for each batch.
    pub(super) reconnects: bool,
}

#[async_trait]
impl Transport for Scripted {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("script", "one scripted client or peer", self.kind)]
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        let (script, shared) = (self.script.clone(), self.shared.clone());
        Ok(match self.kind {
            Kind::Stream => stream::listener(script, shared, self.reconnects, bind.endpoint),
            _ => datagram::listener(script, shared, bind.endpoint),
        })
    }
}
