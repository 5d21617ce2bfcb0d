//! What a scripted client says and expects, how it is told to go on, and the transport that brings it.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use switchboard::transport::{Bind, Listener, SchemeInfo, Transport};
use switchboard::{Kind, async_trait};

use crate::hot::{datagram, stream};

/// The words of a scripted client.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// What the server says first.
    pub(super) greeting: Vec<u8>,
    /// What one read brings.
    pub(super) batch: Vec<u8>,
    /// What is written for it.
    pub(super) reply: Vec<u8>,
    /// How many messages make a batch.
    pub(super) depth: usize,
}

/// What the client and whoever runs it say to each other.
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
    /// The client may go on for so many batches.
    pub(super) fn grant(&self, batches: usize) {
        let mut grant = self.0.lock().unwrap();
        (grant.batches, grant.is_done) = (batches, false);
        if let Some(client) = grant.client.take() {
            client.wake();
        }
    }

    /// Ready when all that was granted is answered.
    pub(super) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut grant = self.0.lock().unwrap();
        if grant.is_done {
            return Poll::Ready(());
        }
        grant.runner = Some(cx.waker().clone());
        Poll::Pending
    }

    /// For the client, when it has nothing left to say: how many batches more, once there are some.
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

/// `script:`, one client.
pub(super) struct Scripted {
    pub(super) kind: Kind,
    pub(super) script: Script,
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Transport for Scripted {
    fn schemes(&self) -> Vec<SchemeInfo> {
        match self.kind {
            Kind::Stream => vec![SchemeInfo::new("script", "one scripted client", Kind::Stream)],
            Kind::Datagram => vec![SchemeInfo::new("script", "one scripted peer", Kind::Datagram)],
        }
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        let listener = match self.kind {
            Kind::Stream => stream::listener,
            Kind::Datagram => datagram::listener,
        };
        Ok(listener(self.script.clone(), self.shared.clone(), bind.endpoint))
    }
}
