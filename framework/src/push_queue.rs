//! The handle that pushes frames to a connection from any task ([`Pusher`]).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::TryAcquireError;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::connection::{Connection, ControlSignal};
use crate::outbox::Outbox;
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
                outbox.permits().acquire().await.map_err(|_| PushError::Closed)?.forget();
                outbox.push(frame.into());
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
                let permit = match outbox.permits().try_acquire() {
                    Ok(permit) => permit,
                    Err(TryAcquireError::NoPermits) => return Err(TryPushError { frame, reason: PushError::Full }),
                    Err(TryAcquireError::Closed) => return Err(TryPushError { frame, reason: PushError::Closed }),
                };
                permit.forget();
                outbox.push(frame);
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

    /// The queue of a stream. `None` for a datagram peer.
    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox<Out>>> {
        match &self.target {
            Target::Stream(outbox) => Some(outbox),
            Target::Datagram(_) => None,
        }
    }

    /// Changes timeouts of a stream connection.
    pub(crate) fn change_timeouts(&self, change: impl FnOnce(&Outbox<Out>)) {
        if let Target::Stream(outbox) = &self.target {
            change(outbox);
            self.connection.wake();
        }
    }

    /// Closes the connection after all queued frames are written, with reason `handler_closed`. From any task.
    ///
    /// The server reads no further message. Messages that it has already read may still be handled, and
    /// [later](crate::Reply::later) replies are finished. Pushes fail from now on. [`Connection::close`] closes
    /// immediately. On a datagram peer it has no effect.
    pub fn finish(&self) {
        if let Target::Stream(outbox) = &self.target {
            outbox.finish();
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
