//! A server with a third-party framing, layer and transport, each registered by name in one place.
//!
//! `tests/it/extension.rs` checks that each appears in `list`, `schema`, `config`, `--help` and the reference.

mod netstring;
mod prefix;
mod relay;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut registry = switchboard_server::registry();
    registry.framing("netstring", netstring::build).set_summary(netstring::SUMMARY);
    registry.layer("prefix", prefix::build).set_summary(prefix::SUMMARY);
    registry.transport(relay::Relay);
    switchboard_server::run(registry)
}
