//! The bounded queue of frames pushed to one connection, and the handle ([`Pusher`]) that adds to it.
//!
//! Replies of the handler bypass the queue. Frames pushed before a reply are written before it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::connection::{Connection, ControlSignal};
use crate::settings::Timeouts;
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

/// The error of [`Pusher::try_push`]: the frame that was not queued, and why.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TryPushError<Out = Bytes> {
    /// The frame.
    pub frame: Out,
    /// Why it was not queued.
    pub reason: PushError,
}

impl<Out> fmt::Display for TryPushError<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<Out> fmt::Debug for TryPushError<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryPushError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<Out> std::error::Error for TryPushError<Out> {}

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
                queue.send(self.pushed_frame(route, frame.into())).await.map_err(|_| PushError::Closed)
            }
        }
    }

    /// Queues a frame, or fails immediately and returns the frame.
    pub fn try_push(&self, frame: impl Into<Out>) -> Result<(), TryPushError<Out>> {
        let frame = frame.into();
        match &self.target {
            Target::Stream(outbox) => {
                let permit = match outbox.permits.try_acquire() {
                    Ok(permit) => permit,
                    Err(TryAcquireError::NoPermits) => return Err(TryPushError { frame, reason: PushError::Full }),
                    Err(TryAcquireError::Closed) => return Err(TryPushError { frame, reason: PushError::Closed }),
                };
                permit.forget();
                outbox.push(frame, &self.connection);
                Ok(())
            }
            Target::Datagram(_) if self.connection.close_reason().is_some() => {
                Err(TryPushError { frame, reason: PushError::Closed })
            }
            Target::Datagram(target) => {
                let (route, queue) = &**target;
                queue.try_send(self.pushed_frame(route, frame)).map_err(|error| match error {
                    TrySendError::Full(pushed) => TryPushError { frame: pushed.frame, reason: PushError::Full },
                    TrySendError::Closed(pushed) => TryPushError { frame: pushed.frame, reason: PushError::Closed },
                })
            }
        }
    }

    pub(crate) fn set_idle_timeout(&self, time: Duration) {
        if let Target::Stream(outbox) = &self.target {
            outbox.set_timeout(&outbox.idle, time, &self.connection);
        }
    }

    pub(crate) fn set_frame_timeout(&self, time: Duration) {
        if let Target::Stream(outbox) = &self.target {
            outbox.set_timeout(&outbox.frame, time, &self.connection);
        }
    }

    /// Closes the connection after all queued frames are written, with reason `handler_closed`. From any task.
    ///
    /// The server reads no further message. Messages that it has already read may still be handled, and
    /// [later](crate::Reply::later) replies are finished. Pushes fail from now on. [`Connection::close`] closes immediately. On a
    /// datagram peer it has no effect.
    pub fn finish(&self) {
        if let Target::Stream(outbox) = &self.target {
            outbox.close();
            outbox.len.fetch_or(FINISHES, SeqCst);
            self.connection.signal(ControlSignal::Finish);
        }
    }

    fn pushed_frame(&self, route: &Route, frame: Out) -> PushedFrame<Out> {
        PushedFrame { connection: self.connection.clone(), route: route.clone(), frame }
    }

    /// Queues a frame, or closes the connection with reason `outbox_full` if the outbox is full.
    ///
    /// For broadcasts: a slow reader is disconnected and delays no other. A datagram peer only misses the frame.
    pub fn push_or_close(&self, frame: impl Into<Out>) -> Result<(), PushError> {
        let result = self.try_push(frame).map_err(|error| error.reason);
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

/// Marks in the length of an outbox: the driver needs one comparison to know that a reply may be written at once, and
/// that nothing else is to be done.
const HOLDS_REPLIES: usize = 1 << (usize::BITS - 1); // a reply waits for an earlier one
const FINISHES: usize = 1 << (usize::BITS - 2); // a task has requested to finish the connection
const CHANGES_TIMEOUTS: usize = 1 << (usize::BITS - 3); // the handler has changed a timeout
/// No changed timeout.
const UNCHANGED: u64 = u64::MAX;
const MARKS: usize = HOLDS_REPLIES | FINISHES | CHANGES_TIMEOUTS;

/// The queue of one stream connection. It allocates nothing while it is empty.
pub(crate) struct Outbox<Out> {
    queue: Mutex<VecDeque<Out>>,
    /// The number of queued frames, with marks.
    len: AtomicUsize,
    permits: Semaphore,
    /// `timeouts.idle` and `timeouts.frame` in milliseconds, if the handler has changed them.
    idle: AtomicU64,
    frame: AtomicU64,
}

impl<Out> Outbox<Out> {
    pub(crate) fn new(limit: usize) -> Self {
        let permits = Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            queue: Mutex::new(VecDeque::new()),
            len: AtomicUsize::new(0),
            permits,
            idle: AtomicU64::new(UNCHANGED),
            frame: AtomicU64::new(UNCHANGED),
        }
    }

    fn push(&self, frame: Out, connection: &Connection) {
        self.push_last(frame);
        connection.wake();
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(SeqCst) & !MARKS
    }

    /// Whether a reply may be written at once: no frame is queued, and no reply waits for an earlier one.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.len.load(SeqCst) == 0
    }

    /// Sets whether replies wait for earlier ones. For the driver of the connection only.
    pub(crate) fn set_holds_replies(&self, holds: bool) {
        if holds {
            self.len.fetch_or(HOLDS_REPLIES, SeqCst);
        } else {
            self.len.fetch_and(!HOLDS_REPLIES, SeqCst);
        }
    }

    /// Whether a task has requested to finish the connection.
    pub(crate) fn finishes(&self) -> bool {
        self.len.load(SeqCst) & FINISHES != 0
    }

    fn set_timeout(&self, timeout: &AtomicU64, time: Duration, connection: &Connection) {
        timeout.store(u64::try_from(time.as_millis()).unwrap_or(UNCHANGED - 1), SeqCst);
        self.len.fetch_or(CHANGES_TIMEOUTS, SeqCst);
        connection.wake();
    }

    /// Applies the timeouts that the handler has changed since the last call. False if there are none.
    pub(crate) fn take_timeouts(&self, timeouts: &mut Arc<Timeouts>) -> bool {
        if self.len.load(SeqCst) & CHANGES_TIMEOUTS == 0 {
            return false;
        }
        self.len.fetch_and(!CHANGES_TIMEOUTS, SeqCst);
        let timeouts = Arc::make_mut(timeouts);
        for (changed, timeout) in [(&self.idle, &mut timeouts.idle), (&self.frame, &mut timeouts.frame)] {
            match changed.load(SeqCst) {
                UNCHANGED => {}
                millis => *timeout = Duration::from_millis(millis),
            }
        }
        true
    }

    /// Queues a frame behind all others, even if the outbox is full or closed.
    pub(crate) fn push_last(&self, frame: Out) {
        self.queue.lock().push_back(frame);
        self.len.fetch_add(1, SeqCst);
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
