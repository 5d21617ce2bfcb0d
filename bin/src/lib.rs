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
mod assemble;
mod bench;
mod cli;
mod dial;
mod config;
mod config_check;
mod config_diff;
mod connect;
mod descriptors;
mod exit;
mod handover;
mod list;
mod man;
mod process;
mod reload;
mod serve;
mod service_manager;
mod signals;
mod warnings;

pub use config_check::{ConfigCheck, InvalidConfig};
pub use switchboard;
pub use switchboard::Registry;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use assemble::load;
use bytesize::ByteSize;
use cli::{Cli, Command, ConfigCommand, OutputFormat};
use config::{Config, Shape};
use exit::{Failure, print_error, print_stdout};

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
            let _ = error.print();
            if error.use_stderr() { exit::USAGE } else { 0 }
        }
    };
    ExitCode::from(status)
}

fn execute(command: Command, registry: &Arc<Registry>) -> Result<u8, Failure> {
    let environment = std::env::vars_os();
    match command {
        Command::Serve(options) => {
            let inputs = options.inputs(environment);
            serve::serve(load(&inputs, registry)?, &inputs, registry)
        }
        Command::Check { options, bind } => check(load(&options.inputs(environment), registry)?, registry, bind),
        Command::Config { command: Some(ConfigCommand::Diff { options, against }), .. } => {
            let inputs = options.inputs(environment);
            let config = load(&inputs, registry)?;
            print_stdout(config_diff::between(&config, against, &inputs, registry)?)
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
        Command::Schema => print_stdout(config::schema(registry)),
        Command::Completions { shell } => print_stdout(man::completions(shell, Cli::command_with(registry))),
        Command::Man => print_stdout(man::man_page(Cli::command_with(registry)).map_err(Failure::new)?),
        Command::Connect(options) => connect::connect(options, registry),
        Command::Bench(options) => bench::bench(options, registry),
    }
}

/// Creates every handler and layer, used or not, because some options are only validated then.
fn check(config: Config, registry: &Registry, bind: bool) -> Result<u8, Failure> {
    let diagnostics = assemble::build_errors(&config, registry, None);
    if !diagnostics.is_empty() {
        return Err(Failure::config(diagnostics));
    }
    let mut verdict = match &config.file {
        Some(file) => format!("{}: configuration OK\n", file.display()),
        None => "no configuration file; configuration OK\n".to_owned(),
    };
    let (total, listeners) = assemble::max_memory(&config);
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let listeners: Vec<_> = listeners.into_iter().map(|(name, bytes)| format!("{name} {}", size(bytes))).collect();
    let (total, listeners) = (size(total), listeners.join(", "));
    verdict += &format!("memory: at most {total} ({listeners}), without the memory of handlers\n");
    let warnings = warnings::of(&config);
    if bind {
        serve::try_bind(config, registry)?;
        verdict += "all addresses can be bound\n";
    }
    for warning in warnings {
        print_error(&format!("warning: {warning}\n"));
    }
    print_stdout(verdict)
}

#[cfg(doctest)]
#[doc = include_str!("../docs/handlers.md")]
struct HandlerGuide;
