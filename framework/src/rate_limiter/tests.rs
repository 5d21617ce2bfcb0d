//! Tests of `rate_limiter.rs`.

use super::*;

fn source(n: u32) -> Source {
    Source::V4(Ipv4Addr::from(n))
}

#[tokio::test(start_paused = true)]
async fn each_source_has_a_separate_budget_that_refills_over_time() {
    let limiter = Limiter::new(Rate::per_second(10), 0).unwrap();
    for _ in 0..10 {
        limiter.check(source(1)).unwrap();
    }
    let wait = limiter.check(source(1)).unwrap_err();
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
    limiter.check(source(2)).unwrap();
    tokio::time::advance(wait).await;
    limiter.check(source(1)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_table_stays_bounded_with_a_million_sources() {
    let limiter = Limiter::new(Rate::per_hour(1), 1).unwrap();
    for n in 0..1_000_000 {
        let _ = limiter.check(source(0x0100_0000 + n));
    }
    assert!(limiter.governor.len() <= MAX_SOURCES + GROUPS as usize, "{}", limiter.governor.len());
}

#[test]
fn zero_is_no_limit() {
    assert!(Limiter::new(Rate::per_second(0), 5).is_none());
}
