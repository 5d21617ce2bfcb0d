//! The bounded queue of frames pushed to one connection, and the handle ([`Pusher`]) that adds to it.
//!
//! Replies of the handler bypass the queue. Frames pushed before a reply are written before it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::connection::{Connection, ControlSignal};
use crate::transport::Route;

/// Pushes frames to one connection from any task: a timer, or the handler of another connection.
///
/// Clones push to the same connection. A pusher does not keep the connection open.
///
/// Frames pushed to a datagram peer may be lost, like any datagram. They count towards the amplification limit of a
/// peer whose address is not validated. A frame above it is dropped when its turn comes: only then is its encoded size
/// known, and what the frames before it have left. See [`Connection::validate_address`].
///
/// ```
/// # use switchboard::prelude::*;
/// /// Sends a greeting, and a second one an hour later.
/// struct Clock;
/// impl Handler for Clock {
///     type State = ();
///     async fn open(&self, cx: &mut Context) -> Result<Reply> {
///         let pusher = cx.pusher();
///         cx.spawn(async move {
///             tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
///             let _ = pusher.push("goodnight").await; // fails only if the connection has closed
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
    target: Target<Out>,
}

enum Target<Out> {
    Stream(Arc<Outbox<Out>>),
    Datagram(Arc<(Route, mpsc::Sender<PushedFrame<Out>>)>),
}

pub(crate) struct PushedFrame<Out> {
    pub(crate) connection: Connection,
    pub(crate) route: Route,
    pub(crate) frame: Out,
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// `limits.outbox` frames are queued already.
    #[error("the outbox is full")]
    Full,
    /// The connection has closed.
    #[error("the connection has closed")]
    Closed,
}

impl<Out> Pusher<Out> {
    pub(crate) fn to_stream(connection: Connection, outbox: Arc<Outbox<Out>>) -> Self {
        Self { connection, target: Target::Stream(outbox) }
    }

    pub(crate) fn to_peer(connection: Connection, route: Route, queue: mpsc::Sender<PushedFrame<Out>>) -> Self {
        Self { connection, target: Target::Datagram(Arc::new((route, queue))) }
    }

    /// The connection that frames are pushed to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Queues a frame. Waits while the outbox is full, and fails only if the connection has closed.
    ///
    /// Cancel safe: if the future is dropped while it waits, the frame is not queued.
    pub async fn push(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        match &self.target {
            Target::Stream(outbox) => {
                outbox.permits.acquire().await.map_err(|_| PushError::Closed)?.forget();
                outbox.push(frame.into(), &self.connection);
                Ok(())
            }
            Target::Datagram(_) if self.connection.close_reason().is_some() => Err(PushError::Closed),
            Target::Datagram(target) => {
                let (route, queue) = &**target;
                queue.send(self.pushed_frame(route, frame)).await.map_err(|_| PushError::Closed)
            }
        }
    }

    /// Queues a frame, or fails immediately.
    pub fn try_push(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        match &self.target {
            Target::Stream(outbox) => {
                let permit = outbox.permits.try_acquire().map_err(|error| match error {
                    TryAcquireError::NoPermits => PushError::Full,
                    TryAcquireError::Closed => PushError::Closed,
                })?;
                permit.forget();
                outbox.push(frame.into(), &self.connection);
                Ok(())
            }
            Target::Datagram(_) if self.connection.close_reason().is_some() => Err(PushError::Closed),
            Target::Datagram(target) => {
                let (route, queue) = &**target;
                queue.try_send(self.pushed_frame(route, frame)).map_err(|error| match error {
                    TrySendError::Full(_) => PushError::Full,
                    TrySendError::Closed(_) => PushError::Closed,
                })
            }
        }
    }

    fn pushed_frame(&self, route: &Route, frame: impl Into<Out>) -> PushedFrame<Out> {
        PushedFrame { connection: self.connection.clone(), route: route.clone(), frame: frame.into() }
    }

    /// Queues a frame, or closes the connection with reason `outbox_full` if the outbox is full.
    ///
    /// For broadcasts: a slow reader is disconnected and delays no other. A datagram peer only misses the frame.
    pub fn push_or_close(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        let result = self.try_push(frame);
        if matches!((&result, &self.target), (Err(PushError::Full), Target::Stream(_))) {
            self.connection.signal(ControlSignal::OutboxFull);
        }
        result
    }
}

impl<Out> Clone for Pusher<Out> {
    fn clone(&self) -> Self {
        let target = match &self.target {
            Target::Stream(outbox) => Target::Stream(outbox.clone()),
            Target::Datagram(target) => Target::Datagram(target.clone()),
        };
        Self { connection: self.connection.clone(), target }
    }
}

impl<Out> fmt::Debug for Pusher<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pusher").field(&self.connection).finish()
    }
}

/// The queue of one stream connection. It allocates nothing while it is empty.
pub(crate) struct Outbox<Out> {
    queue: Mutex<VecDeque<Out>>,
    len: AtomicUsize,
    permits: Semaphore,
}

impl<Out> Outbox<Out> {
    pub(crate) fn new(limit: usize) -> Self {
        let permits = Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS));
        Self { queue: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0), permits }
    }

    fn push(&self, frame: Out, connection: &Connection) {
        self.queue.lock().push_back(frame);
        self.len.fetch_add(1, SeqCst);
        connection.wake();
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(SeqCst)
    }

    pub(crate) fn pop(&self) -> Option<Out> {
        if self.len() == 0 {
            return None;
        }
        let frame = self.queue.lock().pop_front()?;
        self.len.fetch_sub(1, SeqCst);
        self.permits.add_permits(1);
        Some(frame)
    }

    pub(crate) fn close(&self) {
        self.permits.close();
    }
}
