//! Tests of `shared_counts.rs`, without a server: the tests play its part.

use std::net::Ipv4Addr;

use super::*;

const SHARED: Terms = Terms { is_shared: true, instances: 3 };
const SOURCE: Option<Source> = Some(Source::V4(Ipv4Addr::LOCALHOST));

/// At most 60 connections, so a slice is 10.
fn limit(terms: Terms) -> SharedCounts {
    let counts = SharedCounts::new(Weak::new(), 60, Duration::from_secs(1), "main:open".to_owned());
    counts.set_terms(terms);
    counts
}

fn answer(counts: &SharedCounts, granted: Option<u32>) {
    counts.answer(&counts.request(SOURCE, 0, 1), granted);
}

#[test]
fn a_source_has_one_slice_and_then_its_lease() {
    let counts = limit(SHARED);
    assert_eq!(counts.allowed(SOURCE, 0), 10);
    assert_eq!(counts.sources(), 0, "few connections need no lease");
    assert_eq!(counts.allowed(SOURCE, 5), 10);
    assert_eq!(counts.sources(), 1);
    answer(&counts, Some(42));
    assert_eq!(counts.allowed(SOURCE, 12), 42);
    answer(&counts, None);
    assert_eq!(counts.allowed(SOURCE, 12), 42, "a lease without an answer stays");
    answer(&counts, Some(3));
    assert_eq!(counts.allowed(SOURCE, 12), 10, "a source always has one slice");
}

#[test]
fn a_single_instance_has_the_whole_limit() {
    let counts = limit(Terms { is_shared: true, instances: 1 });
    assert_eq!((counts.allowed(SOURCE, 0), counts.allowed(SOURCE, 59)), (60, 60));
}

#[test]
fn without_leases_a_source_has_the_part_of_one_instance() {
    let counts = limit(Terms { is_shared: false, instances: 3 });
    assert_eq!(counts.allowed(SOURCE, 19), 20);
    let tiny = SharedCounts::new(Weak::new(), 1, Duration::from_secs(1), String::new());
    tiny.set_terms(Terms { is_shared: false, instances: 3 });
    assert_eq!(tiny.allowed(SOURCE, 0), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_keeps_the_part_of_the_instance_until_leases_are_renewed_after_a_failure() {
    let counts = limit(SHARED);
    assert_eq!(counts.allowed(SOURCE, 5), 10);
    answer(&counts, Some(12));
    counts.set_terms(Terms { is_shared: false, ..SHARED });
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(counts.allowed(SOURCE, 19), 20);
    counts.set_terms(SHARED);
    let other = Some(Source::V4(Ipv4Addr::BROADCAST));
    assert_eq!([SOURCE, other].map(|source| counts.allowed(source, 18)), [20, 20]);
    answer(&counts, Some(25));
    assert_eq!(counts.allowed(SOURCE, 20), 25);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!([SOURCE, other].map(|source| counts.allowed(source, 18)), [25, 10]);
}

#[test]
fn the_number_of_tracked_sources_is_bounded() {
    let counts = limit(SHARED);
    for n in 0..u32::try_from(MAX_TRACKED).unwrap() {
        counts.allowed(Some(Source::V4(Ipv4Addr::from(n))), 9);
    }
    let further = Some(Source::V4(Ipv4Addr::BROADCAST));
    assert_eq!((counts.allowed(further, 9), counts.sources()), (20, MAX_TRACKED));
}
