//! Tests of `metrics.rs`.

use super::*;

#[test]
fn bucket_bounds_are_inclusive_and_all_threads_are_counted() {
    let histogram = LatencyHistogram::default();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| histogram.record(2, Duration::from_micros(10)));
        }
    });
    histogram.record(1, Duration::from_nanos(10_001));
    histogram.record(1, Duration::from_secs(11));
    let latency = histogram.read();
    assert_eq!((latency.within[0], latency.within[1], latency.within[18], latency.count), (40, 41, 41, 42));
    assert_eq!(latency.sum, Duration::from_nanos(400_000 + 10_001 + 11_000_000_000));
}

#[test]
fn every_name_is_unique() {
    let names: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(names.len(), Outcome::ALL.len());
    assert!(Outcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
    assert!(AcceptErrorClass::ALL.iter().enumerate().all(|(index, class)| *class as usize == index));
}
