//! The replies of the admin endpoint, as far as the commands use them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::Difference;

/// `GET /status`
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_seconds: f64,
    pub(super) phase: String,
    /// The evacuation in progress, or the last one.
    #[serde(default)]
    pub(super) evacuation: Option<Box<Evacuation>>,
    /// Absent in a server without fleets.
    #[serde(default)]
    pub(super) fleet: Option<Fleet>,
    pub(super) listeners: Vec<Listener>,
}

/// `POST /evacuate`, and the progress in `GET /status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Evacuation {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) share: f64,
    pub(super) rate: String,
    pub(super) listener: Option<String>,
    pub(super) source: Option<String>,
    pub(super) open: u64,
    pub(super) chosen: u64,
    pub(super) signalled: u64,
    pub(super) closed: u64,
    pub(super) remaining: u64,
    pub(super) seconds: f64,
}

/// `POST /evacuate?dry_run=true`
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct EvacuationPlan {
    pub(super) open: u64,
    pub(super) chosen: u64,
    pub(super) seconds: f64,
}

/// The fleet of a server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fleet {
    /// `shared` if leases apply.
    pub(super) state: String,
    pub(super) instances: u32,
    pub(super) error: Option<String>,
    /// What transports the frames of hubs, and the bans.
    #[serde(default)]
    pub(super) links: Vec<FleetLink>,
}

/// A link of a fleet.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FleetLink {
    pub(super) name: String,
    pub(super) connected: bool,
    pub(super) error: Option<String>,
}

/// `POST /drain?wait=true`
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Drained {
    pub(super) open: u64,
    pub(super) cut: u64,
    pub(super) stop_failures: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) problem: Option<String>,
    /// The certificate that expires first, of a listener with TLS.
    pub(super) certificate: Option<Certificate>,
    pub(super) open: u64,
    pub(super) sessions: u64,
    /// The limit of `open` and `sessions`.
    pub(super) max_open: u64,
    pub(super) accepted: u64,
    /// Connections that closed because of a failure.
    pub(super) errors: u64,
    pub(super) rejected: BTreeMap<String, u64>,
    /// Messages by outcome.
    pub(super) messages: BTreeMap<String, u64>,
    pub(super) message_seconds: Latency,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) not_after: i64,
    pub(super) seconds_left: f64,
}

/// The histogram of the time to reply to a message.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) within: Vec<Bucket>,
}

/// The messages that took at most `le` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Bucket {
    pub(super) le: f64,
    pub(super) count: u64,
}

impl Listener {
    /// Open connections, or datagram peers.
    pub(super) fn clients(&self) -> u64 {
        self.open + self.sessions
    }

    pub(super) fn all_messages(&self) -> u64 {
        self.messages.values().sum()
    }

    /// Messages with another outcome than `ok`.
    pub(super) fn failed(&self) -> u64 {
        self.messages.iter().filter(|(outcome, _)| *outcome != "ok").map(|(_, count)| count).sum()
    }

    pub(super) fn all_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// `GET /connections`
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Page {
    pub(super) connections: Vec<Connection>,
    pub(super) next: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) listener: String,
    pub(super) peer: String,
    pub(super) age_seconds: f64,
    pub(super) messages: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) state: String,
}

/// `GET /bans`
#[derive(Debug, Default, Deserialize)]
pub(super) struct BanPage {
    pub(super) bans: Vec<Ban>,
    pub(super) next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ban {
    pub(super) network: String,
    pub(super) reason: String,
    pub(super) origin: String,
    pub(super) times: u32,
    pub(super) age_seconds: f64,
    pub(super) seconds_left: f64,
}

/// `POST /bans` and `DELETE /bans/NETWORK`
#[derive(Debug, Deserialize)]
pub(super) struct ChangedBan {
    #[serde(flatten)]
    pub(super) ban: Ban,
    pub(super) exempt_listeners: Vec<String>,
    pub(super) file_error: Option<String>,
}

/// `POST /reload`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reloaded {
    pub(super) started: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) stopped: Vec<String>,
    pub(super) keys: Vec<Difference>,
    pub(super) errors: Vec<String>,
}
