//! `switchboard test`: plays the client of conversation scripts against a server, and reports what differs.

mod compare;
mod connection;
mod expect;
mod junit;
mod load;
mod options;
mod outcome;
mod play;
mod received;
mod report;
mod tap;
mod text;

use switchboard::Registry;

pub(crate) use self::load::{Loaded, load, load_all, load_any, loaded};
pub(crate) use self::options::TestOptions;
pub(crate) use self::play::replay;
use self::report::Report;
pub(crate) use self::text::failure;
use crate::dial::Server;
use crate::exit;
use crate::failure::{Failure, print_stdout};

/// Plays every script. The exit status is 1 if one of them failed, and 78 if one of them is invalid.
pub(crate) fn test(options: &TestOptions, registry: &Registry) -> Result<u8, Failure> {
    let mut server = Server::new(options.to.clone(), &options.tls)?;
    let scripts = match load_all(&options.scripts, registry, load) {
        Ok(scripts) => scripts,
        Err(status) => return Ok(status),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(format_args!("cannot start the runtime: {}", exit::reason(&error))))?;
    runtime.block_on(async {
        server.resolve().await.map_err(Failure::new)?;
        let mut report = Report::new(options.format, &server.address, scripts.len());
        print_stdout(report.begin())?;
        for script in &scripts {
            let played = play::play(script, &server, *options.timeout).await;
            print_stdout(report.add(script, &played))?;
        }
        print_stdout(report.end())?;
        Ok(if report.has_failures() { exit::FAILED } else { 0 })
    })
}
