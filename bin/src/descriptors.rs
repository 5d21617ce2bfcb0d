//! The limit of open files. It is raised at the start, and a part of it is reserved: connections cannot use the
//! reserve, so that the admin endpoint, files and reloads work however many clients connect.

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use switchboard::Kind;

use crate::config::Config;

/// File descriptors that belong neither to listeners nor to the reserve: standard streams, the runtime, files of
/// handlers.
const OWN_FILES: u64 = 64;
/// File descriptors per listener: the socket, and its duplicate for reload and upgrade.
const OF_LISTENER: u64 = 2;
/// The largest reserve. A quarter of a small limit is reserved.
const MAX_RESERVE: u64 = 256;

/// Raises the soft limit of open files to the hard limit.
pub(crate) fn raise_limit() -> nix::Result<()> {
    match getrlimit(Resource::RLIMIT_NOFILE)? {
        (soft, hard) if soft < hard => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        _ => Ok(()),
    }
}

/// Raises the limit, and warns if the configuration needs more than what is left for connections.
pub(crate) fn provide(config: &Config) {
    let needed = needed_files(config);
    if let Err(error) = raise_limit() {
        let error = error.desc();
        tracing::warn!(target: "switchboard", error, "the limit of open files cannot be raised");
    }
    let limit = current_limit();
    let (reserved, available) = (reserve(limit), limit - reserve(limit));
    if available < needed {
        tracing::warn!(
            target: "switchboard",
            needed,
            available,
            reserved,
            "limits.connections needs more file descriptors than are available; raise the limit (ulimit -n, LimitNOFILE=) or lower limits.connections"
        );
    }
}

/// Connections get only descriptors below this number.
pub(crate) fn limit_of_connections() -> Option<RawFd> {
    let limit = current_limit();
    RawFd::try_from(limit - reserve(limit)).ok()
}

/// The number of connections that the admin endpoint may hold: half of the reserve, at most `wanted`.
pub(crate) fn for_admin(wanted: usize) -> usize {
    let half = usize::try_from(reserve(current_limit()) / 2).unwrap_or(usize::MAX);
    wanted.min(half).max(1)
}

/// The soft limit. Without a readable limit, nothing is reserved.
pub(crate) fn current_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

fn reserve(limit: u64) -> u64 {
    (limit / 4).min(MAX_RESERVE)
}

fn needed_files(config: &Config) -> u64 {
    let needed = OWN_FILES + OF_LISTENER * config.listeners.len() as u64;
    let streams = config.listeners.values().filter(|listener| listener.kind == Kind::Stream);
    needed + streams.map(|listener| listener.spec.limits.connections as u64).sum::<u64>()
}

#[cfg(test)]
mod tests;
