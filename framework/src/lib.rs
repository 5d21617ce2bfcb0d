//! A framework for servers that speak custom network protocols.
//!
//! You write a [`Handler`] that answers messages. The framework provides everything else that a production server
//! needs: transports, framing, TLS, limits, timeouts, backpressure, panic isolation, graceful shutdown, metrics and
//! reload.
//!
//! ```text
//!              one task per connection                           your code
//!  Transport ────► driver ─────► Framing ─────► Layers ─────────► Handler
//!  tcp tls unix    reads,        bytes to       rate, timeout,    returns
//!                  writes,       messages       panic guard …     a Reply
//!                  timeouts      and back
//!
//!              one task per socket
//!  udp unixgram ─► driver ─────────────────────► Layers ────────► Handler
//!                  a datagram is a message
//! ```
//!
//! # Example
//!
//! ```no_run
//! use std::process::ExitCode;
//! use switchboard::prelude::*;
//!
//! /// Numbers its replies and answers in capitals.
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type State = u64; // per connection, created by Default
//!
//!     async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
//!         cx.state += 1;
//!         Ok(Reply::send(format!("{}: {}", cx.state, message.escape_ascii()).to_uppercase()))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     Server::bind("tcp://127.0.0.1:9999")
//!         .framing(Lines::default())
//!         .layer(RatePerSource::per_second(100))
//!         .run(Shout)
//!         .await
//! }
//! ```
//!
//! # Items by task
//!
//! **Write a protocol.** [`Handler`] is the trait for messages and [`StreamHandler`] the trait for raw byte streams.
//! [`handler_fn`] turns a function into a handler. A handler receives a [`Context`] and returns a [`Reply`]. A
//! [`Pusher`] sends messages at any time, and a [`Hub`] sends a message to all members of a room. [`Connection`]
//! describes the peer. [`Handler::start`] receives a [`StartContext`].
//!
//! **Split bytes into messages.** [`framing`] contains the built-in framings and the [`Framing`] trait for custom ones.
//!
//! **Add behaviour to every message or connection.** [`layer`] contains rate limits, timeouts and tracing, and accepts
//! any `tower::Layer` with matching types.
//!
//! **Run a server.** [`Server`] has one listener and one handler, [`ListenerSet`] has several. Both start a [`Running`]
//! server, which can be drained, reloaded and handed over to a new process. [`settings`] contains limits, timeouts,
//! access lists, TLS and PROXY settings. [`metrics`] contains counters and latencies, and the metrics that handlers
//! register.
//!
//! **Set timeouts of a protocol.** [`deadline_timer`] contains timers that tolerate a process that was stopped.
//!
//! **Select handlers by configuration.** A [`Registry`] creates handlers, layers and transports by name with options.
//!
//! **Accept connections from elsewhere.** [`transport`] contains the built-in transports and the traits for custom
//! ones. [`transport::memory`] connects inside a process.
//!
//! **See what the server does.** The framework emits `tracing` events and prints nothing by itself. Without a
//! subscriber, the events are lost, except the error of a failed [`Server::run`]. The function `log::install` (Cargo
//! feature `log`) prints them to standard error, as the program `switchboard` does.
//!
//! **Test a handler.** The module `testing` (Cargo feature `testing`) has a server in memory, peers with exact
//! expectations, and a bare context. `testing::conformance` checks what the network, other clients and the server do
//! to a handler, and needs only its messages.
//!
//! **Record and replay.** The module `recorder` (Cargo feature `script`) keeps the last messages of each
//! connection, and the module `replay` plays them against a handler.
//!
//! **Write conversations as text.** The module `script` (Cargo feature `script`) reads and prints the scripts of
//! `switchboard test`.
//!
//! # tower
//!
//! Connections and messages are requests of a `tower::Service`:
//!
//! ```text
//! Service<Incoming,    Response = (),         Error = BoxError>    one call per connection
//! Service<Request<In>, Response = Reply<Out>, Error = BoxError>    one call per message
//! ```
//!
//! [`HandlerService`] turns a handler into the per-message service; a driver is the per-connection service.
//! [`Server::layer`] and [`Server::connection_layer`] wrap them. A transport is a service too
//! ([`TransportService`](transport::TransportService)). Dynamic dispatch happens once per connection; message
//! processing is statically dispatched.
//!
//! # Cargo features
//!
//! Enabled by default: `tls`, `proxy` (the PROXY protocol), `unix` (Unix sockets) and `udp`. The settings of a disabled
//! feature exist, but a listener that needs them cannot be bound.
//!
//! Off by default: `fleet`, limits that several instances [share](fleet); `log`, the subscriber that prints the events,
//! which needs tracing-subscriber; `script`, conversation scripts, the recorder and the replay; and `testing`, the test
//! kit for handlers. Enable `testing` in `[dev-dependencies]`.

