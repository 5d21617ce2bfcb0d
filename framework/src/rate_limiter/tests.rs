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

#[tokio::test(start_paused = true)]
async fn each_waiting_call_wakes_a_few_times_and_together_they_use_the_whole_rate() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    for (rate, burst, calls) in [(100, 1, 500), (1000, 50, 3000), (5, 1, 30), (100, 100, 3000)] {
        let limiter = Arc::new(Limiter::new(Rate::per_second(rate), burst).unwrap());
        let (begun, wakes) = (Instant::now(), AtomicUsize::new(0));
        let call = || async {
            let Err(earliest) = limiter.check(source(1)) else { return };
            let mut waiter = Waiter::new(limiter.clone(), source(1));
            let mut next = Err(waiter.wait_for_turn(earliest));
            while let Err(time) = next {
                tokio::time::sleep(time).await;
                wakes.fetch_add(1, Relaxed);
                next = waiter.check();
            }
        };
        futures_util::future::join_all((0..calls).map(|_| call())).await;
        let (wakes, expected) = (wakes.into_inner(), f64::from(calls - burst) / f64::from(rate));
        let took = begun.elapsed().as_secs_f64();
        assert!((expected * 0.99..=expected * 1.1 + 0.1).contains(&took), "{rate}/s: {took} instead of {expected} s");
        // A call without a turn looks for one in every second.
        let most = f64::from(calls) * (2.5 + expected / 2.0);
        assert!(wakes as f64 <= most, "{rate}/s: {wakes} wakes of {calls} calls");
        assert!(limiter.turns.is_empty(), "{rate}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn turns_of_calls_that_have_ended_delay_others_by_a_second_at_most() {
    use std::sync::Arc;

    let limiter = Arc::new(Limiter::new(Rate::per_second(10), 1).unwrap());
    limiter.check(source(1)).unwrap();
    let ended: Vec<_> = (0..1000).map(|_| Waiter::new(limiter.clone(), source(1))).collect();
    let mut last = Waiter::new(limiter.clone(), source(1));
    for mut waiter in ended {
        assert!(waiter.wait_for_turn(limiter.check(source(1)).unwrap_err()) <= Duration::from_secs(1));
    }
    let earliest = limiter.check(source(1)).unwrap_err();
    let wait = last.wait_for_turn(earliest);
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    tokio::time::sleep(wait).await;
    last.check().unwrap();
}
