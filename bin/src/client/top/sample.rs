//! Samples of the server, and the rates and latencies between two of them.

use std::collections::HashMap;

use serde::Serialize;

use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, get};
use crate::client::report::{Connection, Latency, Listener, Page, Status};

/// Maximum connections in the live view. If there are more, the newest are missing.
pub(super) const MAX_CONNECTIONS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) connections: Vec<Connection>,
    /// There are more connections.
    pub(super) is_cut: bool,
}

pub(super) async fn take_status(server: &AdminAddress) -> Result<Status, ClientError> {
    get(server, "/status").await?.json()
}

pub(super) async fn take(server: &AdminAddress) -> Result<Sample, ClientError> {
    let status = take_status(server).await?;
    let page: Page = get(server, &format!("/connections?limit={MAX_CONNECTIONS}")).await?.json()?;
    Ok(Sample { status, connections: page.connections, is_cut: page.next.is_some() })
}

/// The load of a listener between two samples. `None`: there is no earlier sample of this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Load {
    pub(super) accepted_per_second: Option<f64>,
    pub(super) messages_per_second: Option<f64>,
    pub(super) failed_per_second: Option<f64>,
    pub(super) rejected_per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) bytes_in_per_second: Option<f64>,
    pub(super) bytes_out_per_second: Option<f64>,
    /// `None` without messages, too.
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
}

impl Load {
    /// The load of each listener of `after`.
    pub(super) fn between(before: Option<&Status>, after: &Status) -> Vec<Self> {
        let Some((before, seconds)) = before.and_then(|before| Some((before, elapsed(before, after)?))) else {
            return vec![Self::default(); after.listeners.len()];
        };
        let of = |listener: &Listener| {
            // A reload can add a listener.
            let earlier = before.listeners.iter().find(|earlier| earlier.name == listener.name);
            let per_second = |count: fn(&Listener) -> u64| {
                Some(rate(earlier.map(count).unwrap_or_default(), count(listener), seconds))
            };
            let earlier = earlier.map(|earlier| earlier.message_seconds.clone()).unwrap_or_default();
            let quantile = |share| quantile(share, &earlier, &listener.message_seconds);
            Self {
                accepted_per_second: per_second(|listener| listener.accepted),
                messages_per_second: per_second(Listener::all_messages),
                failed_per_second: per_second(Listener::failed),
                rejected_per_second: per_second(Listener::all_rejected),
                errors_per_second: per_second(|listener| listener.errors),
                bytes_in_per_second: per_second(|listener| listener.bytes_in),
                bytes_out_per_second: per_second(|listener| listener.bytes_out),
                p50_seconds: quantile(0.5),
                p99_seconds: quantile(0.99),
            }
        };
        after.listeners.iter().map(of).collect()
    }
}

/// The messages per second of each connection, by id.
pub(super) fn message_rates(before: &Sample, after: &Sample) -> HashMap<u64, f64> {
    let Some(seconds) = elapsed(&before.status, &after.status) else { return HashMap::new() };
    let earlier: HashMap<u64, u64> = before.connections.iter().map(|one| (one.id, one.messages)).collect();
    let rate = |one: &Connection| {
        // A new connection is younger than the time between the samples.
        let (before, seconds) = match earlier.get(&one.id) {
            Some(&messages) => (messages, seconds),
            None => (0, one.age_seconds.clamp(0.1, seconds.max(0.1))),
        };
        (one.id, rate(before, one.messages, seconds))
    };
    after.connections.iter().map(rate).collect()
}

/// The seconds between two samples, by the clock of the server. `None` if the process is another one.
fn elapsed(before: &Status, after: &Status) -> Option<f64> {
    let seconds = after.uptime_seconds - before.uptime_seconds;
    (before.pid == after.pid && seconds > 0.0).then_some(seconds)
}

#[allow(clippy::cast_precision_loss)] // a rate is rounded when it is shown
fn rate(before: u64, after: u64, seconds: f64) -> f64 {
    after.saturating_sub(before) as f64 / seconds
}

/// The time within which this share of the messages between two samples had their reply, interpolated within a bucket
/// as `histogram_quantile` of Prometheus does. The upper bound of the last bucket for slower messages.
#[allow(clippy::cast_precision_loss)]
fn quantile(share: f64, before: &Latency, after: &Latency) -> Option<f64> {
    let count = after.count.checked_sub(before.count).filter(|count| *count > 0)?;
    let rank = share * count as f64;
    let (mut lower, mut below) = (0.0, 0.0);
    for (at, bucket) in after.within.iter().enumerate() {
        let earlier = before.within.get(at).map_or(0, |earlier| earlier.count);
        let within = bucket.count.saturating_sub(earlier) as f64;
        if within >= rank && within > below {
            return Some(lower + (bucket.le - lower) * (rank - below) / (within - below));
        }
        (lower, below) = (bucket.le, within);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::Bucket;

    fn latency(counts: [u64; 3], count: u64) -> Latency {
        let within = [0.001, 0.01, 0.1].into_iter().zip(counts).map(|(le, count)| Bucket { le, count }).collect();
        Latency { count, within }
    }

    #[test]
    fn a_quantile_is_that_of_the_messages_between_the_samples() {
        let before = latency([100, 100, 100], 100);
        assert_eq!(quantile(0.5, &before, &before), None);
        assert_eq!(quantile(0.5, &Latency::default(), &before), Some(0.0005));
        let after = latency([100, 110, 110], 110);
        assert!(quantile(0.5, &before, &after).is_some_and(|seconds| (seconds - 0.0055).abs() < 1e-9));
        let slow = latency([100, 100, 100], 110);
        assert_eq!(quantile(0.99, &before, &slow), Some(0.1));
    }

    fn status(pid: u32, uptime_seconds: f64, accepted: u64) -> Status {
        let listener = serde_json::json!({
            "name": "main", "address": "tcp://127.0.0.1:1", "state": "listening", "problem": null, "open": 0,
            "sessions": 0, "max_open": 10, "accepted": accepted, "errors": 0, "rejected": {}, "messages": { "ok": 1 },
            "message_seconds": { "count": 0, "within": [] }, "bytes_in": 0, "bytes_out": 0
        });
        let listeners = vec![serde_json::from_value(listener).unwrap()];
        Status {
            version: String::new(),
            pid,
            uptime_seconds,
            phase: String::new(),
            evacuation: None,
            fleet: None,
            listeners,
        }
    }

    #[test]
    fn rates_need_two_samples_of_one_process() {
        let (first, second) = (status(1, 10.0, 100), status(1, 12.0, 110));
        let load = Load::between(Some(&first), &second);
        assert_eq!((load[0].accepted_per_second, load[0].messages_per_second), (Some(5.0), Some(0.0)));
        assert_eq!(Load::between(None, &second), [Load::default()]);
        assert_eq!(Load::between(Some(&first), &status(2, 1.0, 5)), [Load::default()]);
    }
}
