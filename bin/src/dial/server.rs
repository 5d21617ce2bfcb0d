//! The server to connect to: its address, and the addresses of its host.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use switchboard::Endpoint;
use switchboard::address::HostPort;
use tokio::net::lookup_host;

use super::tls::{TlsClient, TlsOptions};
use crate::exit;
use crate::failure::Failure;

/// Timeout of a connection attempt to one address, and of a TLS handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The server to connect to.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Endpoint,
    pub(crate) tls: Option<TlsClient>,
    /// The addresses of the host; empty for a path.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Server {
    /// Reads the files of the TLS options. Flags for TLS with another address are wrong usage.
    pub(crate) fn new(address: Endpoint, options: &TlsOptions) -> Result<Self, Failure> {
        let tls = match (&address, options.first_flag()) {
            (Endpoint::Tls(at), _) => Some(TlsClient::new(options, &at.host).map_err(Failure::new)?),
            (_, None) => None,
            (_, Some(flag)) => {
                return Err(Failure::usage(format_args!(
                    "{flag} needs a tls:// address, and the address is {address}"
                )));
            }
        };
        let supported = "use tcp, tls, udp, unix or unixgram";
        let reason = match &address {
            Endpoint::Systemd(name) => {
                format!(
                    "{name:?} is only known to its server; use the address of the socket (systemctl status shows it)"
                )
            }
            Endpoint::Memory(_) => format!("mem:// works only inside one process; {supported}"),
            Endpoint::Other { scheme, .. } => format!("unsupported transport {scheme:?}; {supported}"),
            _ => return Ok(Self { address, tls, addresses: Vec::new() }),
        };
        Err(Failure::new(format_args!("cannot connect to {address}: {reason}")))
    }

    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self.address, Endpoint::Udp(_) | Endpoint::Unixgram(_))
    }

    /// Looks up the addresses of the host.
    pub(crate) async fn resolve(&mut self) -> Result<(), String> {
        let (Endpoint::Tcp(at) | Endpoint::Tls(at) | Endpoint::Udp(at)) = &self.address else { return Ok(()) };
        let HostPort { host, port, .. } = at;
        let found = lookup_host((host.as_str(), *port)).await;
        let found =
            found.map_err(|error| self.failed(format_args!("no address of {host:?}: {}", exit::reason(&error))))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(self.failed(format_args!("the host {host:?} has no address")));
        }
        self.addresses = addresses;
        Ok(())
    }

    /// Uses this address first from now on.
    pub(crate) fn prefer(&mut self, address: SocketAddr) {
        self.addresses.sort_by_key(|other| *other != address);
    }

    /// A sentence about an attempt to connect.
    pub(super) fn failed(&self, reason: impl std::fmt::Display) -> String {
        format!("cannot connect to {}: {reason}", self.address)
    }

    /// The reasons of the failed attempts. A single address is not repeated.
    pub(super) fn all_failed(&self, failures: &[(SocketAddr, String)]) -> String {
        match failures {
            [(_, reason)] => self.failed(reason),
            several => {
                let reasons: Vec<_> = several.iter().map(|(at, reason)| format!("{at}: {reason}")).collect();
                self.failed(reasons.join("; "))
            }
        }
    }
}

/// The reason of a failed attempt to connect.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{} (no server is listening there)", exit::reason(error)),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} (no local port is free; closed connections keep theirs for a minute)", exit::reason(error))
        }
        _ => exit::reason(error),
    }
}
