//! What the task of a fleet asks the server for, and the limits that need it.

use std::time::Duration;

use crate::address::Source;

/// A limit of one listener that the instances of a fleet share. It decides locally at any time; the task of the fleet
/// renews what it may allow.
pub(crate) trait Lease: Send + Sync {
    /// Removes at most `most` requests that are due. A request for an idle source is due only in an `idle_turn`.
    fn due(&self, most: usize, idle_turn: bool) -> Vec<Request>;

    /// The answer to a request: how many messages or connections are granted, or `None` if there is no answer.
    fn answer(&self, request: &Request, granted: Option<u32>);

    /// Sets how the limit is enforced from now on.
    fn set_terms(&self, terms: Terms);

    /// Forgets sources that need no memory any more. Called about once a second.
    fn clean(&self);

    /// The number of sources that have a lease, or need one.
    fn sources(&self) -> usize;
}

/// How an instance enforces its shared limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether leases apply. Otherwise the instance enforces its part of each limit.
    pub(crate) is_shared: bool,
    /// The number of instances, at least 1.
    pub(crate) instances: u32,
}

/// A request for one source, or for a whole listener.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The key at the server, after the name of the fleet.
    pub(crate) key: String,
    pub(crate) source: Option<Source>,
    pub(crate) ask: Ask,
}

impl Request {
    /// A request for a source of a limit.
    pub(crate) fn of(limit: &str, source: Option<Source>, ask: Ask) -> Self {
        let key = match source {
            Some(Source::V4(ip)) => format!("{limit}:{ip}"),
            Some(Source::V6([a, b, c, d])) => format!("{limit}:{a:x}:{b:x}:{c:x}:{d:x}"),
            None => limit.to_owned(),
        };
        Self { key, source, ask }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// Messages, or new connections, from a bucket that fills with time.
    Tokens {
        bucket: Bucket,
        want: u32,
        /// Whether the source is idle here. Instances where it is active come first.
        is_idle: bool,
    },
    /// Open connections of this instance, including those that open until the next request. Zero returns the lease.
    Open { limit: u32, open: u32, want: u32, expiry: Duration },
}

/// The bucket of a source at the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// The time for one more token.
    pub(crate) each: Duration,
    pub(crate) capacity: u32,
    /// The tokens of a new bucket.
    pub(crate) initial: u32,
}
