//! Settings of a fleet: several instances that share limits through a server that speaks the protocol of Redis.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::define::settings;
use super::secret::Secret;
use super::text::{deserialize_optional_path, deserialize_text, quoted, text_option};
use super::units::Short;
use crate::address::HostPort;

settings! {
    /// A fleet: several instances of a server that share limits through a server that speaks the protocol of Redis.
    pub struct FleetSettings {
        /// Address of the server: redis://HOST:PORT, rediss://HOST:PORT (TLS) or redis+unix:/PATH. A number after
        /// another slash is the database: redis://HOST:PORT/1. redis-sentinel://HOST:PORT,HOST:PORT/NAME asks Redis
        /// Sentinel for the primary with this name. A user and a password have their own keys.
        #[schemars(with = "Option<Link>")]
        pub link: Option<Link> = None,
        /// Name of the fleet. Instances with the same name share limits, and the names of all keys begin with it.
        #[serde(deserialize_with = "name")]
        pub name: String = "switchboard".to_owned(),
        /// User of the server (ACL). Absent: the default user.
        #[schemars(example = &"switchboard")]
        pub username: Option<String> = None,
        /// Password of the user.
        #[serde(skip_serializing)]
        #[schemars(with = "Option<Secret>", example = "a-long-random-text")]
        pub password: Option<Secret> = None,
        /// File that contains the password, instead of `password`. It is read for each new connection.
        #[schemars(example = &"fleet.password")]
        #[serde(deserialize_with = "deserialize_optional_path")]
        pub password_file: Option<PathBuf> = None,
        /// CA certificates of the server (PEM), for rediss://. Absent: those of the system.
        #[schemars(example = &"ca.pem")]
        #[serde(deserialize_with = "deserialize_optional_path")]
        pub ca: Option<PathBuf> = None,
        /// The limits that all instances share. connections_per_source is the key of `limits` and that of `rate`;
        /// connections is limits.connections.
        pub limits: Vec<SharedLimit> = vec![SharedLimit::MessagesPerSource, SharedLimit::ConnectionsPerSource],
        /// Whether all instances share their bans.
        pub bans: bool = true,
        /// The time whose messages an instance may accept from a source before it asks the server: its slice. A
        /// shorter lease is more exact and needs more calls. Without an answer for one lease, an instance enforces its
        /// part of the limits: the limit divided by the number of instances.
        pub lease: Duration as "Short" = Duration::from_secs(1),
        /// Time to connect to the server, and for each call. Messages never wait for a call.
        pub timeout: Duration as "Short" = Duration::from_millis(500),
        /// Number of instances to assume until the server has been reached for the first time.
        #[schemars(range(min = 1, max = 1000))]
        pub instances: u32 = 1,
    }
}

/// A limit that the instances of a fleet can share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[non_exhaustive]
pub enum SharedLimit {
    /// `rate.messages_per_source`
    MessagesPerSource,
    /// `limits.connections_per_source` and `rate.connections_per_source`
    ConnectionsPerSource,
    /// `limits.connections`
    Connections,
}

/// The address of the server of a fleet: `redis://HOST:PORT`, `rediss://HOST:PORT`, `redis+unix:/PATH` or
/// `redis-sentinel://HOST:PORT,HOST:PORT/NAME`.
///
/// ```
/// use switchboard::settings::Link;
///
/// let link: Link = "redis://localhost".parse()?;
/// assert_eq!(link.to_string(), "redis://localhost:6379");
/// assert!("redis://user:secret@localhost".parse::<Link>().is_err());
/// # Ok::<(), switchboard::settings::LinkError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link(pub(crate) LinkAddress);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkAddress {
    Tcp {
        server: HostPort,
        is_tls: bool,
        database: u16,
    },
    Unix(PathBuf),
    /// The primary with this name, as one of the sentinels knows it.
    Sentinel {
        sentinels: Vec<HostPort>,
        primary: String,
    },
}

