//! The command line of `test`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use switchboard::Endpoint;
use switchboard::settings::Interval;

use crate::dial::TlsOptions;

const AFTER_HELP: &str = "\
A script has the bytes that the client sends (>) and that the server must send (<):

  switchboard script 1
  < \"welcome!\"
  > \"Ada\"
  < \"hello, Ada!\"

Exit status: 0 every script passed, 1 a script failed or the server cannot be reached, 2 wrong usage, 78 a script \
cannot be read or is invalid.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TestOptions {
    /// Files with conversation scripts
    #[arg(value_name = "SCRIPT", required = true, value_hint = ValueHint::FilePath)]
    pub(super) scripts: Vec<PathBuf>,
    /// Address of the server: tcp://127.0.0.1:9999, tls://HOST:PORT, udp://HOST:PORT, unix:/run/app.sock or
    /// unixgram:/run/app.sock
    #[arg(long, value_name = "ADDRESS")]
    pub(super) to: Endpoint,
    /// How long a step may take, if the script does not say it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = str::parse::<Interval>)]
    pub(super) timeout: Interval,
    /// Format of the report on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: ReportFormat,
    #[command(flatten)]
    pub(super) tls: TlsOptions,
}

/// The format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    /// Test Anything Protocol, version 13
    Tap,
    /// XML for CI systems
    Junit,
}
