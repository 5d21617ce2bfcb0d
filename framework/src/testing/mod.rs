//! The test kit for handlers: a server in memory, peers with exact expectations, and a bare context.
//!
//! It needs the Cargo feature `testing`, which is off by default:
//!
//! ```toml
//! [dev-dependencies]
//! switchboard = { git = "…", features = ["testing"] }
//! tokio       = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! [`Server`] runs a handler behind the real driver, with its framing, layers, limits and timeouts. [`Peer`] is a
//! client of it. It behaves like a client over TCP: [`half_close`](Peer::half_close) is a FIN, [`reset`](Peer::reset) a
//! RST, and [`stop_reading`](Peer::stop_reading) a full window. [`DatagramPeer`] sends and receives datagrams.
//!
//! ```
//! use std::time::Duration;
//! use switchboard::prelude::*;
//! use switchboard::settings::Timeouts;
//! use switchboard::testing;
//!
//! /// Answers in capitals.
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type State = ();
//!
//!     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
//!         Ok(Reply::send(message.to_ascii_uppercase()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // In a test with #[tokio::test(start_paused = true)]:
//! let server = testing::Server::new(Shout).framing(Lines::default()).start().await;
//! let mut peer = server.connect().await;
//! peer.send("hi\n").await.expect("HI\n").await;
//! peer.expect_closed(CloseReason::Idle).await; // five minutes of paused time
//! assert_eq!(server.closed(CloseReason::Idle), 1);
//! # }
//! ```
//!
//! Every wait has a bound, so that a test fails and does not hang: 60 s, or a day of paused time. A failure shows what
//! was expected, what came, and the conversation:
//!
//! ```text
//! expected "HI\n", received "hi\n"; byte 0 differs
//! at tests/shout.rs:12:32
//! the conversation, with times since the peer was created:
//!        0.000 s  peer    "hi\n"
//!        0.000 s  server  "hi\n"
//! ```
//!
//! [`conformance()`] checks a handler against [laws](Law), without any expectations: cut input, pipelining, half-close,
//! slow readers, drains and cancelled calls do not change its replies and leave nothing behind.
//!
//! [`SimulatedNetwork`] is a network with delay and faults between many clients and a whole server: every listener,
//! limit, reload and drain. One seed determines everything.
//!
//! [`context`] makes a context without a server, to call the methods of a handler directly.

mod conformance;
mod context;
mod datagram;
mod peer;
mod pipe;
mod server;
mod simulation;
mod transcript;
mod wait;

pub use conformance::{Conformance, Law, Probe, ProbeCodec, ProbeFraming, Random, Report, conformance};
pub use context::{TestContext, context, context_of, frames};
pub use datagram::DatagramPeer;
pub use peer::Peer;
pub use server::{Running, Server};
pub use simulation::{SimulatedNetwork, SimulatedSocket, SimulatedStream};
