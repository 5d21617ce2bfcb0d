//! A server that installs a tracing subscriber before it runs the program. `tests/it/logging.rs` uses it.

use std::process::ExitCode;

use switchboard::log;
use switchboard::settings::LogSettings;

fn main() -> ExitCode {
    let _log = log::install(&LogSettings::default()).expect("the process has no subscriber yet");
    switchboard_server::run(switchboard_server::registry())
}
