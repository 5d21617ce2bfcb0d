//! ListenerSet: servers that speak their own protocol.
//!
//! BoundTransport a transport into a handler; get the operated server for free: limits, deadlines, panic isolation, drain.
//!
//! ```text
//!             one task a connection                                    yours
//!  Transport ──────► driver ──────► Framing ──────► Layers ──────► Handler
//!  tcp tls unix mem  reads,         bytes to        rate, timeout,  answers with
//!                    writes,        messages        panic guard …   a Reply
//!                    clocks         and back
//!  udp unixgram ───► driver ───────────────────────► Layers ──────► Handler
//!                    one task a socket: datagrams are messages already
//! ```
//!
//! # Ten lines
//!
//! ```no_run
//! use switchboard::prelude::*;
//!
//! /// SendQueue with what it got, in capitals, and numbers its answers.
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type State = u64; // what one connection remembers; Default makes it
//!
//!     async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
//!         cx.state += 1;
//!         Ok(Reply::send(format!("{}: {}", cx.state, message.escape_ascii()).to_uppercase()))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     Server::bind("tcp://127.0.0.1:9999")
//!         .framing(Lines::default())
//!         .layer(RatePerSource::per_second(100))
//!         .serve(Shout)
//!         .await
//! }
//! ```
//!
//! # Where to read on
//!
//! [`Handler`] is the trait that you write, [`Reply`] what it answers, [`Context`] what it is given. [`framing`] lists the
//! framings, [`layer`] what stands between; [`Server`] puts them together. [`registry`] makes them choosable by
//! configuration, [`transport`] brings other kinds of connections.
//!
//! # Two seams of tower
//!
//! ```text
//! Service<Incoming,    Response = (),         Error = BoxError>    one call a connection
//! Service<Request<In>, Response = Reply<Out>, Error = BoxError>    one call a message
//! ```
//!
//! A handler becomes the second by [`HandlerService`], a driver is the first, and any `tower::Layer` that fits the types
//! fits the seam: [`Server::layer`], [`Server::connection_layer`]. A transport is a service too
//! ([`TransportService`](transport::TransportService)). Types are erased once a connection; the path of a message is static.
//!
//! # The road of one message
//!
//! The modules stand in the order in which a byte meets them, and each uses only those below it:
//! `server/accept` takes a client in from `transport/tcp` and spawns its task; `connection/stream` reads, has
//! `framing/lines` cut a message, and calls the service: the stack of `layer`, then `handler/service`, then your handler.
//! Its reply is encoded by the framing and written by `connection/wire`, one write for all that came together.

pub mod server;

pub mod registry;

mod pipeline;

mod spec;

mod driver;

pub mod framing;

pub mod layer;

pub mod handler;

mod outbox;

pub mod transport;

mod connection;

mod limiter;

mod drain;

mod log_throttle;

pub mod settings;

pub mod metrics;

mod reason;

mod named_enum;

pub mod address;

pub mod error;

pub use address::{Address, Credentials, Endpoint, Source};
pub use connection::{ClientCertificate, Connection, Kind, ProxyInfo, TASKS_PER_CONNECTION, TlsInfo, TooManyTasks};
pub use drain::{DrainSignal, Phase};
pub use error::{BoxError, Result};
pub use framing::Framing;
pub use handler::{ByteStream, Context, Handler, HandlerService, Needs, Reply, Request, StreamHandler, handler_fn};
pub use outbox::{PushError, Pusher};
pub use reason::CloseReason;
pub use registry::Registry;
pub use server::{Drained, ListenerSet, Running, Server};
pub use settings::{Access, Networks, ProxySettings, TlsIdentity, TlsSettings};
pub use transport::Incoming;

/// Crates whose types appear in this API.
pub use {async_trait::async_trait, bytes, schemars, tokio_util, tower};

/// What most handlers want.
///
/// ```
/// use switchboard::prelude::*;
/// ```
pub mod prelude {
    pub use crate::connection::{Connection, Kind};
    pub use crate::error::{BoxError, Result};
    pub use crate::framing::{self, Delimited, Framing, JsonLines, Length, Lines, Raw};
    pub use crate::handler::{ByteStream, Context, Handler, Needs, Reply, Request, StreamHandler, handler_fn};
    pub use crate::layer::{Concurrency, Connected, RatePerSource, Timeout, Trace};
    pub use crate::outbox::{PushError, Pusher};
    pub use crate::reason::CloseReason;
    pub use crate::registry::{NoOptions, Registry};
    pub use crate::server::{ListenerSet, Running, Server};
    pub use bytes::{Bytes, BytesMut};
    pub use schemars;
}