// docs.rs names the Cargo feature of each item that needs one.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Each module depends only on modules below it.

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "script")]
pub mod replay;

pub mod server;

pub mod registry;

mod pipeline;

mod lifecycle;

mod listener_spec;

mod driver;

pub mod framing;

pub mod layer;

pub mod hub;

pub mod handler;

mod push_queue;

mod outbox;

pub mod transport;

mod connection;

pub mod bans;

mod rate_limiter;

#[cfg_attr(not(feature = "fleet"), expect(dead_code, reason = "without the feature, no Fleet can be created"))]
pub mod fleet;

mod drain;

pub mod deadline_timer;

#[cfg(feature = "script")]
pub mod recorder;

mod log_throttle;

#[cfg(feature = "log")]
pub mod log;

#[cfg(feature = "script")]
pub mod script;

pub mod settings;

pub mod metrics;

mod close_reason;

mod direction;

pub mod address;

pub mod error;

#[doc(inline)]
pub use address::{Address, Credentials, Endpoint, Source};
pub use close_reason::CloseReason;
pub use connection::{
    ClientCertificate, ClosedConnection, Connection, Extensions, Kind, ProxyInfo, RECENTLY_CLOSED,
    TASKS_PER_CONNECTION, TlsInfo, TlsVersion, TooManyTasks,
};
pub use direction::Direction;
pub use drain::{DrainSignal, Phase};
#[doc(inline)]
pub use error::{BoxError, Result};
#[doc(inline)]
pub use framing::Framing;
#[doc(inline)]
pub use handler::{
    ByteStream, Context, Handler, HandlerService, Needs, Reply, Request, StartContext, StreamHandler, handler_fn,
};
#[doc(inline)]
pub use hub::Hub;
pub use push_queue::{PushError, Pusher, TryPushError};
#[doc(inline)]
pub use registry::Registry;
#[doc(inline)]
pub use server::{Drained, ListenerSet, Running, Server};
#[doc(inline)]
pub use settings::{Access, Networks, ProxySettings, TlsIdentity, TlsSettings};
#[doc(inline)]
pub use transport::Incoming;

/// Crates whose types appear in this API.
#[doc(no_inline)]
pub use {async_trait::async_trait, bytes, futures_core, schemars, serde_json, tokio, tokio_util, tower};

/// The handler author's guide.
#[cfg(all(doc, not(doctest)))] // the doctests of the guide need the server crate, which runs them
pub mod guide {
    #![doc = include_str!("../docs/handlers.md")]
}

/// The items that most handlers need.
///
/// ```
/// use switchboard::prelude::*;
/// ```
pub mod prelude {
    pub use crate::close_reason::CloseReason;
    pub use crate::connection::{Connection, Kind};
    pub use crate::direction::Direction;
    pub use crate::error::{BoxError, Result};
    pub use crate::framing::{self, Delimited, Framing, JsonLines, Length, Lines, Raw};
    pub use crate::handler::{
        ByteStream, Context, Handler, Needs, Reply, Request, StartContext, StreamHandler, handler_fn,
    };
    pub use crate::hub::{Hub, Slow};
    pub use crate::layer::{Concurrency, Connected, RatePerSource, Timeout, Trace};
    pub use crate::push_queue::{PushError, Pusher};
    pub use crate::registry::{NoOptions, Registry};
    pub use crate::server::{ListenerSet, Running, Server};
    pub use bytes::{Bytes, BytesMut};
    pub use schemars;
}
