//! All clocks of a connection in one timer.
//!
//! What happens on the connection only leaves a mark; the time is read once a wake-up. The timer is armed for the earliest
//! deadline and looks again when it fires: a message costs no timer, and a busy connection moves its timer once per idle
//! period.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::reason::CloseReason;
use crate::settings::Timeouts;

#[derive(Debug)]
pub(crate) struct Deadlines {
    timeouts: Arc<Timeouts>,
    opened: Instant,
    /// The last byte read or written, as of the last look at the time.
    active: Instant,
    /// The last byte written, likewise.
    wrote: Option<Instant>,
    /// What has happened since then.
    since: Since,
    /// The first byte of a message that is not whole yet.
    partial: Option<Instant>,
    /// Since when the peer takes nothing.
    blocked: Option<Instant>,
    /// No whole message has come yet.
    silent: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the timer was set for. `None`: a clock has started since, and may be due before it.
    set_for: Option<Doing>,
}

#[derive(Debug, Default)]
struct Since {
    moved: bool,
    wrote: bool,
}

/// What the connection is doing, and with it which clocks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Waiting for the peer: every clock runs.
    Reading,
    /// Busy with a message, or with what it wrote: the peer is not to blame for silence.
    Working,
}

impl Deadlines {
    pub(crate) fn new(timeouts: Arc<Timeouts>, opened: Instant) -> Self {
        let active = Instant::now();
        let since = Since::default();
        Self {
            timeouts,
            opened,
            active,
            wrote: None,
            since,
            partial: None,
            blocked: None,
            silent: true,
            timer: None,
            set_for: None,
        }
    }

    /// The last byte read or written, as of the last look at the time.
    pub(crate) fn active(&self) -> Instant {
        self.active
    }

    /// Bytes came.
    pub(crate) fn read(&mut self) {
        self.since.moved = true;
    }

    /// Bytes went.
    pub(crate) fn wrote(&mut self) {
        self.since = Since { moved: true, wrote: true };
        self.blocked = None;
    }

    /// Reads the time, if something has happened since the last look.
    fn look(&mut self) {
        let Since { moved, wrote } = std::mem::take(&mut self.since);
        if moved {
            self.active = Instant::now();
        }
        if wrote {
            self.wrote = Some(self.active);
        }
    }

    /// What was written is on its way.
    pub(crate) fn flushed(&mut self) {
        self.blocked = None;
    }

    /// Bytes would not go.
    pub(crate) fn blocked(&mut self) {
        if self.blocked.is_none() {
            self.blocked = Some(Instant::now());
            self.set_for = None;
        }
    }

    /// A whole message came.
    pub(crate) fn message(&mut self) {
        self.silent = false;
        self.partial = None;
    }

    /// No whole message is there; whether one has begun.
    pub(crate) fn begun(&mut self, begun: bool) {
        if !begun {
            self.partial = None;
        } else if self.partial.is_none() {
            self.look();
            self.partial = Some(self.active);
            self.set_for = None;
        }
    }

    /// Reading goes on after work that took its time: the peer's clocks begin anew.
    pub(crate) fn resume(&mut self) {
        self.since.moved = true;
        self.look();
        if self.partial.is_some() {
            self.partial = Some(self.active);
        }
    }

    /// Whether something was written so recently that it may still be on its way.
    pub(crate) fn wrote_within(&mut self, time: Duration) -> bool {
        self.look();
        self.wrote.is_some_and(|wrote| wrote.elapsed() < time)
    }

    /// The deadline that has passed, if one has; else the task is woken when the next one might have. `leaving`: the
    /// connection already ends at its next message boundary, so its lifetime does not matter any more. `known`: it is the
    /// task that asked the time before.
    pub(crate) fn expired(
        &mut self,
        cx: &mut Context<'_>,
        doing: Doing,
        leaving: bool,
        known: bool,
    ) -> Option<CloseReason> {
        self.look();
        // Deadlines that run can only be due later than they were: the timer finds out when it fires.
        if known && self.set_for == Some(doing) && self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
            return None;
        }
        loop {
            let (at, reason) = self.due(doing, leaving)?;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.is_elapsed() || at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                self.set_for = Some(doing);
                return None;
            }
            if Instant::now() >= at {
                return Some(reason);
            }
        }
    }

    /// The earliest deadline of the clocks that run.
    fn due(&self, doing: Doing, leaving: bool) -> Option<(Instant, CloseReason)> {
        let Timeouts { first_message, frame, idle, write, lifetime, .. } = *self.timeouts;
        let mut due: Option<(Instant, CloseReason)> = None;
        let mut clock = |since: Instant, limit: Duration, reason| {
            if !limit.is_zero()
                && let Some(at) = since.checked_add(limit)
                && due.is_none_or(|(earliest, _)| at < earliest)
            {
                due = Some((at, reason));
            }
        };
        if let Some(blocked) = self.blocked {
            clock(blocked, write, CloseReason::WriteStalled);
        }
        if !leaving {
            clock(self.opened, lifetime, CloseReason::Lifetime);
        }
        if doing == Doing::Reading {
            if self.silent {
                clock(self.opened, first_message, CloseReason::FirstMessage);
            }
            if let Some(partial) = self.partial {
                clock(partial, frame, CloseReason::FrameTimeout);
            }
            clock(self.active, idle, CloseReason::Idle);
        }
        due
    }
}
