//! The timer of the HTTP library: the timeout for the head of a request tolerates a process that was stopped.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use switchboard::deadline_timer::DeadlineTimer;

#[derive(Debug, Clone, Copy)]
pub(super) struct HttpTimer;

impl Timer for HttpTimer {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HttpSleep(Box::pin(DeadlineTimer::after(time))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HttpSleep(Box::pin(DeadlineTimer::new(deadline.into()))))
    }
}

struct HttpSleep(Pin<Box<DeadlineTimer>>);

impl Future for HttpSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for HttpSleep {}
