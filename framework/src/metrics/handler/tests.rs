//! Tests of the registration of metrics.

use super::*;
use crate::metrics::MetricValue;

fn metrics(store: &HandlerMetricStore, handler: &str) -> HandlerMetrics {
    HandlerMetrics::new(handler.into(), store.clone())
}

#[test]
fn a_metric_that_cannot_be_shown_is_an_error_that_names_it() {
    let long = "x".repeat(65);
    let names = ["", "Hits", "1st", "_x", "a-b", "a b", "a\"b", "ä", &long];
    let metrics = metrics(&HandlerMetricStore::default(), "one");
    for name in names {
        let error = metrics.counter(name, "Hits.").unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")) && error.contains("0-9 and _"), "{error}");
        assert!(metrics.gauge_with("labelled", "Hits.", name, &["a"]).is_err(), "{name}");
    }
    for help in ["", &"x".repeat(513)] {
        assert!(metrics.gauge("size", help).unwrap_err().to_string().contains("help text"));
    }
    for label in ["handler", "le"] {
        assert!(metrics.counter_with("hits", "Hits.", label, &["a"]).unwrap_err().to_string().contains("reserved"));
    }
    for values in [&[][..], &[""], &["a", "b", "a"], &[&*"x".repeat(65)]] {
        assert!(metrics.counter_with("hits", "Hits.", "kind", values).is_err(), "{values:?}");
    }
    for bounds in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY]] {
        assert!(metrics.histogram("seconds", "Seconds.", bounds).unwrap_err().to_string().contains("ascending"));
    }
    assert!(metrics.store.read().is_empty(), "a rejected metric leaves nothing");
}

#[test]
fn a_handler_has_at_most_64_metrics_and_1000_series() {
    let store = HandlerMetricStore::default();
    let one = metrics(&store, "one");
    for nth in 0..64 {
        one.counter(&format!("count_{nth}"), "Counts.").unwrap();
    }
    assert!(one.counter("more", "Counts.").unwrap_err().to_string().contains("64"));
    one.counter("count_0", "Counts.").expect("a known metric is no further one");
    let two = metrics(&store, "two");
    let values: Vec<String> = (0..90).map(|nth| nth.to_string()).collect();
    let histogram = || two.histogram_with("seconds", "Seconds.", &[1.0, 2.0, 3.0, 4.0, 5.0], "shard", &values);
    histogram().unwrap(); // 90 × 8
    two.counter_with("many", "Counts.", "nth", &(0..280).map(|nth| nth.to_string()).collect::<Vec<_>>()).unwrap();
    let error = two.gauge("more", "Numbers.").unwrap_err().to_string();
    assert!(error.contains("1000 series") && error.contains("1001"), "{error}");
    histogram().expect("a known metric is no further one");
}

#[test]
fn the_same_metric_of_the_same_handler_continues_and_another_shape_is_an_error() {
    let store = HandlerMetricStore::default();
    let before = metrics(&store, "one");
    before.counter_with("hits", "Hits.", "kind", &["a", "b"]).unwrap()[1].add(2);
    before.histogram("seconds", "Seconds.", &[1.0]).unwrap();
    let after = metrics(&store, "one");
    let hits = after.counter_with("hits", "Hits.", "kind", &["a", "b"]).unwrap();
    drop(before);
    assert_eq!(hits[1].get(), 2);
    assert!(after.counter_with("hits", "Hits.", "kind", &["a"]).is_err());
    assert!(after.counter_with("hits", "Hits.", "other", &["a", "b"]).is_err());
    assert!(after.counter("hits", "Hits.").is_err());
    assert!(after.gauge_with("hits", "Hits.", "kind", &["a", "b"]).is_err());
    after.histogram("seconds", "Seconds.", &[2.0]).expect("the earlier instance has gone");
    // Another handler shares the name with its own values, and needs the same type and label.
    let other = metrics(&store, "two");
    other.counter_with("hits", "Hits.", "kind", &["c"]).unwrap()[0].add(5);
    let error = metrics(&store, "three").gauge("hits", "Hits.").unwrap_err().to_string();
    assert!(error.contains("a gauge without a label") && error.contains("a counter with the label kind"), "{error}");
    let read = store.read();
    assert_eq!(read.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["hits", "seconds"]);
    let samples: Vec<_> = read[0].samples.iter().map(|sample| (&*sample.handler, sample.value.clone())).collect();
    let count = MetricValue::Counter;
    assert_eq!(samples, [("one", count(0)), ("one", count(2)), ("two", count(5))]);
    drop((after, other));
    assert!(store.read().is_empty(), "metrics end with their handlers");
}

#[test]
fn no_two_metrics_have_the_same_sample() {
    let store = HandlerMetricStore::default();
    let (one, two) = (metrics(&store, "one"), metrics(&store, "two"));
    one.histogram("seconds", "Seconds.", &[1.0]).unwrap();
    for name in ["seconds_bucket", "seconds_sum", "seconds_count"] {
        assert!(one.counter(name, "Counts.").unwrap_err().to_string().contains(name));
        assert!(two.gauge(name, "Counts.").is_err(), "{name}");
    }
    two.counter("bytes_sum", "Bytes.").unwrap();
    assert!(one.histogram("bytes", "Bytes.", &[1.0]).is_err());
    one.counter("bytes", "Bytes.").expect("a counter has one sample");
}

#[test]
fn a_histogram_counts_each_observation_up_to_its_bound() {
    let store = HandlerMetricStore::default();
    let metrics = metrics(&store, "one");
    let histogram = metrics.histogram("seconds", "Seconds.", &[1.0, 2.0]).unwrap();
    [0.5, 1.0, 1.5, 9.0, f64::NAN].iter().for_each(|value| histogram.observe(*value));
    let expected = MetricValue::Histogram { within: vec![(1.0, 2), (2.0, 3)], count: 4, sum: 12.0 };
    assert_eq!(store.read()[0].samples[0].value, expected);
}