/// A text that is not a [`Link`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(String);

const LINK: &str = "the address of a server; write it like \"redis://127.0.0.1:6379\", \"rediss://redis.example:6379\" \
                    or \"redis+unix:/run/redis/redis.sock\"";
const SENTINEL: &str = "the address of Redis Sentinel; write it like \"redis-sentinel://one:26379,two:26379/mymaster\"";
/// The port of Redis.
const DEFAULT_PORT: u16 = 6379;
/// The port of Redis Sentinel.
const SENTINEL_PORT: u16 = 26379;

text_option!(Link, LINK, "redis://127.0.0.1:6379");

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.contains('@') {
            let own_keys = "set fleet.username, and fleet.password or fleet.password_file, instead";
            return Err(LinkError(format!("the value (not shown) contains a user or a password; {own_keys}")));
        }
        parse(text).map(Self).map_err(|reason| LinkError(format!("{} is not {reason}", quoted(text))))
    }
}

fn parse(text: &str) -> Result<LinkAddress, String> {
    if let Some(path) = text.strip_prefix("redis+unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let is_path = path.starts_with('/') && path.len() > 1 && !path.contains(['\0', '\n', '?']);
        return is_path.then(|| LinkAddress::Unix(path.into())).ok_or_else(|| LINK.to_owned());
    }
    if let Some(rest) = text.strip_prefix("redis-sentinel://") {
        let (sentinels, primary) = rest.split_once('/').ok_or(SENTINEL)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if primary.is_empty() || !primary.chars().all(is_plain) {
            return Err(SENTINEL.to_owned());
        }
        let sentinels = sentinels.split(',').map(|sentinel| server(sentinel, SENTINEL_PORT, SENTINEL));
        return Ok(LinkAddress::Sentinel {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            primary: primary.to_owned(),
        });
    }
    let plain = text.strip_prefix("redis://").map(|rest| (rest, false));
    let (rest, is_tls) = plain.or(text.strip_prefix("rediss://").map(|rest| (rest, true))).ok_or(LINK)?;
    let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
    let number = if database.is_empty() { Ok(0) } else { database.parse() };
    let database = number.map_err(|_| format!("{LINK}: {database:?} is not the number of a database"))?;
    server(address, DEFAULT_PORT, LINK).map(|server| LinkAddress::Tcp { server, is_tls, database })
}

/// A host with a port, or with the default one. `what` describes the whole text.
fn server(text: &str, default_port: u16, what: &str) -> Result<HostPort, String> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let server = if has_port { text.to_owned() } else { format!("{text}:{default_port}") };
    let is_named = !server.starts_with(':');
    let server = is_named.then(|| HostPort::parse(&server)).ok_or(what)?;
    match server.map_err(|reason| format!("the address of a server: {reason}"))? {
        HostPort { port: 0, .. } => Err("the address of a server: port 0 cannot be connected to".to_owned()),
        server => Ok(server),
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            LinkAddress::Tcp { server, is_tls, database } => {
                write!(f, "{}://{server}", if *is_tls { "rediss" } else { "redis" })?;
                if *database > 0 { write!(f, "/{database}") } else { Ok(()) }
            }
            LinkAddress::Unix(path) => write!(f, "redis+unix:{}", path.display()),
            LinkAddress::Sentinel { sentinels, primary } => {
                let sentinels: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
                write!(f, "redis-sentinel://{}/{primary}", sentinels.join(","))
            }
        }
    }
}

/// Names are parts of keys: `{NAME}:instances`.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let what = "the name of a fleet; write it in quotes, like \"switchboard\"";
    deserialize_text(deserializer, what, |text| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match (1..=64).contains(&text.len()) && text.chars().all(is_plain) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "{} is not the name of a fleet; it has 1 to 64 letters, digits, \"_\", \"-\" and \".\"",
                quoted(text)
            )),
        }
    })
}

#[cfg(test)]
mod tests;
