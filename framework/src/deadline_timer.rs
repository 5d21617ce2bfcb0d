//! Timers for deadlines that tolerate a process that was stopped, or a thread that was blocked.
//!
//! When a stopped process continues, epoll_wait(2) fails with EINTR (signal(7)), and tokio fires its timers before it
//! reports the sockets that became ready meanwhile. A deadline that has passed is therefore checked again a few times,
//! and the runtime polls its sockets between two checks.
//!
//! The drivers use these timers for every timeout. A [`StreamHandler`](crate::StreamHandler) with timeouts of its
//! protocol uses them too:
//!
//! ```
//! use std::time::Duration;
//! use switchboard::deadline_timer::{TimedOut, timeout};
//! use tokio::io::AsyncReadExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (_silent, mut stream) = tokio::io::duplex(64);
//! let read = timeout(Duration::from_millis(10), stream.read_u8()).await;
//! assert_eq!(read.unwrap_err(), TimedOut);
//! # }
//! ```

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::deadline_after;

/// Checks of a deadline after it has passed. The owner of the timer tries its I/O at each of them.
const CHECKS: u8 = 4;
/// Maximum milliseconds between two checks. All checks together leave time for a few round trips.
const MAX_INTERVAL_MS: u8 = 100;

pin_project! {
    /// A future that is ready when a deadline has passed and the checks after it are done. It wakes its task for each
    /// check. The later the timer fires, the longer are the intervals between them.
    #[derive(Debug)]
    pub struct DeadlineTimer {
        #[pin]
        sleep: Sleep,
        checks: u8,
        interval_ms: u8,
    }
}

impl DeadlineTimer {
    /// A timer for a deadline.
    pub fn new(deadline: Instant) -> Self {
        Self { sleep: sleep_until(deadline), checks: 0, interval_ms: 0 }
    }

    /// A timer for a deadline after some time from now.
    pub fn after(time: Duration) -> Self {
        Self::new(deadline_after(Instant::now(), time))
    }

    /// Whether the deadline or the time of a check has come since the last poll.
    pub fn has_fired(&self) -> bool {
        self.sleep.is_elapsed()
    }

    /// Sets another deadline, which is checked again in the same way.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        let this = self.project();
        *this.checks = 0;
        this.sleep.reset(deadline);
    }
}

impl Future for DeadlineTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            if *this.checks == CHECKS {
                return Poll::Ready(());
            }
            let now = Instant::now();
            if *this.checks == 0 {
                let delay = now.saturating_duration_since(this.sleep.deadline()).as_millis() / 8;
                *this.interval_ms = u8::try_from(delay).map_or(MAX_INTERVAL_MS, |delay| delay.min(MAX_INTERVAL_MS));
            }
            *this.checks += 1;
            // Below one tick of tokio's timers: the timer has fired on time.
            if *this.interval_ms == 0 {
                return pin!(yield_now()).poll(cx); // wakes the task after the runtime has polled its sockets
            }
            this.sleep.as_mut().reset(now + Duration::from_millis(u64::from(*this.interval_ms)));
        }
    }
}

/// A future did not complete in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not complete in time")]
pub struct TimedOut;

/// Like `tokio::time::timeout`, with the checks of a [`DeadlineTimer`]: a future that is ready at one of them
/// completes.
///
/// # Errors
///
/// The future is not ready at the last check. It is dropped.
pub async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, TimedOut> {
    timeout_at(deadline_after(Instant::now(), time), future).await
}

/// Like [`timeout`], for a deadline.
///
/// # Errors
///
/// The future is not ready at the last check. It is dropped.
pub async fn timeout_at<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T, TimedOut> {
    let (mut future, mut timer) = (pin!(future), pin!(DeadlineTimer::new(deadline)));
    tokio::select! {
        biased;
        output = &mut future => Ok(output),
        () = &mut timer => Err(TimedOut),
    }
}

#[cfg(test)]
mod tests;
