//! The command line, with the names of the registry in its help. Flags set configuration keys; `config` parses them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use switchboard::Registry;
use switchboard::settings::text::escape_unsafe;

use crate::bench::BenchOptions;
use crate::client::{ClientCommand, EndpointOptions};
use crate::config::{self, Inputs, Origin};
use crate::connect::ConnectOptions;
use crate::init::Init;
use crate::pcap::PcapOptions;
use crate::replay::ReplayOptions;
use crate::script_test::TestOptions;

const AFTER_HELP: &str = "\
If no command is given, `serve` is assumed.

Configuration: defaults < file < environment < flags. The file is --config, else $SWITCHBOARD_CONFIG, else \
./switchboard.toml, else /etc/switchboard/switchboard.toml. The key listeners.main.listen is \
SWITCHBOARD_LISTENERS__MAIN__LISTEN in the environment, and --set listeners.main.listen=… as a flag.

Exit status: 0 stopped cleanly, 1 could not start or failed, the running server rejected a command or cannot be reached, or config diff found a difference, 2 wrong usage, 3 connections were aborted or a handler's stop failed, 78 invalid configuration.";

/// A server for custom TCP, UDP, TLS and Unix-socket protocols
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server (default command)
    Serve(Options),
    /// Check the configuration and report every problem; bind nothing
    Check {
        #[command(flatten)]
        options: Options,
        /// Also try to bind every address, which fails while a server is running on it
        #[arg(long)]
        bind: bool,
        /// Output format; json prints one document, also for an invalid configuration
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: CheckFormat,
    },
    /// Print the effective configuration as TOML that can be read again
    #[command(args_conflicts_with_subcommands = true)]
    Config {
        #[command(subcommand)]
        command: Option<ConfigCommand>,
        #[command(flatten)]
        options: Options,
        /// Show the origin of each value as a comment
        #[arg(long, conflicts_with = "format")]
        origin: bool,
        /// Output format
        #[arg(long, value_name = "FORMAT", default_value = "toml")]
        format: OutputFormat,
    },
    /// List the handlers, transports, framings and layers of this build, with their options
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Client(ClientCommand),
    /// Print a commented configuration, or write it to a file
    Init(InitOptions),
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Generate shell completions
    Completions {
        /// Name of the shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Connect to a server, send each line of standard input as a message and print the replies
    Connect(ConnectOptions),
    /// Send messages to a server and measure the latency of its replies
    Bench(BenchOptions),
    /// Play conversation scripts against a server, and report the first byte that differs
    Test(TestOptions),
    /// Play recorded conversations against the configured handler, and report which reply differs
    Replay {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        replay: ReplayOptions,
    },
    /// Write recorded conversations as a capture file for Wireshark
    Pcap(PcapOptions),
}

