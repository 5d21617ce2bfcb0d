//! Switchboard: servers that speak their own protocol.
//!
//! Plug a transport into a handler; get the operated server for free: limits, deadlines, panic isolation, drain.
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
//! /// Answers with what it got, in capitals, and numbers its answers.
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

mod connection;

pub mod framing;

pub mod layer;

pub mod transport;

pub mod handler;

mod outbox;

pub mod io;

mod roster;

mod validation;

mod limiter;

mod drain;

mod pace;

mod lock;

pub mod tls;

pub mod proxy;

pub mod access;

pub mod spec;

pub mod metrics;

mod reason;

pub mod address;

pub mod error;

pub use access::{Access, Networks};
pub use address::{Address, Credentials, Endpoint, Source};
pub use drain::{DrainSignal, Phase};
pub use error::{BoxError, Result};
pub use framing::Framing;
pub use handler::{ByteStream, Context, Handler, HandlerService, Needs, Reply, Request, StreamHandler, handler_fn};
pub use io::Incoming;
pub use outbox::{PushError, Pusher};
pub use proxy::{ProxyFacts, ProxySettings};
pub use reason::CloseReason;
pub use registry::Registry;
pub use roster::{Connection, Kind, TASKS_PER_CONNECTION, TooManyTasks};
pub use server::{Drained, Running, Server, Switchboard};
pub use tls::{ClientIdentity, TlsFacts, TlsIdentity, TlsSettings};

/// Crates whose types are part of this one's, so that a handler needs no other dependencies of its own.
pub use {async_trait::async_trait, bytes, schemars, tokio_util, tower};

/// What most handlers want.
///
/// ```
/// use switchboard::prelude::*;
/// ```
pub mod prelude {
    pub use crate::error::{BoxError, Result};
    pub use crate::framing::{self, Delimited, Framing, JsonLines, Length, Lines, Raw};
    pub use crate::handler::{ByteStream, Context, Handler, Needs, Reply, Request, StreamHandler, handler_fn};
    pub use crate::layer::{Concurrency, Connected, RatePerSource, Timeout, Trace};
    pub use crate::outbox::{PushError, Pusher};
    pub use crate::reason::CloseReason;
    pub use crate::registry::{NoOptions, Registry};
    pub use crate::roster::{Connection, Kind};
    pub use crate::server::{Running, Server, Switchboard};
    pub use bytes::{Bytes, BytesMut};
    pub use schemars;
}
