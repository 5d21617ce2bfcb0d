//! All deadlines of a connection, in one lazily armed timer.
//!
//! Events only set flags; the clock is read once per wake-up. The timer is armed for the earliest deadline and checked
//! again when it fires, so a busy connection re-arms it once per idle timeout, not once per message. A deadline that
//! has passed leaves time for input and output that the process could not notice earlier, see [`DeadlineTimer`].

use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, Moment};
use crate::deadline_timer::DeadlineTimer;
use crate::outbox::ChangedTimeouts;
use crate::settings::Timeouts;

#[derive(Debug)]
pub(crate) struct Deadlines {
    timeouts: Arc<Timeouts>,
    connection: Connection,
    /// The last read or write that restarts the idle timeout, as of the last [`update`](Self::update).
    last_activity: Moment,
    /// The last write, as of the last [`update`](Self::update).
    last_write: Option<Moment>,
    /// Something was read since the last [`update`](Self::update), or happened that counts like it.
    read: bool,
    /// Something was written since the last [`update`](Self::update).
    wrote: bool,
    /// Only input restarts the idle timeout.
    ignores_writes: bool,
    /// When the first byte of the current partial message was read.
    message_started: Option<Moment>,
    /// Since when writing is blocked.
    pub(crate) write_blocked: Option<Moment>,
    /// No complete message was received yet.
    awaits_first_message: bool,
    /// The connection is already closing: its lifetime does not matter.
    pub(crate) ignores_lifetime: bool,
    timer: Option<Pin<Box<DeadlineTimer>>>,
    /// The deadline of the timer.
    timer_at: Moment,
    /// The activity that the timer was armed for. `None`: it must be armed again.
    pub(crate) armed_for: Option<DriverActivity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverActivity {
    /// The driver waits for input: every deadline applies. Those for input do not while writing is blocked, because
    /// nothing is read then.
    Reading,
    /// The driver waits for input while later replies are in progress: only a partial message has a deadline.
    ReadingAhead,
    /// The driver handles a message or writes: the deadlines for input do not apply.
    Working,
}

impl Deadlines {
    pub(crate) fn new(timeouts: Arc<Timeouts>, connection: Connection) -> Self {
        Self {
            timeouts,
            last_activity: connection.listener_info().now(),
            connection,
            last_write: None,
            read: false,
            wrote: false,
            ignores_writes: false,
            message_started: None,
            write_blocked: None,
            awaits_first_message: true,
            ignores_lifetime: false,
            timer: None,
            timer_at: Moment::EPOCH,
            armed_for: None,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.connection.listener_info().now()
    }

    pub(crate) fn change_timeouts(&mut self, changed: ChangedTimeouts) {
        let timeouts = Arc::make_mut(&mut self.timeouts);
        if let Some((idle, counts_writes)) = changed.idle {
            self.ignores_writes = !counts_writes;
            timeouts.idle = idle;
        }
        timeouts.frame = changed.frame.unwrap_or(timeouts.frame);
        self.armed_for = None;
    }

    /// Something happened that counts like input.
    pub(crate) fn active(&mut self) {
        self.read = true;
    }

    pub(crate) fn bytes_read(&mut self) {
        self.read = true;
    }

    #[inline]
    pub(crate) fn bytes_written(&mut self) {
        self.wrote = true;
        if self.write_blocked.is_some() {
            self.write_unblocked();
        }
    }

    /// Nothing was read while writing was blocked: the deadlines for input apply again.
    #[cold]
    fn write_unblocked(&mut self) {
        (self.write_blocked, self.armed_for) = (None, None);
        if self.message_started.is_some() {
            self.message_started = Some(self.now());
        }
    }

    pub(crate) fn write_blocked(&mut self) {
        if self.write_blocked.is_none() {
            self.write_blocked = Some(self.now());
            self.armed_for = None;
        }
    }

    pub(crate) fn message_received(&mut self) {
        self.awaits_first_message = false;
        self.message_started = None;
    }

    pub(crate) fn message_incomplete(&mut self, buffered: usize) {
        if buffered == 0 {
            self.message_started = None;
        } else if self.message_started.is_none() {
            self.update();
            self.message_started = Some(self.last_activity);
            self.armed_for = None;
        }
    }

    /// Reading resumes after the driver was busy: the deadlines for input start again.
    pub(crate) fn reading_resumed(&mut self) {
        self.read = true;
        self.update();
        if self.message_started.is_some() {
            self.message_started = Some(self.last_activity);
        }
    }

    pub(crate) fn last_write(&mut self) -> Option<Instant> {
        self.update();
        self.last_write.map(|write| self.connection.listener_info().instant(write))
    }

    /// The last read or write, as of the last [`update`](Self::update).
    pub(crate) fn last_transfer(&self) -> Moment {
        if !self.ignores_writes {
            return self.last_activity;
        }
        self.last_write.map_or(self.last_activity, |write| write.max(self.last_activity))
    }

    /// Reads the clock if something was read or written.
    fn update(&mut self) -> Option<Moment> {
        if !(self.read || self.wrote) {
            return None;
        }
        let now = self.now();
        if take(&mut self.read) || !self.ignores_writes {
            self.last_activity = now;
        }
        if take(&mut self.wrote) {
            self.last_write = Some(now);
        }
        Some(now)
    }

    /// The reason of a deadline that has passed. Otherwise the task is woken when the next deadline may have passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>, activity: DriverActivity) -> Option<CloseReason> {
        let now = self.update();
        // Deadlines only move to a later time, which is checked when the timer fires. The clock is at hand if something
        // was read or written: then the timer is not asked.
        if self.armed_for == Some(activity) && !now.map_or_else(|| self.has_fired(), |now| now >= self.timer_at) {
            return None;
        }
        let (at, reason) = self.next_deadline(activity)?;
        let deadline = self.connection.listener_info().instant(at);
        let has_fired = self.has_fired();
        let timer = self.timer.get_or_insert_with(|| {
            self.timer_at = at;
            Box::pin(DeadlineTimer::new(deadline))
        });
        if at < self.timer_at || (has_fired && at != self.timer_at) {
            self.timer_at = at;
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            self.armed_for = Some(activity);
            return None;
        }
        Some(reason)
    }

    fn has_fired(&self) -> bool {
        self.timer.as_ref().is_some_and(|timer| timer.has_fired())
    }

    fn next_deadline(&self, activity: DriverActivity) -> Option<(Moment, CloseReason)> {
        let Timeouts { first_message, frame, idle, write, lifetime, .. } = *self.timeouts;
        let mut next: Option<(Moment, CloseReason)> = None;
        let mut add = |since: Moment, timeout: Duration, reason| {
            let at = since + timeout;
            if !timeout.is_zero() && next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, reason));
            }
        };
        if let Some(since) = self.write_blocked {
            add(since, write, CloseReason::WriteStalled);
        }
        if !self.ignores_lifetime {
            add(self.connection.opened_at(), lifetime, CloseReason::Lifetime);
        }
        let reads = activity != DriverActivity::Working && self.write_blocked.is_none();
        if activity == DriverActivity::Reading {
            if reads && self.awaits_first_message {
                add(self.connection.opened_at(), first_message, CloseReason::FirstMessage);
            }
            if reads || !self.ignores_writes {
                add(self.last_activity, idle, CloseReason::Idle);
            }
        }
        if reads && let Some(since) = self.message_started {
            add(since, frame, CloseReason::FrameTimeout);
        }
        next
    }
}
