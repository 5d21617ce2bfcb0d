//! Tests of `server/counts.rs`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::close_reason::CloseReason;
use crate::error::Result;
use crate::handler::{Context, Handler, Reply, StartContext};
use crate::metrics::{Counter, Gauge, Histogram};
use crate::registry::HandlerInstance;
use crate::server::{ListenerSet, ListenerSpec};
use crate::transport::Transports;

use super::*;

/// A handler with a metric of each kind.
#[derive(Clone, Default)]
struct Measured(Arc<OnceLock<(Vec<Counter>, Histogram, Gauge)>>);

impl Handler for Measured {
    type State = ();

    async fn start(&self, cx: &StartContext) -> Result<()> {
        let metrics = cx.metrics();
        let lookups = metrics.counter_with("lookups_total", "Lookups.", "result", &["hit", "miss"])?;
        let sizes = metrics.histogram("sizes", "Sizes.", &[1.0, 10.0])?;
        let _ = self.0.set((lookups, sizes, metrics.gauge("entries", "Entries.")?));
        Ok(())
    }

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }
}

async fn started(address: &str, handler: &Measured) -> Running {
    let mut listeners = ListenerSet::new(Transports::default());
    let spec = ListenerSpec::new("main", address.parse().unwrap());
    listeners.listen(spec, &HandlerInstance::new(handler.clone()).named("measured"));
    listeners.start().await.unwrap()
}

fn measured(running: &Running) -> Vec<(String, MetricValue)> {
    let metrics = running.handler_metrics();
    let samples = metrics.iter().flat_map(|metric| metric.samples.iter().map(|sample| (metric.name.clone(), sample)));
    samples.map(|(name, sample)| (name, sample.value.clone())).collect()
}

#[tokio::test]
async fn every_counter_of_a_listener_is_continued() {
    let (old, new) = (Measured::default(), Measured::default());
    let (before, after) = (started("mem:counts-a", &old).await, started("mem:counts-b", &new).await);
    let metrics = before.state().listeners[0].metrics().clone();
    metrics.accepted.fetch_add(7, Relaxed);
    for reason in CloseReason::ALL {
        metrics.closed.add(reason as usize, 1 + reason as u64);
    }
    metrics.rejected.add(CloseReason::Limit as usize, 4);
    metrics.accept_errors.add(3, 5);
    metrics.failed(Outcome::Panic);
    for micros in [1, 10, 11, 70_000, 20_000_000] {
        metrics.latency.record(2, Duration::from_micros(micros));
    }
    metrics.bytes_in.fetch_add(1 << 60, Relaxed);
    for counts in before.counts() {
        let text = serde_json::to_string(&counts).unwrap();
        assert!(after.add_counts(&serde_json::from_str(&text).unwrap()), "{text}");
    }
    let strip = |running: &Running| {
        let mut report = running.report().remove(0);
        report.endpoint = "mem:same".parse().unwrap();
        report
    };
    assert_eq!(strip(&before), strip(&after));
}

#[tokio::test]
async fn counters_and_histograms_of_handlers_are_continued_and_gauges_are_not() {
    let (old, new) = (Measured::default(), Measured::default());
    let (before, after) = (started("mem:counts-c", &old).await, started("mem:counts-d", &new).await);
    let (lookups, sizes, entries) = old.0.get().unwrap();
    lookups[1].add(3);
    [0.5, 5.0, 50.0].into_iter().for_each(|size| sizes.observe(size));
    entries.set(9);
    let first = before.counts();
    assert!(first.iter().all(|counts| after.add_counts(counts)));
    lookups[1].add(2);
    sizes.observe(2.0);
    for (now, earlier) in before.counts().iter().zip(&first) {
        after.add_counts(&now.since(earlier));
    }
    let shown = measured(&after);
    assert!(shown.contains(&("lookups_total".to_owned(), MetricValue::Counter(5))), "{shown:?}");
    assert!(shown.contains(&("entries".to_owned(), MetricValue::Gauge(0))), "{shown:?}");
    let sizes = MetricValue::Histogram { within: vec![(1.0, 1), (10.0, 3)], count: 4, sum: 57.5 };
    assert!(shown.contains(&("sizes".to_owned(), sizes)), "{shown:?}");
}

#[tokio::test]
async fn unknown_names_are_ignored() {
    let running = started("mem:counts-e", &Measured::default()).await;
    let other =
        |of: &str| serde_json::from_str::<Counts>(&format!("{{\"of\":{of},\"counts\":{{\"count\":1}}}}")).unwrap();
    assert!(!running.add_counts(&other("{\"listener\":\"other\"}")));
    for (metric, handler, label) in
        [("other", "measured", "null"), ("sizes", "other", "null"), ("sizes", "measured", "\"hit\"")]
    {
        let of = format!("{{\"handler\":{{\"metric\":\"{metric}\",\"handler\":\"{handler}\",\"label\":{label}}}}}");
        assert!(!running.add_counts(&other(&of)), "{of}");
    }
    let text =
        "{\"of\":{\"listener\":\"main\"},\"counts\":{\"closed.later\":1,\"later\":2,\"latency.x\":3,\"accepted\":4}}";
    let before = running.report();
    assert!(running.add_counts(&serde_json::from_str(text).unwrap()));
    let after = running.report();
    assert_eq!((after[0].accepted, &after[0].closed), (4, &before[0].closed));
}

#[tokio::test]
async fn the_counters_of_bans_are_continued() {
    let (before, after) =
        (started("mem:counts-f", &Measured::default()).await, started("mem:counts-g", &Measured::default()).await);
    let text = "{\"of\":\"bans\",\"counts\":{\"bans.operator\":2,\"bans.later\":1,\"later\":1,\"strikes\":5}}";
    assert!(before.add_counts(&serde_json::from_str(text).unwrap()));
    before.counts().iter().for_each(|counts| assert!(after.add_counts(counts)));
    let (before, after) = (before.bans().report(), after.bans().report());
    assert_eq!((&before.bans, before.strikes), (&after.bans, after.strikes));
    assert_eq!((after.bans.iter().map(|(_, count)| count).sum::<u64>(), after.strikes), (2, 5));
}
