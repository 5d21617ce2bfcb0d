//! Tests of `shared.rs`, without a server: the tests play its part.

use super::*;

const SHARED: Terms = Terms { is_shared: true, instances: 3 };
const DIVIDED: Terms = Terms { is_shared: false, instances: 3 };

fn source(n: u32) -> Source {
    Source::V4(Ipv4Addr::from(0x0100_0000 + n))
}

/// 100 per second with bursts of 100, and leases of one second.
fn limit(terms: Terms) -> SharedRate {
    let lease = Duration::from_secs(1);
    let rate = SharedRate::new(Duration::from_millis(10), 100, lease, lease / 10, "main:messages".to_owned());
    rate.set_terms(terms);
    rate
}

/// The events of a source that are accepted at once.
fn accepted(rate: &SharedRate, source: Source, events: u32) -> u32 {
    (0..events).map(|_| u32::from(rate.check(source).is_ok())).sum()
}

fn wants(requests: &[Request]) -> Vec<(u32, bool)> {
    let want = |request: &Request| match request.ask {
        Ask::Tokens { want, is_idle, .. } => (want, is_idle),
        Ask::Open { .. } => panic!("{request:?}"),
    };
    requests.iter().map(want).collect()
}

#[tokio::test(start_paused = true)]
async fn a_source_with_few_events_needs_no_server() {
    let rate = limit(SHARED);
    for n in 0..1_000 {
        assert_eq!(accepted(&rate, source(n), 49), 49);
    }
    assert_eq!(rate.due(10, true), []);
}

#[tokio::test(start_paused = true)]
async fn a_source_has_one_slice_and_then_what_is_granted() {
    let rate = limit(SHARED);
    assert_eq!(accepted(&rate, source(1), 200), 100);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(rate.check(source(1)), Err(rate.interval), "the local rate allows it, and the balance does not");
    let requests = rate.due(10, false);
    assert_eq!(wants(&requests), [(100, false)]);
    assert_eq!(requests[0].key, "main:messages:1.0.0.1");
    assert_eq!(rate.due(10, true), [], "one request at a time");
    rate.answer(&requests[0], Some(7));
    assert_eq!(accepted(&rate, source(1), 200), 7);
    // More than was requested does not count.
    let requests = rate.due(10, false);
    rate.answer(&requests[0], Some(1_000_000));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(accepted(&rate, source(1), 200), 100);
}

#[tokio::test(start_paused = true)]
async fn an_instance_enforces_the_whole_rate_alone() {
    let rate = limit(SHARED);
    let mut events = 0;
    for _ in 0..100 {
        events += accepted(&rate, source(1), 1_000);
        for request in rate.due(10, true) {
            rate.answer(&request, Some(u32::MAX));
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!((1_000..=1_100).contains(&events), "{events} in 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_repeated() {
    let rate = limit(SHARED);
    accepted(&rate, source(1), 60);
    let requests = rate.due(10, false);
    assert_eq!(wants(&requests), [(60, false)]);
    rate.answer(&requests[0], None);
    assert_eq!(rate.due(10, false), requests);
}

#[tokio::test(start_paused = true)]
async fn an_idle_source_is_renewed_in_idle_turns_until_its_balance_is_full() {
    let rate = limit(SHARED);
    accepted(&rate, source(1), 60);
    let requests = rate.due(10, false);
    rate.answer(&requests[0], Some(10));
    assert_eq!(rate.due(10, false), []);
    let requests = rate.due(10, true);
    assert_eq!(wants(&requests), [(50, true)]);
    rate.answer(&requests[0], Some(50));
    assert_eq!(rate.due(10, true), []);
    assert_eq!(rate.sources(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_leases_a_source_has_the_part_of_one_instance() {
    let rate = limit(DIVIDED);
    let mut events = 0;
    for _ in 0..100 {
        events += accepted(&rate, source(1), 1_000);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!((330..=370).contains(&events), "{events} in 10 s");
    // When the server returns, the source has its slice, once.
    let mut events = 0;
    for terms in [SHARED, DIVIDED, SHARED] {
        rate.set_terms(DIVIDED);
        tokio::time::advance(Duration::from_secs(10)).await; // the local burst is full
        rate.set_terms(terms);
        events += if terms.is_shared { accepted(&rate, source(1), 1_000) } else { 0 };
    }
    assert_eq!(events, 100);
}

#[tokio::test(start_paused = true)]
async fn a_source_within_its_rate_waits_for_nothing_while_the_server_fails_and_returns() {
    let rate = limit(SHARED);
    for _ in 0..5 {
        rate.set_terms(DIVIDED);
        for _ in 0..60 {
            assert_eq!(accepted(&rate, source(1), 1), 1);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // Until the next call fails.
        rate.set_terms(SHARED);
        assert_eq!(accepted(&rate, source(1), 10), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_part_of_a_low_rate_is_one_event() {
    let hourly = SharedRate::new(Duration::from_secs(3600), 1, Duration::from_secs(1), Duration::ZERO, String::new());
    hourly.set_terms(DIVIDED);
    assert_eq!(accepted(&hourly, source(1), 10), 1);
    tokio::time::advance(Duration::from_secs(3 * 3600)).await;
    assert_eq!(accepted(&hourly, source(1), 10), 1);
}

#[tokio::test(start_paused = true)]
async fn a_number_of_requests_is_bounded_and_the_rest_follows() {
    let rate = limit(SHARED);
    for n in 0..100 {
        accepted(&rate, source(n), 60);
    }
    let mut sources: Vec<_> = [40, 40, 40].iter().flat_map(|most| rate.due(*most, false)).collect();
    sources.sort_by_key(|request| request.key.clone());
    sources.dedup_by_key(|request| request.key.clone());
    assert_eq!(sources.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn idle_sources_are_forgotten_and_a_full_table_counts_further_ones_in_groups() {
    let rate = limit(SHARED);
    let all = 2 * (SHARDS * MAX_SOURCES) as u32;
    for n in 0..all {
        accepted(&rate, source(n), 1);
    }
    let len = || rate.shards.iter().map(|shard| shard.lock().entries.len()).sum::<usize>();
    let most = SHARDS * MAX_SOURCES + GROUPS as usize;
    assert!((SHARDS * MAX_SOURCES / 2..=most).contains(&len()), "{}", len());
    tokio::time::advance(Duration::from_secs(2)).await;
    rate.clean();
    assert_eq!(len(), 0, "a full table forgets a source as soon as it is idle");
    accepted(&rate, source(1), 1);
    accepted(&rate, source(2), 90);
    tokio::time::advance(Duration::from_secs(30)).await;
    rate.clean();
    assert_eq!(len(), 2);
    tokio::time::advance(Duration::from_secs(60)).await;
    rate.clean();
    assert_eq!(len(), 1, "the other one waits for its balance");
    rate.set_terms(DIVIDED);
    rate.clean();
    assert_eq!(len(), 0);
}
