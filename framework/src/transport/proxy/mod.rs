//! The PROXY protocol (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), receiver side.
//!
//! [`require_header`] wraps a listener and requires a header, version 1 or 2, from each client. The header is read in
//! the handshake, so it runs in the task of the connection and under the handshake timeout. Admission checks that the
//! peer is a trusted proxy before the handshake begins.

pub mod header;
mod listener;
mod parser;
mod v1;
mod v2;

pub use listener::require_header;
pub use parser::parse;
