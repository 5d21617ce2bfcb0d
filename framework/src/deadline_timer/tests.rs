//! Tests of `deadline_timer.rs`.

use super::*;
use tokio::time::{advance, sleep};

#[tokio::test(start_paused = true)]
async fn a_timer_that_fires_on_time_is_not_delayed() {
    let begun = Instant::now();
    DeadlineTimer::after(Duration::from_secs(5)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fires_late_waits_longer_up_to_a_bound() {
    for (late, at_least, at_most) in [(10, 4, 12), (400, 200, 210), (4_000, 400, 410), (3_600_000, 400, 410)] {
        let mut timer = pin!(DeadlineTimer::after(Duration::from_secs(1)));
        assert!(futures_util::poll!(timer.as_mut()).is_pending());
        advance(Duration::from_millis(1_000 + late)).await;
        let resumed = Instant::now();
        timer.await;
        let waited = resumed.elapsed().as_millis();
        assert!((at_least..=at_most).contains(&waited), "{late} ms late: {waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_deadline_has_checks_of_its_own() {
    let mut timer = pin!(DeadlineTimer::after(Duration::from_secs(60)));
    timer.as_mut().await;
    let begun = Instant::now();
    timer.as_mut().reset(begun - Duration::from_secs(10));
    timer.await;
    assert_eq!(begun.elapsed(), Duration::from_millis(u64::from(MAX_INTERVAL_MS) * u64::from(CHECKS)));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_ready_after_a_pause_completes() {
    // Both timers fire at once; without the checks, the result would depend on their order.
    let answer = async {
        sleep(Duration::from_secs(3)).await;
        yield_now().await;
        sleep(Duration::from_millis(1)).await;
        "answer"
    };
    let call = tokio::spawn(timeout(Duration::from_secs(2), answer));
    yield_now().await;
    advance(Duration::from_secs(60)).await;
    assert_eq!(call.await.unwrap(), Ok("answer"));
    assert_eq!(timeout(Duration::from_secs(2), std::future::pending::<()>()).await, Err(TimedOut));
    assert_eq!(timeout(Duration::MAX, async { 1 }).await, Ok(1));
}
