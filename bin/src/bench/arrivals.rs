//! When messages are due: at once (closed loop), or at fixed times (open loop).
//!
//! In the open loop, a message is due whether or not the server has answered earlier ones, and its latency counts from
//! that time. A stall of the server then delays every message that was due meanwhile. A load generator that waits for
//! the server would leave those messages out (coordinated omission).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The times of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) start: Instant,
    /// No message is due after this time.
    pub(super) end: Instant,
    /// Messages that were due and are not sent at this time fail.
    pub(super) give_up: Instant,
}

/// The messages of a connection in the open loop. Their times are computed, so that a backlog needs no memory.
#[derive(Debug)]
pub(super) struct Backlog {
    schedule: Schedule,
    /// Number of the connection.
    connection: u64,
    due: Cell<u64>,
    taken: Cell<u64>,
    is_complete: Cell<bool>,
    changed: Notify,
}

/// Fixed times, which the connections take in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    pub(super) per_second: f64,
    pub(super) connections: u64,
}

impl Schedule {
    /// The time of a message over all connections.
    fn time(&self, nth: u64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 messages")]
        let seconds = nth as f64 / self.per_second;
        self.start + Duration::from_secs_f64(seconds)
    }

    pub(super) fn backlogs(self) -> Vec<Rc<Backlog>> {
        let backlog = |connection| Backlog {
            schedule: self,
            connection,
            due: Cell::new(0),
            taken: Cell::new(0),
            is_complete: Cell::new(false),
            changed: Notify::new(),
        };
        (0..self.connections).map(|connection| Rc::new(backlog(connection))).collect()
    }

    /// Makes messages due at their times. `wait` waits until a time.
    pub(super) async fn run(self, backlogs: &[Rc<Backlog>], end: Instant, wait: impl AsyncFn(Instant)) {
        for (nth, backlog) in (0..).zip(backlogs.iter().cycle()) {
            let time = self.time(nth);
            if time >= end {
                break;
            }
            if time > Instant::now() {
                wait(time).await;
            }
            backlog.due.set(backlog.due.get() + 1);
            backlog.changed.notify_one();
        }
        for backlog in backlogs {
            backlog.is_complete.set(true);
            backlog.changed.notify_one();
        }
    }
}

impl Backlog {
    pub(super) fn unsent(&self) -> u64 {
        self.due.get() - self.taken.get()
    }
}

/// The source of the messages of one connection.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Closed(Clock),
    Open(Clock, Rc<Backlog>),
    /// One message, for a connection that is opened for it; `None` when it was taken.
    Single(Option<Instant>),
}

impl Source {
    /// Takes the next message and returns the time at which it was due. `None` if no message is due.
    pub(super) fn take(&mut self) -> Option<Instant> {
        match self {
            Self::Closed(clock) => Some(Instant::now()).filter(|now| *now < clock.end),
            Self::Open(clock, backlog) => {
                if backlog.unsent() == 0 || Instant::now() >= clock.give_up {
                    return None;
                }
                let nth = backlog.taken.get();
                backlog.taken.set(nth + 1);
                Some(backlog.schedule.time(nth * backlog.schedule.connections + backlog.connection))
            }
            Self::Single(due) => due.take(),
        }
    }

    /// Whether no message will be due.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Closed(clock) => Instant::now() >= clock.end,
            Self::Open(clock, backlog) => {
                backlog.is_complete.get() && (backlog.unsent() == 0 || Instant::now() >= clock.give_up)
            }
            Self::Single(due) => due.is_none(),
        }
    }

    /// Waits until another message is due or none will be.
    pub(super) async fn changed(&self) {
        match self {
            Self::Open(_, backlog) => backlog.changed.notified().await,
            Self::Closed(_) | Self::Single(_) => std::future::pending().await,
        }
    }
}
