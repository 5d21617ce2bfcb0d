//! The `switchboard` binary: the library with the handlers that come with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchboard_server::run(switchboard_server::registry())
}
