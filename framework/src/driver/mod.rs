//! The drivers: they read, decode, call the handler, encode and write.
//!
//! [`stream`] drives framed connections, one task per connection; [`stream::raw`] drives connections of a
//! `StreamHandler`; [`datagram`] drives a datagram socket in one task.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::ListenerContext;
use crate::layer::MessageStack;
use crate::settings::{Limits, Timeouts};
use crate::transport::tls::TlsAcceptor;

pub(crate) mod close_outcome;
pub(crate) mod datagram;
pub(crate) mod handler_calls;
pub(crate) mod later;
pub(crate) mod stream;

pub(crate) use close_outcome::reason_of;
pub(crate) use datagram::{DatagramLoop, DatagramService, MAX_DATAGRAM, MAX_PENDING_BYTES, SEND_BATCH};
#[cfg(feature = "script")]
pub(crate) use stream::RecordedListener;
pub(crate) use stream::{FRAME_OVERHEAD, LARGE_BUFFER, MAX_READ_AHEAD, RawDriver};

/// Serves framed connections and datagrams with a handler.
pub(crate) struct HandlerDriver<H, F, L> {
    pub(crate) handler: Arc<H>,
    pub(crate) framing: Arc<F>,
    pub(crate) stack: Arc<MessageStack>,
    /// The layers inside the stack, outermost first. Each connection has its own services.
    pub(crate) layer: L,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Arc<Timeouts>,
    /// If set, the messages of each connection are recorded.
    #[cfg(feature = "script")]
    pub(crate) recorded: Option<RecordedListener>,
}

/// The service of a listener with the settings for new connections. A reload replaces it as a whole.
#[derive(Clone)]
pub(crate) struct ServiceSnapshot<S> {
    pub(crate) listener_context: Arc<ListenerContext>,
    pub(crate) service: S,
    /// The acceptor for handshakes on request.
    pub(crate) start_tls: Option<TlsAcceptor>,
    /// `timeouts.handshake`.
    pub(crate) handshake_timeout: Duration,
    /// How long a replaced service may take to finish its pending messages.
    pub(crate) finish_timeout: Duration,
}
