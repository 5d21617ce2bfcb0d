//! The server program as a library: configuration, logging, signals and exit status. Build your own binary with:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use switchboard_server::switchboard::prelude::*;
//!
//! /// Replies in upper case.
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
//! fn main() -> ExitCode {
//!     let mut registry = switchboard_server::registry();
//!     registry.handler("shout", |_: NoOptions| Ok(Shout)).set_summary("replies in upper case");
//!     switchboard_server::run(registry)
//! }
//! ```
//!
//! This binary offers `shout` in addition to `hello` and `echo`. Select it in the configuration file, in the
//! environment or with `--handler shout`. Commands, configuration, logs and metrics are the same in every such binary.
//! The framework is re-exported as [`switchboard`].

mod admin;
mod admin_socket;
mod assemble;
mod bench;
mod certificates;
mod check;
mod cli;
mod client;
mod config;
mod config_check;
mod config_diff;
mod connect;
mod descriptors;
mod dial;
mod exit;
mod failure;
mod handover;
mod init;
mod list;
mod man;
mod pcap;
mod process;
mod reload;
mod replay;
mod script_test;
mod serve;
mod service_manager;
mod signals;
mod warnings;

pub use config_check::{ConfigCheck, InvalidConfig};
pub use replay::replay_script;
pub use switchboard;
pub use switchboard::Registry;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use assemble::load;
use cli::{CheckFormat, Cli, Command, ConfigCommand, OutputFormat};
use config::Shape;
use failure::{Failure, cannot_write, print_stdout};

/// A registry with the built-in transports, framings, layers and handlers (`hello` and `echo`).
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    switchboard_handlers::register(&mut registry);
    registry
}

/// Runs the command line of this process and returns the exit status.
///
/// `serve` returns when the server has stopped. It installs a global logger, a panic hook and signal handlers.
pub fn run(registry: Registry) -> ExitCode {
    run_from(registry, std::env::args_os())
}

/// Like [`run`], with the given command line. The first argument is the name of the program.
///
/// ```
/// let registry = switchboard_server::registry();
/// let status = switchboard_server::run_from(registry, ["example", "check", "--handler", "echo"]);
/// assert_eq!(status, std::process::ExitCode::SUCCESS);
/// ```
pub fn run_from<A: Into<OsString>>(registry: Registry, args: impl IntoIterator<Item = A>) -> ExitCode {
    let registry = Arc::new(registry);
    let status = match Cli::read(args.into_iter().map(Into::into), &registry) {
        Ok(command) => execute(command, &registry).unwrap_or_else(Failure::print),
        Err(error) => {
            // clap reports --help and --version as errors, too. A closed pipe is not an error.
            match error.print() {
                _ if error.use_stderr() => exit::USAGE,
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => cannot_write(&error).print(),
                _ => 0,
            }
        }
    };
    ExitCode::from(status)
}

fn execute(command: Command, registry: &Arc<Registry>) -> Result<u8, Failure> {
    let environment = std::env::vars_os();
    match command {
        Command::Serve(options) => {
            let inputs = options.inputs(environment);
            let config = config::load(&inputs, registry).map_err(|invalid| {
                let format = invalid.log_format;
                Failure::config(assemble::all_errors(*invalid, registry, None)).in_log(format)
            })?;
            let format = config.log.format;
            serve::serve(config, &inputs, registry).map_err(|failure| failure.in_log(format))
        }
        Command::Check { options, bind, format } => {
            let inputs = options.inputs(environment);
            match format {
                CheckFormat::Text => check::text(&inputs, registry, bind).and_then(print_stdout),
                CheckFormat::Json => {
                    let (document, status) = check::json(&inputs, registry, bind);
                    print_stdout(document).map(|_| status)
                }
            }
        }
        Command::Config { command: Some(ConfigCommand::Diff { options, against, endpoint, json }), .. } => {
            config_diff::diff(&options.inputs(environment), against, &endpoint, json, registry)
        }
        Command::Config { options, origin, format, .. } => {
            let shape = match format {
                OutputFormat::Json => Shape::Json,
                OutputFormat::Toml if origin => Shape::Origins,
                OutputFormat::Toml => Shape::Toml,
            };
            print_stdout(load(&options.inputs(environment), registry)?.effective.print(shape))
        }
        Command::List { json } => print_stdout(if json { list::json(registry) } else { list::text(registry) }),
        Command::Init(options) => {
            let (text, notes) = init::init(&options.into(), registry)?;
            exit::print_sentence(&notes, tracing::Level::INFO);
            print_stdout(text)
        }
        Command::Client(command) => client::run(&command, environment, registry),
        Command::Schema => print_stdout(config::schema(registry)),
        Command::Completions { shell } => print_stdout(man::completions(shell, Cli::command_with(registry))),
        Command::Man => print_stdout(man::man_page(Cli::command_with(registry)).map_err(Failure::new)?),
        Command::Connect(options) => connect::connect(options, registry),
        Command::Bench(options) => bench::bench(options, registry),
        Command::Test(options) => script_test::test(&options, registry),
        Command::Pcap(options) => pcap::pcap(&options, registry),
        Command::Replay { options, replay } => replay::replay(&replay, &options.inputs(environment), registry),
    }
}

#[cfg(doctest)]
#[doc = include_str!("../docs/handlers.md")]
struct HandlerGuide;
