//! The operated server as a library: configuration, logs, signals, exit status. Your own binary is these lines:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use switchboard_server::switchboard::prelude::*;
//!
//! /// Answers in capitals.
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
//!     registry.handler("shout", |_: NoOptions| Ok(Shout)).set_summary("answers in capitals");
//!     switchboard_server::run(registry)
//! }
//! ```
//!
//! It then serves `shout` next to `hello` and `echo`, by configuration, environment or flag: `--handler shout`. What an
//! operator can rely on is the same for every such binary. The framework itself is re-exported as [`switchboard`].
//!
//! Inside, `config` reads and checks, `assemble` makes a server of it, `reload` changes it while it runs, `handover` replaces the process, `admin` shows it to
//! operators, `log`, `signals` and `service_manager` connect it to its surroundings, `connect` is the client and `list` the table of contents.

mod admin;
mod assemble;
mod cli;
mod config;
mod config_check;
mod config_diff;
mod connect;
mod handover;
mod list;
mod log;
mod man;
mod reload;
mod serve;
mod service_manager;
mod signals;

pub use config_check::{ConfigCheck, InvalidConfig};
pub use switchboard;
pub use switchboard::Registry;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use bytesize::ByteSize;
use cli::{Cli, Command};
use config::{Config, Inputs};

/// Exit status: the server could not run, or not keep running.
const FAILED: u8 = 1;
/// Exit status: the command line cannot be understood.
const USAGE: u8 = 2;
/// Exit status: connections were cut.
const CUT: u8 = 3;
/// Exit status: the configuration cannot be used (EX_CONFIG of sysexits.h).
const CONFIG: u8 = 78;

/// The built-in transports, framings and layers, and the handlers that come with ListenerSet: `hello` and `echo`.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    switchboard_handlers::register(&mut registry);
    registry
}

/// Does what the command line of this process says, with what this registry has, and answers with the exit status.
///
/// It ends when the command has ended: for `serve`, when the server has stopped. It installs the process's log and panic
/// hook and, while it serves, handlers for its signals.
pub fn run(registry: Registry) -> ExitCode {
    run_from(registry, std::env::args_os())
}

/// Like [`run`], with a command line of your own making; its first word is the program's name.
///
/// ```
/// let registry = switchboard_server::registry();
/// let status = switchboard_server::run_from(registry, ["example", "check", "--handler", "echo"]);
/// assert_eq!(status, std::process::ExitCode::SUCCESS);
/// ```
pub fn run_from<W>(registry: Registry, words: impl IntoIterator<Item = W>) -> ExitCode
where
    W: Into<OsString>,
{
    let cli = match Cli::read(words.into_iter().map(Into::into)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors too, of status 0. A closed pipe is the reader's business.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    ExitCode::from(execute(cli.command(), &Arc::new(registry)))
}

fn execute(command: Command, registry: &Arc<Registry>) -> u8 {
    let environment = std::env::vars_os();
    match command {
        Command::Serve(options) => {
            let inputs = options.inputs(environment);
            with_config(&inputs, registry, |config| serve::serve(config, &inputs, registry))
        }
        Command::Check { options, bind } => {
            with_config(&options.inputs(environment), registry, |config| check(config, registry, bind))
        }
        Command::Diff { options, against } => {
            let inputs = options.inputs(environment);
            with_config(&inputs, registry, |config| match config_diff::between(&config, against, &inputs, registry) {
                Ok(text) => say(text),
                Err(error) => complain(format_args!("error: {error}\n"), FAILED),
            })
        }
        Command::Schema => say(config::schema(registry)),
        Command::Completions(shell) => say(man::completions(shell)),
        Command::Man => match man::man_page() {
            Ok(page) => say(page),
            Err(error) => complain(format_args!("error: the page cannot be made: {error}\n"), FAILED),
        },
        Command::Config { options, shape } => {
            with_config(&options.inputs(environment), registry, |config| say(config.effective.print(shape)))
        }
        Command::List { json } => say(if json { list::json(registry) } else { list::text(registry) }),
        Command::Connect(options) => match connect::connect(&options) {
            Ok(status) => status,
            Err(error) => complain(format_args!("error: {error}\n"), FAILED),
        },
    }
}

/// A handler or layer may refuse its options only when it is made; so all are made, used or not. Nothing is bound unless that is
/// wanted.
fn check(config: Config, registry: &Registry, bind: bool) -> u8 {
    let diagnostics = assemble::refusals(&config, registry, None);
    if !diagnostics.is_empty() {
        return complain(diagnostics, CONFIG);
    }
    let file = config.file.as_ref().map_or("without a file".to_owned(), |file| file.display().to_string());
    let good = format!("{file}: the configuration is good\n{}\n", memory(&config));
    match if bind { serve::try_bind(config, registry) } else { Ok(()) } {
        Ok(()) => say(good + if bind { "every listener can be bound\n" } else { "" }),
        Err((error, status)) => complain(error, status),
    }
}

/// What the listeners may take, in a sentence.
fn memory(config: &Config) -> String {
    let (all, each) = assemble::max_memory(config);
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let each: Vec<_> = each.into_iter().map(|(name, bytes)| format!("{name} {}", size(bytes))).collect();
    format!("memory: at most {} ({}), and what handlers keep", size(all), each.join(", "))
}

fn with_config(inputs: &Inputs, registry: &Registry, then: impl FnOnce(Config) -> u8) -> u8 {
    match config::load(inputs, registry) {
        Ok(config) => then(config),
        Err(refused) => complain(assemble::all_faults(*refused, registry, None), CONFIG),
    }
}

/// Writes to standard output, and answers with the status. A reader that has gone away has what it wanted.
fn say(text: impl Display) -> u8 {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("error: standard output cannot be written: {error}\n"), FAILED)
        }
        _ => 0,
    }
}

/// Writes to standard error, and answers with the status.
fn complain(text: impl Display, status: u8) -> u8 {
    // In one piece: standard error is not buffered, and the log may write there at the same moment.
    let _ = io::stderr().lock().write_all(text.to_string().as_bytes());
    status
}

/// The README's Rust is compiled like every other example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So is the guide's.
#[cfg(doctest)]
#[doc = include_str!("../docs/handlers.md")]
struct Guide;
