//! Commands for a running server. They talk to its admin endpoint.

mod address;
mod ban;
mod commands;
mod drain;
mod evacuate;
mod http;
mod options;
mod poll;
mod reload_request;
mod report;
mod running_config;
mod status;
mod tap;
mod text;
mod top;

pub(crate) use address::AdminAddress;
pub(crate) use options::{ClientCommand, EndpointOptions};
pub(crate) use running_config::{RunningConfig, wait_for_config};

use std::ffi::OsString;

use switchboard::Registry;

use crate::assemble;
use crate::client::commands::Printed;
use crate::client::options::ServerOptions;
use crate::exit::print_error;
use crate::failure::{Failure, print_stdout};

/// Runs a command and returns the exit status.
pub(crate) fn run(
    command: &ClientCommand,
    environment: impl Iterator<Item = (OsString, OsString)>,
    registry: &Registry,
) -> Result<u8, Failure> {
    let ServerOptions { json, .. } = *command.server();
    let server = AdminAddress::find(command.server(), environment, registry)?;
    let runtime = assemble::runtime(1).map_err(Failure::new)?;
    let progress = |line: &str| drop(print_stdout(line));
    let result = runtime.block_on(async {
        let printed = match command {
            ClientCommand::Status(_) => status::status(&server, json).await,
            ClientCommand::Connections(options) => commands::connections(&server, options).await,
            ClientCommand::Ban(options) => ban::ban(&server, options).await,
            ClientCommand::Reload { force, .. } => commands::reload(&server, *force, json).await,
            ClientCommand::Drain { no_wait, .. } => drain::drain(&server, !no_wait, json, progress).await,
            ClientCommand::Evacuate(options) => evacuate::evacuate(&server, options, progress).await,
            ClientCommand::LogLevel { level, .. } => commands::log_level(&server, level.as_deref(), json).await,
            ClientCommand::Tap(options) => tap::tap(&server, options, progress).await,
            ClientCommand::Top(options) => return top::top(&server, options).await,
        };
        let Printed { out, err, status } = printed.map_err(|error| Failure::new(error.describe(&server)))?;
        let written = print_stdout(out)?;
        print_error(&err);
        Ok(if status == 0 { written } else { status })
    });
    // Does not wait for the resolution of a name.
    runtime.shutdown_background();
    result
}
