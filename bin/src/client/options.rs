//! The command line of the commands for a running server.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use switchboard::Endpoint;
use switchboard::settings::{Interval, InvalidValue, Network, Rate};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Show the state and the counters of the running server and its listeners
    Status(ServerOptions),
    /// List the open connections of the running server, the oldest first, or close some
    Connections(ConnectionsOptions),
    /// Ban clients of the running server, list the bans, or remove one
    Ban(BanOptions),
    /// Reload the configuration of the running server and print what has changed
    Reload {
        #[command(flatten)]
        server: ServerOptions,
        /// Apply the configuration even if it keeps none of the current listeners
        #[arg(long)]
        force: bool,
    },
    /// Drain the running server (graceful shutdown) and wait until it has stopped
    Drain {
        #[command(flatten)]
        server: ServerOptions,
        /// Return when the drain has begun
        #[arg(long)]
        no_wait: bool,
    },
    /// Close a share of the open connections of the running server gracefully, and wait until they have closed
    Evacuate(EvacuateOptions),
    /// Print or set the log level of the running server
    LogLevel {
        /// New level, or a filter such as info,switchboard=debug
        #[arg(value_name = "LEVEL")]
        level: Option<String>,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Print the messages of a connection of the running server as they arrive, as a conversation script
    Tap(TapOptions),
    /// Show load, latency and connections of the running server, updated continuously
    Top(TopOptions),
}

impl ClientCommand {
    pub(super) fn server(&self) -> &ServerOptions {
        match self {
            Self::Status(server)
            | Self::Connections(ConnectionsOptions { server, .. })
            | Self::Ban(BanOptions { server, .. })
            | Self::Reload { server, .. }
            | Self::Drain { server, .. }
            | Self::Evacuate(EvacuateOptions { server, .. })
            | Self::LogLevel { server, .. }
            | Self::Tap(TapOptions { server, .. })
            | Self::Top(TopOptions { server, .. }) => server,
        }
    }
}

/// The admin endpoint to use.
#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    /// Configuration file (.toml, .json or .yaml); its [admin] section names the admin endpoint
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) endpoint: EndpointOptions,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// An admin endpoint that the configuration does not name.
#[derive(Debug, Args)]
pub(crate) struct EndpointOptions {
    /// Address of the admin endpoint, such as tcp://127.0.0.1:9900 or unix:/run/switchboard/admin.sock; default:
    /// admin.listen of the configuration
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<Endpoint>,
    /// File with the token of the admin endpoint; default: the token of the configuration, or SWITCHBOARD_ADMIN__TOKEN
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("selection").multiple(true))]
pub(crate) struct ConnectionsOptions {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    /// Close the connections with these ids instead of listing
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with_all = ["listener", "peer", "limit"])]
    pub(super) kill: Vec<u64>,
    /// Close every connection of --listener, --peer or both instead of listing
    #[arg(long, requires = "selection", conflicts_with_all = ["kill", "limit"])]
    pub(super) kill_all: bool,
    /// Only connections of this listener
    #[arg(long, value_name = "NAME", group = "selection")]
    pub(super) listener: Option<String>,
    /// Only clients of this network or address, such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1
    #[arg(long, value_name = "NETWORK", value_parser = parse_peer, group = "selection")]
    pub(super) peer: Option<String>,
    /// Maximum number of connections to list
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct EvacuateOptions {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    /// Share of the connections to close, above 0 and at most 1, such as 0.3
    #[arg(long, value_name = "SHARE", value_parser = parse_share, required_unless_present = "cancel")]
    pub(super) share: Option<f64>,
    /// How many connections to close in a time, such as 200/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate, required_unless_present = "cancel")]
    pub(super) rate: Option<Rate>,
    /// Only connections of this listener
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Only clients of this network or address, such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1
    #[arg(long, value_name = "NETWORK")]
    pub(super) source: Option<Network>,
    /// Return when the evacuation has begun
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Close nothing, and print how many connections would be closed
    #[arg(long, conflicts_with = "no_wait")]
    pub(super) dry_run: bool,
    /// Cancel the evacuation in progress instead; connections that it has signalled close
    #[arg(long, conflicts_with_all = ["share", "rate", "listener", "source", "no_wait", "dry_run"])]
    pub(super) cancel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BanOptions {
    /// Network or address to ban, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::1 (an IPv6 address bans its /64)
    #[arg(value_name = "NETWORK", required_unless_present_any = ["list", "remove"])]
    pub(super) network: Option<Network>,
    /// Duration of the ban; default: bans.term of the server, which is 1h by default
    #[arg(long = "for", value_name = "DURATION", requires = "network")]
    pub(super) duration: Option<Interval>,
    /// Reason, for the list and the log
    #[arg(long, value_name = "TEXT", requires = "network")]
    pub(super) reason: Option<String>,
    /// List the bans
    #[arg(long, conflicts_with_all = ["network", "remove"])]
    pub(super) list: bool,
    /// Remove the ban of this network, and forget the strikes of its clients
    #[arg(long, value_name = "NETWORK", conflicts_with = "network")]
    pub(super) remove: Option<Network>,
    /// Who bans: operator (default) or fail2ban; with --remove: only a ban with this origin
    #[arg(long, value_name = "ORIGIN", conflicts_with = "list", value_parser = ["operator", "fail2ban", "strikes"])]
    pub(super) origin: Option<String>,
    #[command(flatten)]
    pub(super) server: ServerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct TapOptions {
    /// Id of the connection, as `switchboard connections` lists it
    #[arg(value_name = "ID")]
    pub(super) id: u64,
    /// How long, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = str::parse::<Interval>)]
    pub(super) duration: Interval,
    #[command(flatten)]
    pub(super) server: ServerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    /// Time between two samples
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    pub(super) interval: Interval,
    /// With --json: end after this number of samples
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
}

/// A network must be valid. Other texts are compared with the printed address of a peer.
fn parse_peer(text: &str) -> Result<String, String> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    if address.parse::<IpAddr>().is_ok() {
        text.parse::<Network>().map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "the share must be above 0 and at most 1".to_owned())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate: Rate = text.parse().map_err(|error: InvalidValue| error.to_string())?;
    if rate.is_off() { Err("the rate must be above zero".to_owned()) } else { Ok(rate) }
}

fn parse_interval(text: &str) -> Result<Interval, String> {
    let interval: Interval = text.parse().map_err(|error: InvalidValue| error.to_string())?;
    if !(100..=3_600_000).contains(&interval.as_millis()) {
        return Err("the interval must be 100ms to 1h".to_owned());
    }
    Ok(interval)
}
