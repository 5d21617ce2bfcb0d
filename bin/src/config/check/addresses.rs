//! Checks that no two listeners need the same port, path or name. The admin endpoint counts as a listener.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use switchboard::Endpoint;
use switchboard::address::HostPort;

use super::config::Check;
use crate::config::tree;

struct Used<'a> {
    key: tree::Path,
    endpoint: &'a Endpoint,
    /// Sockets that all have this option may have the same port (socket(7)).
    reuse_port: bool,
    is_admin: bool,
}

impl Check<'_> {
    pub(super) fn addresses(&mut self) {
        let file = self.file;
        // The names of listeners contain no dots.
        let listeners = file.listeners.iter().filter_map(|(name, one)| {
            let key = tree::path(&format!("listeners.{name}.listen"));
            Some(Used { key, endpoint: one.listen.as_ref()?, reuse_port: one.socket.reuse_port, is_admin: false })
        });
        let admin = file.admin.iter().filter_map(|admin| {
            let key = tree::path("admin.listen");
            Some(Used { key, endpoint: admin.listen.as_ref()?, reuse_port: false, is_admin: true })
        });
        let mut taken: Vec<Used<'_>> = Vec::new();
        for used in listeners.chain(admin) {
            if self.report.is_invalid(&used.key) {
                continue;
            }
            let conflict = taken.iter().find_map(|other| Some((other, conflict(other, &used)?)));
            if let Some((other, conflict)) = conflict {
                let what = format!("\"{}\" {conflict} {}", used.endpoint, tree::dotted(&other.key[..2]));
                let what =
                    if other.endpoint == used.endpoint { what } else { format!("{what}, \"{}\"", other.endpoint) };
                self.reject(&used.key, what);
            }
            taken.push(used);
        }
    }
}

/// The relation of two addresses that cannot be bound at the same time.
fn conflict(one: &Used<'_>, other: &Used<'_>) -> Option<&'static str> {
    const USED: &str = "is already used by";
    if let (Some((is_udp, first)), Some((is_also_udp, second))) = (network(one.endpoint), network(other.endpoint)) {
        if first.port != second.port || first.port == 0 || is_udp != is_also_udp {
            return None;
        }
        let ip = |at: &HostPort| at.host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let (Some(first_ip), Some(second_ip)) = (ip(first), ip(second)) else {
            return first.host.eq_ignore_ascii_case(&second.host).then_some(USED);
        };
        if first_ip == second_ip {
            return (first == second || !(one.reuse_port && other.reuse_port)).then_some(USED);
        }
        // An IPv6 wildcard socket also receives IPv4 (ipv6(7)).
        let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
        let overlap = covers(first_ip, second_ip) || covers(second_ip, first_ip);
        // The server binds the IPv4 wildcard address beside the IPv6 one.
        let are_wildcards = first_ip.is_unspecified() && second_ip.is_unspecified();
        let may = (one.reuse_port && other.reuse_port) || (are_wildcards && !one.is_admin && !other.is_admin);
        return (overlap && !may).then_some("has the same port as the address, or as all addresses, of");
    }
    let is_same = match (unix_path(one.endpoint), unix_path(other.endpoint)) {
        (Some(first), Some(second)) if is_abstract(first) || is_abstract(second) => one.endpoint == other.endpoint,
        (Some(first), Some(second)) => place(first) == place(second),
        _ => one.endpoint == other.endpoint,
    };
    is_same.then_some(USED)
}

/// Whether the protocol is UDP, and the host and port.
fn network(endpoint: &Endpoint) -> Option<(bool, &HostPort)> {
    match endpoint {
        Endpoint::Tcp(at) | Endpoint::Tls(at) => Some((false, at)),
        Endpoint::Udp(at) => Some((true, at)),
        _ => None,
    }
}

fn unix_path(endpoint: &Endpoint) -> Option<&Path> {
    match endpoint {
        Endpoint::Unix(path) | Endpoint::Unixgram(path) => Some(path),
        _ => None,
    }
}

/// Names of stream and datagram sockets in the abstract namespace are separate (unix(7)).
fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&0)
}

/// The absolute path of a file that may not exist, with the symbolic links of its directory resolved.
fn place(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent().and_then(|parent| parent.canonicalize().ok()), absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}
