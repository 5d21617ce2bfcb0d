//! What waits to be written to one connection, and the handle ([`Pusher`]) by which any task adds to it.
//!
//! The queue is bounded: a pusher waits, or learns that it is full. Replies of the handler do not pass through it, they
//! go straight into the connection's write buffer; what was pushed before a reply leaves before it.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use tokio::sync::{Semaphore, TryAcquireError, mpsc};

use crate::connection::{Connection, ControlSignal};
use crate::transport::Route;

/// Sends frames to one connection from anywhere: another connection's handler, a timer, a task.
///
/// Clones push to the same connection. Keeping one does not keep the connection open.
///
/// A datagram may be lost, and so may a frame pushed to a datagram peer. To one that has not shown that it receives, replies
/// and pushes together are at most three times what came from it; what is more is dropped: see
/// [`Connection::validate_address`].
///
/// ```
/// # use switchboard::prelude::*;
/// /// Greets, and says goodnight an hour later.
/// struct Clock;
/// impl Handler for Clock {
///     type State = ();
///     async fn open(&self, cx: &mut Context) -> Result<Reply> {
///         let pusher = cx.pusher();
///         cx.spawn(async move {
///             tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
///             let _ = pusher.push("goodnight").await; // an error only says that it has closed
///         })?;
///         Ok(Reply::send("hello"))
///     }
///     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
///         Ok(Reply::send(message))
///     }
/// }
/// ```
pub struct Pusher<Out = Bytes> {
    connection: Connection,
    way: Way<Out>,
}

enum Way<Out> {
    Stream(Arc<Outbox<Out>>),
    Datagram(Arc<Datagrams<Out>>),
}

/// The way to a datagram peer.
struct Datagrams<Out> {
    route: Route,
    queue: mpsc::Sender<Pushed<Out>>,
}

/// A frame on its way to a datagram peer.
pub(crate) struct Pushed<Out> {
    pub(crate) connection: Connection,
    pub(crate) route: Route,
    pub(crate) frame: Out,
}

/// DropReason a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// `limits.outbox` frames are waiting already.
    #[error("the outbox is full")]
    Full,
    /// The connection has closed.
    #[error("the connection has closed")]
    Closed,
}

impl<Out> Pusher<Out> {
    pub(crate) fn to_stream(connection: Connection, outbox: Arc<Outbox<Out>>) -> Self {
        Self { connection, way: Way::Stream(outbox) }
    }

    pub(crate) fn to_datagrams(connection: Connection, route: Route, queue: mpsc::Sender<Pushed<Out>>) -> Self {
        Self { connection, way: Way::Datagram(Arc::new(Datagrams { route, queue })) }
    }

    /// The connection it pushes to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Queues a frame, waiting while the outbox is full. Fails only when the connection has closed.
    ///
    /// Cancel safe: dropped while it waits, nothing was queued.
    pub async fn push(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        match &self.way {
            Way::Stream(outbox) => {
                let permit = outbox.room.acquire().await.map_err(|_| PushError::Closed)?;
                permit.forget();
                outbox.add(frame.into(), &self.connection);
                Ok(())
            }
            Way::Datagram(_) if self.connection.close_reason().is_some() => Err(PushError::Closed),
            Way::Datagram(way) => {
                let pushed = self.pushed(&way.route, frame);
                way.queue.send(pushed).await.map_err(|_| PushError::Closed)
            }
        }
    }

    /// Queues a frame at once or says why not.
    pub fn try_push(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        match &self.way {
            Way::Stream(outbox) => {
                let permit = outbox.room.try_acquire().map_err(|error| match error {
                    TryAcquireError::NoPermits => PushError::Full,
                    TryAcquireError::Closed => PushError::Closed,
                })?;
                permit.forget();
                outbox.add(frame.into(), &self.connection);
                Ok(())
            }
            Way::Datagram(_) if self.connection.close_reason().is_some() => Err(PushError::Closed),
            Way::Datagram(way) => way.queue.try_send(self.pushed(&way.route, frame)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => PushError::Full,
                mpsc::error::TrySendError::Closed(_) => PushError::Closed,
            }),
        }
    }

    fn pushed(&self, route: &Route, frame: impl Into<Out>) -> Pushed<Out> {
        Pushed { connection: self.connection.clone(), route: route.clone(), frame: frame.into() }
    }

    /// Queues a frame, and closes the connection with reason `outbox_full` if there is no room.
    ///
    /// For broadcasts: a reader that does not keep up is let go, and nobody else waits for it. A datagram peer that does
    /// not keep up only misses the frame.
    pub fn push_or_close(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        let result = self.try_push(frame);
        if matches!((&result, &self.way), (Err(PushError::Full), Way::Stream(_))) {
            self.connection.signal(ControlSignal::OutboxFull);
        }
        result
    }
}

impl<Out> Clone for Pusher<Out> {
    fn clone(&self) -> Self {
        let way = match &self.way {
            Way::Stream(outbox) => Way::Stream(outbox.clone()),
            Way::Datagram(way) => Way::Datagram(way.clone()),
        };
        Self { connection: self.connection.clone(), way }
    }
}

impl<Out> fmt::Debug for Pusher<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pusher").field(&self.connection).finish()
    }
}

/// The bounded queue of one connection. Empty, it holds no memory of its own.
pub(crate) struct Outbox<Out> {
    queue: Mutex<VecDeque<Out>>,
    waiting: AtomicUsize,
    room: Semaphore,
}

impl<Out> Outbox<Out> {
    pub(crate) fn new(frames: usize) -> Self {
        let room = Semaphore::new(frames.clamp(1, Semaphore::MAX_PERMITS));
        Self { queue: Mutex::new(VecDeque::new()), waiting: AtomicUsize::new(0), room }
    }

    fn add(&self, frame: Out, connection: &Connection) {
        self.queue.lock().push_back(frame);
        self.waiting.fetch_add(1, SeqCst);
        connection.wake();
    }

    /// How many frames wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// The oldest frame; its place is free again.
    pub(crate) fn take(&self) -> Option<Out> {
        if self.waiting() == 0 {
            return None;
        }
        let frame = self.queue.lock().pop_front()?;
        self.waiting.fetch_sub(1, SeqCst);
        self.room.add_permits(1);
        Some(frame)
    }

    /// Nothing more is taken; pushers that wait learn that it has closed.
    pub(crate) fn close(&self) {
        self.room.close();
    }
}
