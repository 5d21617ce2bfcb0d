//! The command line of `replay`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use switchboard::Endpoint;
use switchboard::settings::Interval;

use crate::dial::TlsOptions;

const AFTER_HELP: &str = "\
The flight recorder writes the files: section [recorder] of the configuration. A file is played against the handler of \
the listener that recorded it, in this process and in paused time. It fails if a reply differs, or if the handler \
panics, returns an error or is too slow.

Exit status: 0 every file passed, 1 a file failed, 2 wrong usage, 78 a file or the configuration is invalid.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReplayOptions {
    /// Files with recorded conversations
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(super) files: Vec<PathBuf>,
    /// Play against a running server instead, such as tcp://127.0.0.1:9999; pauses are left out
    #[arg(long, value_name = "ADDRESS", conflicts_with = "minimise")]
    pub(super) to: Option<Endpoint>,
    /// With --to: how long a step may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = str::parse::<Interval>)]
    pub(super) timeout: Interval,
    /// Listener whose handler is used; default: the one that the file names. With --to: its handler normalises the
    /// replies; default: they are compared as they are
    #[arg(long = "listener", value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Print the shortest conversation that makes the handler fail in the same way
    #[arg(long)]
    pub(super) minimise: bool,
    /// With --minimise: print a Rust test
    #[arg(long, requires = "minimise")]
    pub(super) as_test: bool,
    #[command(flatten)]
    pub(super) tls: TlsOptions,
}
