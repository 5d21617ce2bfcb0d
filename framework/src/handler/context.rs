//! The context that a handler receives with each call.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;

use crate::connection::Connection;
use crate::push_queue::Pusher;

/// The connection of a call: its state, its properties, and a handle to push frames to it.
///
/// All methods of [`Connection`] are available: `cx.peer()`, `cx.kind()`, `cx.drain()`, `cx.spawn(…)`.
pub struct Context<S = (), Out = Bytes> {
    /// The state of this connection.
    pub state: S,
    pusher: Pusher<Out>,
}

impl<S, Out> Context<S, Out> {
    pub(crate) fn new(state: S, pusher: Pusher<Out>) -> Self {
        Self { state, pusher }
    }

    /// Returns a handle that pushes frames to this connection from any task while it is open.
    pub fn pusher(&self) -> Pusher<Out> {
        self.pusher.clone()
    }

    /// Changes `timeouts.idle` of this connection until further notice; zero: off. For phases of a protocol, such as a
    /// longer time after login. Everything read or written restarts it.
    ///
    /// Like the other timeouts here, it has no effect on a datagram peer.
    pub fn set_idle_timeout(&self, time: Duration) {
        self.pusher.change_timeouts(|outbox| outbox.set_idle_timeout(time));
    }

    /// Like [`set_idle_timeout`](Self::set_idle_timeout), but only input of the client restarts the timeout. For a keep
    /// alive that the client has chosen: messages to a client that has vanished do not keep its connection open.
    ///
    /// It replaces `timeouts.idle` of this connection. The reason of the close is `idle`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::prelude::*;
    ///
    /// /// `keepalive 60`: the connection closes if the client is silent for 90 s.
    /// struct Keepalive;
    ///
    /// impl Handler for Keepalive {
    ///     type State = ();
    ///
    ///     async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
    ///         if let Some(seconds) = message.strip_prefix(b"keepalive ") {
    ///             let seconds: u32 = std::str::from_utf8(seconds)?.parse()?;
    ///             cx.set_input_timeout(Duration::from_secs(seconds.into()) * 3 / 2);
    ///         }
    ///         Ok(Reply::none())
    ///     }
    /// }
    /// ```
    pub fn set_input_timeout(&self, time: Duration) {
        self.pusher.change_timeouts(|outbox| outbox.set_input_timeout(time));
    }

    /// Changes `timeouts.frame` of this connection until further notice; zero: off. For a protocol with short commands
    /// and long bodies.
    pub fn set_frame_timeout(&self, time: Duration) {
        self.pusher.change_timeouts(|outbox| outbox.set_frame_timeout(time));
    }

    /// The connection. Clone it to keep a handle.
    pub fn connection(&self) -> &Connection {
        self.pusher.connection()
    }
}

impl<S, Out> Deref for Context<S, Out> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection()
    }
}

impl<S: Clone, Out> Clone for Context<S, Out> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), pusher: self.pusher.clone() }
    }
}

impl<S: fmt::Debug, Out> fmt::Debug for Context<S, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("state", &self.state)
            .field("connection", self.connection())
            .finish_non_exhaustive()
    }
}
