//! The command line of `connect`.

use clap::Args;
use switchboard::settings::Interval;
use switchboard::{Endpoint, Registry};

use super::session::Target;
use crate::config;
use crate::dial::{Server, TlsOptions};
use crate::failure::Failure;

const AFTER_HELP: &str = "\
Without --framing, a session on a terminal has the framing lines, and any other one has none (raw). With raw, the line \
ends are not sent: a server that reads lines waits for one, so use --framing lines.

Exit status: 0 the server closed the connection or the input ended, 1 cannot connect, the connection failed or a line \
was not sent, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ConnectOptions {
    /// Address of the server: tcp://127.0.0.1:9999, tls://HOST:PORT, udp://HOST:PORT, unix:/run/app.sock or
    /// unixgram:/run/app.sock
    #[arg(value_name = "ADDRESS")]
    address: Endpoint,
    #[arg(long, value_name = "NAME")]
    framing: Option<String>,
    /// After end of input, exit once the server has been silent for this long
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = str::parse::<Interval>)]
    wait: Interval,
    /// Print each reply as a hex dump; on a terminal, this is the default for replies that are not text
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    tls: TlsOptions,
}

impl ConnectOptions {
    /// The framing can be any of the registry. Its default on a terminal is `lines`.
    pub(super) fn target(self, registry: &Registry, is_terminal: bool) -> Result<Target, Failure> {
        let default = if is_terminal { "lines" } else { "raw" };
        let framing = config::read_framing(self.framing.as_deref().unwrap_or(default), registry)
            .map_err(|error| Failure::usage(format_args!("invalid value for '--framing <NAME>': {error}")))?;
        Ok(Target {
            server: Server::new(self.address, &self.tls)?,
            framing,
            wait: *self.wait,
            hex: self.hex,
            prints_parts: is_terminal && self.framing.is_none(),
        })
    }
}

#[cfg(test)]
mod tests;
