//! A context without a server, to call the methods of a handler directly.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::address::Address;
use crate::close_reason::CloseReason;
use crate::connection::{Connection, ConnectionTable, Kind, ListenerInfo, StrikeRules};
use crate::drain::DrainSwitch;
use crate::error::Result;
use crate::handler::{Context, Frames, Reply};
use crate::metrics::ListenerMetrics;
use crate::outbox::Outbox;
use crate::push_queue::{PushedFrame, Pusher};
use crate::testing::wait::bounded;
use crate::transport::Route;

/// Frames of one context or one reply: the largest `limits.outbox`.
const MAX_FRAMES: usize = 65_536;

/// A context for direct calls of a handler's methods. It collects the frames that the handler pushes.
///
/// It holds 65,536 frames. Above that, `push` waits until [`pushed`](Self::pushed) has returned them, and `try_push`
/// fails.
///
/// Tasks of `cx.spawn` end when it is dropped.
///
/// ```
/// use switchboard::prelude::*;
/// use switchboard::testing;
///
/// struct Greeter;
///
/// impl Handler for Greeter {
///     type State = u64;
///
///     async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
///         cx.state += 1;
///         cx.pusher().push(format!("message {}", cx.state)).await?;
///         Ok(Reply::send([b"hello, ", &*message].concat()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let mut cx = testing::context(0);
/// let reply = Greeter.message(&mut cx, "you".into()).await?;
/// assert_eq!(testing::frames(reply).await?, ["hello, you"]);
/// assert_eq!(cx.pushed(), ["message 1"]);
/// assert_eq!(cx.state, 1);
/// # Ok(())
/// # }
/// ```
pub struct TestContext<S, Out = Bytes> {
    context: Context<S, Out>,
    pushed: Pushed<Out>,
}

enum Pushed<Out> {
    Stream(Arc<Outbox<Out>>),
    Datagram(mpsc::Receiver<PushedFrame<Out>>),
}

/// A context of a connection with this state.
pub fn context<S, Out>(state: S) -> TestContext<S, Out> {
    context_of(Kind::Stream, Address::Named("mem:testing".into()), state)
}

/// A context of a connection or of a datagram peer, with this peer address and state.
pub fn context_of<S, Out>(kind: Kind, peer: impl Into<Address>, state: S) -> TestContext<S, Out> {
    let listener = ListenerInfo {
        name: "testing".into(),
        drain: DrainSwitch::default().signal(),
        metrics: Arc::new(ListenerMetrics::default()),
        open: Arc::new(ConnectionTable::default()),
        debug_log: false,
        strike_rules: StrikeRules::default(),
        epoch: Instant::now(),
    };
    let (peer, local) = (peer.into(), Address::Named("mem:testing".into()));
    let connection = Connection::new(Arc::new(listener), kind, peer.clone(), local, None);
    let (pusher, pushed) = match kind {
        Kind::Stream => {
            let outbox = Arc::new(Outbox::new(MAX_FRAMES, connection.clone()));
            (Pusher::to_stream(connection, outbox.clone()), Pushed::Stream(outbox))
        }
        Kind::Datagram => {
            let (queue, frames) = mpsc::channel(MAX_FRAMES);
            (Pusher::to_peer(connection, Route::new(peer, None), queue), Pushed::Datagram(frames))
        }
    };
    TestContext { context: Context::new(state, pusher), pushed }
}

/// The frames of a reply, after those of a stream or of a later reply have become ready.
///
/// # Errors
///
/// The stream of the reply has returned an error.
///
/// # Panics
///
/// The stream does not end within 60 s or a day of paused time, or it has more than 65,536 frames.
pub async fn frames<Out>(mut reply: Reply<Out>) -> Result<Vec<Out>> {
    loop {
        reply.frames = match reply.frames {
            Frames::Later(_, future) => bounded(future).await.expect("the later reply becomes ready")?.frames,
            Frames::Switch(switch) => switch.frames,
            _ => break,
        };
    }
    match reply.frames {
        Frames::Later(..) | Frames::Switch(_) => unreachable!("replaced above"),
        Frames::None => Ok(Vec::new()),
        Frames::One(frame) => Ok(vec![frame]),
        Frames::Many(frames) => Ok(frames),
        Frames::Stream(frames) => {
            let frames = bounded(frames.take(MAX_FRAMES + 1).try_collect::<Vec<_>>()).await;
            let frames = frames.expect("the stream of the reply ends")?;
            assert!(frames.len() <= MAX_FRAMES, "the stream of the reply has more than {MAX_FRAMES} frames");
            Ok(frames)
        }
    }
}

impl<S, Out> TestContext<S, Out> {
    /// The frames pushed since the last call.
    pub fn pushed(&mut self) -> Vec<Out> {
        std::iter::from_fn(|| match &mut self.pushed {
            Pushed::Stream(outbox) => outbox.pop(),
            Pushed::Datagram(frames) => frames.try_recv().ok().map(|pushed| pushed.frame),
        })
        .collect()
    }
}

impl<S, Out> Deref for TestContext<S, Out> {
    type Target = Context<S, Out>;

    fn deref(&self) -> &Context<S, Out> {
        &self.context
    }
}

impl<S, Out> DerefMut for TestContext<S, Out> {
    fn deref_mut(&mut self) -> &mut Context<S, Out> {
        &mut self.context
    }
}

impl<S, Out> Drop for TestContext<S, Out> {
    fn drop(&mut self) {
        if let Pushed::Stream(outbox) = &self.pushed {
            outbox.close();
        }
        self.context.connection().finish(CloseReason::HandlerClosed);
    }
}

impl<S: fmt::Debug, Out> fmt::Debug for TestContext<S, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}
