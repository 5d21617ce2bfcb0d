//! A server with a third-party framing, layer, transport and handler, each registered by name in one place.
//!
//! `tests/it/extension.rs` checks that each appears in `list`, `schema`, `config`, `--help` and the reference.
//! `tests/it/recorder.rs` uses the handler `vault`. `tests/it/start_stop_program.rs` uses the handler `phases`, also
//! without the program around it: `extended library OPTIONS`.

mod netstring;
mod phases;
mod prefix;
mod relay;
mod rooms;
mod vault;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, command, options] = args.as_slice()
        && command == "library"
    {
        return phases::run(options);
    }
    let mut registry = switchboard_server::registry();
    registry.framing("netstring", netstring::build).set_summary(netstring::SUMMARY);
    registry.layer("prefix", prefix::build).set_summary(prefix::SUMMARY);
    registry.transport(relay::Relay);
    registry.handler("phases", phases::build).set_summary(phases::SUMMARY);
    registry.handler("rooms", rooms::build).set_summary(rooms::SUMMARY);
    registry.handler("vault", vault::build).set_summary(vault::SUMMARY);
    switchboard_server::run(registry)
}
