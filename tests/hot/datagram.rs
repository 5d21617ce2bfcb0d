//! A datagram socket with one scripted peer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use switchboard::bytes::BytesMut;
use switchboard::transport::Listener;
use switchboard::transport::{DatagramSocket, Route};
use switchboard::{Address, Endpoint};

use crate::script::{Script, Shared};

/// A socket with one peer.
pub(super) fn listener(script: Script, shared: Arc<Shared>, endpoint: Endpoint) -> Listener {
    Listener::Datagram(Box::new(Socket {
        endpoint,
        unsent: AtomicUsize::new(script.depth),
        script,
        shared,
        left: AtomicUsize::new(0),
        unanswered: AtomicUsize::new(0),
        awaited: AtomicBool::new(true),
    }))
}

/// Only one thread uses the socket, so relaxed loads and stores are enough and cheap.
struct Socket {
    endpoint: Endpoint,
    script: Script,
    shared: Arc<Shared>,
    /// Batches that may still be sent.
    left: AtomicUsize,
    /// Datagrams of this batch that are not yet sent, and those that are sent but not answered.
    unsent: AtomicUsize,
    unanswered: AtomicUsize,
    /// The next batch is available only after the task is woken.
    awaited: AtomicBool,
}

impl DatagramSocket for Socket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let mut unsent = self.unsent.load(Relaxed);
        if unsent == 0 {
            assert_eq!(self.unanswered.load(Relaxed), 0, "a ready reply is sent immediately");
            unsent = self.script.depth;
            self.unsent.store(unsent, Relaxed);
            self.awaited.store(true, Relaxed);
        }
        let mut left = self.left.load(Relaxed);
        if left == 0 {
            left = ready!(self.shared.poll_more(cx));
            self.left.store(left, Relaxed);
        }
        if self.awaited.load(Relaxed) {
            self.awaited.store(false, Relaxed);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        buffer.extend_from_slice(&self.script.batch);
        self.unsent.store(unsent - 1, Relaxed);
        self.unanswered.store(self.unanswered.load(Relaxed) + 1, Relaxed);
        if unsent == 1 {
            self.left.store(left - 1, Relaxed);
        }
        Poll::Ready(Ok(Route::new(inet(40_000), None)))
    }

    fn try_send(&self, payload: &[u8], _: &Route) -> io::Result<()> {
        assert!(payload == self.script.reply, "the server sent something else");
        self.unanswered.store(self.unanswered.load(Relaxed) - 1, Relaxed);
        Ok(())
    }

    fn poll_send_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn local(&self) -> Address {
        inet(9999)
    }
}

fn inet(port: u16) -> Address {
    Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
