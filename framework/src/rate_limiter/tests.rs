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

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_too_often_is_limited_until_its_failures_are_forgotten() {
    for (rate, burst, allowed) in [
        (Rate::per_second(10), 0, 10),
        (Rate::per_second(10), 3, 3),
        (Rate::per_minute(6), 0, 1),
        (Rate::per_hour(1), 5, 5),
    ] {
        let limiter = FailureLimiter::new(rate, burst).unwrap();
        for failure in 0..allowed {
            assert!(!limiter.is_reached(source(1)), "{rate}: after {failure} failures");
            limiter.count(source(1));
        }
        assert!(limiter.is_reached(source(1)) && !limiter.is_reached(source(2)), "{rate}");
        let each = rate.per() / rate.count();
        tokio::time::advance(each + Duration::from_millis(1)).await;
        assert!(!limiter.is_reached(source(1)), "{rate}: one more is allowed");
        for _ in 0..10_000 {
            limiter.count(source(1)); // handshakes that were in progress together
        }
        tokio::time::advance(each * (allowed + 1) + Duration::from_millis(1)).await;
        assert!(!limiter.is_reached(source(1)), "{rate}: the penalty is at most one burst");
    }
    assert!(FailureLimiter::new(Rate::default(), 5).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_table_of_failures_stays_bounded_and_keeps_the_worst_source() {
    let limiter = FailureLimiter::new(Rate::per_second(50), 0).unwrap();
    for n in 0..6_000 {
        limiter.count(source(0x0100_0000 + n));
        if n < 50 {
            limiter.count(source(1));
        }
    }
    assert_eq!(limiter.sources.lock().len(), MAX_FAILING_SOURCES);
    assert!(limiter.is_reached(source(1)));
}