impl Command {
    /// The flags that locate the configuration or set its keys.
    fn options(&self) -> Option<&Options> {
        match self {
            Self::Config { command: Some(ConfigCommand::Diff { options, .. }), .. }
            | Self::Config { options, .. }
            | Self::Serve(options)
            | Self::Replay { options, .. }
            | Self::Check { options, .. } => Some(options),
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show what a reload of the running server would change
    Diff {
        #[command(flatten)]
        options: Options,
        /// Compare with this file instead of the running server
        #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "token_file"])]
        against: Option<PathBuf>,
        #[command(flatten)]
        endpoint: EndpointOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CheckFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OutputFormat {
    Toml,
    Json,
}

/// Flags that locate the configuration or set its keys. [`Cli::command_with`] adds the help of some.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file (.toml, .json or .yaml)
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    #[arg(long, value_name = "NAME")]
    framing: Option<String>,
    /// Set any key by its path, such as listeners.main.limits.frame=1MiB; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Log level, or a filter such as info,switchboard=debug; RUST_LOG takes precedence
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log format: auto, text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// File to write, such as switchboard.toml; without it, the configuration is printed
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same as FILE
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    output: Option<PathBuf>,
    /// Replace the configuration if it exists; a key or certificate is never replaced
    #[arg(long)]
    force: bool,
    /// Listen with TLS, and create a self-signed cert.pem and its key.pem, for trials only
    #[arg(long)]
    tls: bool,
}

impl From<InitOptions> for Init {
    fn from(InitOptions { file, output, force, tls }: InitOptions) -> Self {
        Self { file: file.or(output), is_forced: force, tls }
    }
}

impl Cli {
    /// The definition of the command line. Its help lists what the registry contains.
    pub(crate) fn command_with(registry: &Registry) -> clap::Command {
        names::with_names(Self::command(), registry)
    }

    pub(crate) fn read(args: impl IntoIterator<Item = OsString>, registry: &Registry) -> Result<Command, clap::Error> {
        let mut command = Self::command_with(registry);
        let matches = command.try_get_matches_from_mut(args);
        let cli = matches.and_then(|matches| Self::from_arg_matches(&matches)).map_err(without_values);
        let cli = cli.map_err(|error| match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(arg)) if error.kind() == ErrorKind::UnknownArgument && arg == "-v" => {
                let what = "-v is not an option; a more detailed log: --log-level debug; the version: -V or --version";
                command.error(ErrorKind::UnknownArgument, what)
            }
            _ => error,
        })?;
        let command_line = cli.command.unwrap_or(Command::Serve(cli.options));
        if command_line.options().is_some_and(|options| options.set.iter().any(|set| key_value(set).is_none())) {
            let error =
                "--set needs KEY=VALUE, such as --set listeners.main.limits.frame=1MiB; one has no \"=\" or no key";
            return Err(command.error(ErrorKind::ValueValidation, error));
        }
        Ok(command_line)
    }
}

impl Options {
    pub(crate) fn inputs(self, environment: impl Iterator<Item = (OsString, OsString)>) -> Inputs {
        let named = [
            ("--listen", "listen", self.listen),
            ("--handler", "handler", self.handler),
            ("--framing", "framing", self.framing),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let named = named.into_iter().filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)));
        // Cli::read has rejected the others.
        let set = self.set.iter().filter_map(|set| key_value(set));
        let set = set.map(|(key, value)| (format!("--set {key}"), key, value));
        Inputs {
            file_origin: self.config.as_ref().map(|_| Origin::new("flag --config")),
            file: self.config,
            text: None,
            search: config::DEFAULT_FILES.iter().map(PathBuf::from).collect(),
            environment: environment.collect(),
            flags: named.chain(set).collect(),
        }
    }
}

/// An error does not show the argument, which may be a secret: `admin.token: SECRET`.
fn key_value(text: &str) -> Option<(String, String)> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    // Every second part is in quotes.
    let parts: Vec<&str> = key.split('"').collect();
    let is_quoted = |nth: usize| nth % 2 == 1;
    let is_valid = |(nth, part): (usize, &&str)| match is_quoted(nth) {
        true => !part.contains(char::is_control),
        false => part.chars().all(is_part),
    };
    let is_key = !key.is_empty() && !is_quoted(parts.len() - 1) && parts.iter().enumerate().all(is_valid);
    is_key.then(|| (key.to_owned(), value.to_owned()))
}

/// Hides the part after `=` of an argument that clap quotes: `admin.token=SECRET` without `--set`. Escapes the rest.
fn without_values(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = text.clone();
            let shown = match text.split_once('=') {
                Some((name, _)) => format!("{name}=…"),
                None => text.clone(),
            };
            let shown = ContextValue::String(escape_unsafe(&shown, |_| false));
            if text.contains('=') {
                // The suggested corrections quote the argument, too.
                error.remove(ContextKind::Suggested);
            }
            error.insert(kind, shown);
        }
    }
    error
}

mod names;
#[cfg(test)]
mod tests;
