//! Waits with a bound, in paused time and in real time.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::deadline_timer;

/// The bound of a wait in real time. A starved machine can need most of it.
const MAX_REAL: Duration = Duration::from_secs(60);
/// The bound of a wait in paused time, in which a day passes within milliseconds. Longer than any usual timeout of a
/// protocol.
const MAX_PAUSED: Duration = Duration::from_secs(24 * 3600);
/// Attempts of [`until`] before it lets time pass.
const YIELDS: usize = 100;
/// The longest pause between two attempts of [`until`].
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Waits for a future. `None`: it is not ready after the bound.
pub(super) async fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let (began, real) = (Instant::now(), std::time::Instant::now());
    loop {
        if let Ok(output) = deadline_timer::timeout(MAX_REAL, work.as_mut()).await {
            return Some(output);
        }
        // In paused time, the timeout passes at once.
        if real.elapsed() >= MAX_REAL || began.elapsed() >= MAX_PAUSED {
            return None;
        }
    }
}

/// Waits until a condition is true. False: it is not true after the bound.
pub(super) async fn until(mut condition: impl FnMut() -> bool) -> bool {
    let attempts = async {
        let (mut attempt, mut pause) = (0, Duration::from_millis(1));
        while !condition() {
            if attempt < YIELDS {
                attempt += 1;
                tokio::task::yield_now().await; // paused time does not pass
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    };
    bounded(attempts).await.is_some()
}
