//! All clocks of a connection in one timer.
//!
//! What happens on the connection only notes the time; the timer is armed for the earliest deadline and looks again when it
//! fires. A message costs no timer, and a busy connection moves its timer once per idle period.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::reason::CloseReason;
use crate::spec::Timeouts;

#[derive(Debug)]
pub(crate) struct Clocks {
    timeouts: Timeouts,
    opened: Instant,
    /// The last byte read or written.
    active: Instant,
    /// The last byte written.
    wrote: Option<Instant>,
    /// The first byte of a message that is not whole yet.
    partial: Option<Instant>,
    /// Since when the peer takes nothing.
    blocked: Option<Instant>,
    /// No whole message has come yet.
    silent: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the connection is doing, and with it which clocks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Waiting for the peer: every clock runs.
    Reading,
    /// Busy with a message, or with what it wrote: the peer is not to blame for silence.
    Working,
}

impl Clocks {
    pub(crate) fn new(timeouts: Timeouts, opened: Instant) -> Self {
        let active = Instant::now();
        Self { timeouts, opened, active, wrote: None, partial: None, blocked: None, silent: true, timer: None }
    }

    /// Bytes came.
    pub(crate) fn read(&mut self) {
        self.active = Instant::now();
    }

    /// Bytes went.
    pub(crate) fn wrote(&mut self) {
        self.active = Instant::now();
        self.wrote = Some(self.active);
        self.blocked = None;
    }

    /// What was written is on its way.
    pub(crate) fn flushed(&mut self) {
        self.blocked = None;
    }

    /// Bytes would not go.
    pub(crate) fn blocked(&mut self) {
        self.blocked.get_or_insert_with(Instant::now);
    }

    /// A whole message came.
    pub(crate) fn message(&mut self) {
        self.silent = false;
        self.partial = None;
    }

    /// No whole message is there; whether one has begun.
    pub(crate) fn begun(&mut self, begun: bool) {
        if begun {
            self.partial.get_or_insert(self.active);
        } else {
            self.partial = None;
        }
    }

    /// Reading goes on after work that took its time: the peer's clocks begin anew.
    pub(crate) fn resume(&mut self) {
        self.active = Instant::now();
        if self.partial.is_some() {
            self.partial = Some(self.active);
        }
    }

    /// Whether something was written so recently that it may still be on its way.
    pub(crate) fn wrote_within(&self, time: Duration) -> bool {
        self.wrote.is_some_and(|wrote| wrote.elapsed() < time)
    }

    /// The deadline that has passed, if one has; else the task is woken when the next one might have. `leaving`: the
    /// connection already ends at its next message boundary, so its lifetime does not matter any more.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>, doing: Doing, leaving: bool) -> Option<CloseReason> {
        loop {
            let (at, reason) = self.due(doing, leaving)?;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.is_elapsed() || at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            if Instant::now() >= at {
                return Some(reason);
            }
        }
    }

    fn due(&self, doing: Doing, leaving: bool) -> Option<(Instant, CloseReason)> {
        let Timeouts { first_message, frame, idle, write, lifetime, .. } = self.timeouts;
        let reading = doing == Doing::Reading;
        let clocks = [
            (self.blocked, write, CloseReason::WriteStalled),
            (Some(self.opened).filter(|_| !leaving), lifetime, CloseReason::Lifetime),
            (Some(self.opened).filter(|_| reading && self.silent), first_message, CloseReason::FirstMessage),
            (self.partial.filter(|_| reading), frame, CloseReason::FrameTimeout),
            (Some(self.active).filter(|_| reading), idle, CloseReason::Idle),
        ];
        clocks
            .into_iter()
            .filter(|(_, limit, _)| !limit.is_zero())
            .filter_map(|(since, limit, reason)| Some((since?.checked_add(limit)?, reason)))
            .min_by_key(|(at, _)| *at)
    }
}
