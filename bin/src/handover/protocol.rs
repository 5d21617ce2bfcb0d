//! The protocol between the old and the new process of an upgrade.
//!
//! They share a stream socket. The old process sends a [`SocketList`] as one line of JSON. The new process replies
//! [`READY`] when its listeners are bound. The old process sends [`COMMIT`] if the new one is still running a few
//! seconds later; before that, it can still abort the upgrade by killing the new process. Then the new process accepts
//! connections, and the old one drains.
//!
//! After the commit, the old process sends a [`CountsMessage`] per line until it ends. An older version closes the
//! stream instead, on either side.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use switchboard::metrics::Counts;
use switchboard::server::Inherited;
use switchboard::transport::SharedSocket;

use crate::admin::HistoryPart;

/// The name of the stream, which is the first passed descriptor.
pub(super) const STREAM: &str = "switchboard-upgrade";
/// Sent by the new process.
pub(super) const READY: &str = "ready";
/// Sent by the old process.
pub(super) const COMMIT: &str = "commit";
/// The number of the first passed descriptor, SD_LISTEN_FDS_START of sd_listen_fds(3).
pub(super) const FIRST_DESCRIPTOR: i32 = 3;
/// Maximum size of the list of sockets, the longest line.
pub(super) const MAX_LIST: usize = 4 << 20;
/// Maximum size of a reply of either process.
pub(super) const MAX_REPLY: usize = 256;

/// The version of [`CountsMessage`]. A process ignores the counts of another version.
pub(super) const COUNTS_VERSION: u32 = 1;
/// Maximum size of a line with the counters of a listener or metric, or with a part of the history.
pub(super) const MAX_COUNTS: usize = 64 << 10;

/// What the old process sends after the commit. A process ignores lines that it does not know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CountsMessage {
    /// The first line.
    Version(u32),
    /// The counts of a listener or series so far. Those that have not changed since the last line are not repeated.
    Counts(Counts),
    /// Rows of the history of the dashboard.
    History(HistoryPart),
    /// The old process has sent all counts and rows, and its admin endpoint does not show counts any more.
    HandedOver,
    /// The old process has sent its last counts.
    Ended,
}

/// Describes the passed sockets, in the order of their descriptors.
pub(super) type SocketList = Vec<PassedSocket>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PassedSocket {
    /// Passed by the service manager under this name.
    Systemd(String),
    Listener(ListenerSocket),
    Admin(ListenerSocket),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerSocket {
    name: String,
    endpoint: String,
    address: String,
    owns_path: bool,
    /// The device and inode number of the path. Absent in the list of an older version.
    #[serde(default)]
    file: Option<(u64, u64)>,
}

impl ListenerSocket {
    pub(super) fn new(inherited: &Inherited) -> Self {
        let Inherited { listener, endpoint, address, owns_path, file, .. } = inherited;
        let (endpoint, address) = (endpoint.to_string(), address.to_string());
        Self { name: listener.clone(), endpoint, address, owns_path: *owns_path, file: *file }
    }

    /// `None` for an address that this version cannot parse. The listener then fails to parse it, too, and reports it.
    pub(super) fn inherited(self, fd: OwnedFd) -> Option<Inherited> {
        let (endpoint, address) = (self.endpoint.parse().ok()?, self.address.parse().ok()?);
        let mut inherited = Inherited::new(self.name, endpoint, address, SharedSocket::new(fd));
        (inherited.owns_path, inherited.file) = (self.owns_path, self.file);
        Some(inherited)
    }
}
