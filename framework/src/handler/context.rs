//! The context that a handler receives with each call.

use std::fmt;
use std::ops::Deref;

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
