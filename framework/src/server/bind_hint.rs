//! What an operator can do about an address that cannot be bound.

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::geteuid;

use crate::address::Endpoint;
use crate::server::socket_owner::{Owner, find_owner};
use crate::settings::file::current_user;

/// The first port that needs no privilege, if the system does not say it (ip(7)).
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// A sentence for the error message. It is missing if the error itself is enough.
pub(super) async fn hint(endpoint: &Endpoint, error: &(dyn Error + Send + Sync + 'static)) -> Option<String> {
    let error = error.downcast_ref::<io::Error>()?;
    let (kind, is_of_system, endpoint) = (error.kind(), error.raw_os_error().is_some(), endpoint.clone());
    if kind != ErrorKind::AddrInUse && !is_of_system {
        return None;
    }
    // Reads files of /proc and the table of users.
    tokio::task::spawn_blocking(move || of(&endpoint, kind)).await.ok().flatten()
}

fn of(endpoint: &Endpoint, kind: ErrorKind) -> Option<String> {
    match (endpoint, kind) {
        (_, ErrorKind::AddrInUse) => find_owner(endpoint).map(|owner| in_use(endpoint, &owner)),
        (Endpoint::Unix(path) | Endpoint::Unixgram(path), _) => unix_path(path, kind),
        (_, ErrorKind::PermissionDenied) => {
            let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
            let first = first.and_then(|text| text.trim().parse().ok()).unwrap_or(FIRST_UNPRIVILEGED_PORT);
            privileged_port(endpoint.port()?, first)
        }
        (_, ErrorKind::AddrNotAvailable) => {
            let ip = endpoint.socket_addr()?.ip();
            let all = if ip.is_ipv6() { "[::]" } else { "0.0.0.0" };
            Some(format!("no interface of this machine has the address {ip}; see `ip address`, or listen on {all}"))
        }
        _ => None,
    }
}

fn in_use(endpoint: &Endpoint, owner: &Owner) -> String {
    match owner {
        Owner::Process { id, .. } if *id == std::process::id() => "this process itself uses it".to_owned(),
        Owner::Process { id, command } => format!("process {id} ({command}) uses it"),
        Owner::Unreadable(uid) => {
            let option = match endpoint {
                Endpoint::Unix(_) | Endpoint::Unixgram(_) => "-lxp",
                Endpoint::Udp(_) => "-lunp",
                _ => "-ltnp",
            };
            let user = match uid {
                // For example a process of another PID namespace.
                Some(uid) if *uid == geteuid().as_raw() => "a process that cannot be seen from here".to_owned(),
                Some(uid) => format!("a process of another user (uid {uid})"),
                None => "a process of another user".to_owned(),
            };
            format!("{user} uses it; `sudo ss {option}` shows which one")
        }
    }
}

fn privileged_port(port: u16, first_unprivileged: u16) -> Option<String> {
    (port < first_unprivileged).then(|| {
        format!(
            "ports below {first_unprivileged} need a privilege: add AmbientCapabilities=CAP_NET_BIND_SERVICE to the \
             unit, take the socket from the service manager (listen = \"systemd:NAME\"), or lower the sysctl \
             net.ipv4.ip_unprivileged_port_start"
        )
    })
}

fn unix_path(path: &Path, kind: ErrorKind) -> Option<String> {
    if path.as_os_str().as_bytes().first() == Some(&0) {
        return None; // an abstract name
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = parent.display();
    match kind {
        ErrorKind::NotFound if parent.starts_with("/run") => Some(format!(
            "the directory {name} does not exist; create it, with RuntimeDirectory= if the server is a systemd unit"
        )),
        ErrorKind::NotFound => Some(format!("the directory {name} does not exist; create it")),
        ErrorKind::NotADirectory => Some(format!("{name} is not a directory")),
        ErrorKind::PermissionDenied => Some(format!("{} cannot create files in the directory {name}", current_user())),
        ErrorKind::ReadOnlyFilesystem => Some(format!("the file system of {name} is read-only")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
