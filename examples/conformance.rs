//! Runs the tests that are in the files of the examples.
#![expect(dead_code, reason = "the main functions of the examples")]

mod custom_framing;
mod custom_transport;
mod dns;
mod handler_fn;
mod jsonrpc;
mod logging;
mod own_binary;
mod rate_limit;
mod shout;
mod smtp;
mod store;
