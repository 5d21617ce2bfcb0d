//! A timer that is more precise than that of the runtime, which counts milliseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// A timer of the kernel (timerfd_create(2)).
#[derive(Debug)]
pub(super) struct PreciseTimer {
    timer: TimerFd,
    ready: AsyncFd<OwnedFd>,
}

impl PreciseTimer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let descriptor = timer.as_fd().try_clone_to_owned()?;
        #[expect(deprecated, reason = "an OwnedFd keeps its descriptor open; the newer function is unsafe")]
        let ready = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { timer, ready })
    }

    pub(super) async fn wait_until(&self, time: Instant) {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let expiration = Expiration::OneShot(TimeSpec::from_duration(left));
        let set = self.timer.set(expiration, TimerSetTimeFlags::empty());
        match (set, self.ready.readable().await) {
            (Ok(()), Ok(mut ready)) => {
                let _ = self.timer.wait(); // reads the number of expirations
                ready.clear_ready();
            }
            // Never happens with a valid timer.
            _ => sleep_until(time).await,
        }
    }
}
