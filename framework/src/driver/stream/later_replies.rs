//! Later replies of a framed connection: their futures progress while the driver waits, and their replies are written.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::driver::close_outcome::CloseOutcome;
use crate::driver::later::{Done, WorkInfo};
use crate::driver::stream::deadlines::DriverActivity;
use crate::driver::stream::framed_connection::{FramedConnection, LATER_REPLIES, PushedFrames, WAITED};
use crate::framing::Framing;
use crate::handler::Frames;

impl<F: Framing> FramedConnection<F> {
    /// Reads input, or returns the next reply that can be written. Returns when the handler must be called
    /// for a gap.
    pub(crate) async fn read_or_reply(&mut self) -> Result<Option<Done<F::Out>>, CloseOutcome> {
        poll_fn(|cx| {
            // Output and deadlines first: futures may use up the budget of the task.
            let expired = self.poll_background(cx, DriverActivity::ReadingAhead, PushedFrames::Encode)?;
            match self.poll_later(cx) {
                Some(done) => Poll::Ready(Ok(Some(done))),
                None if self.has_gap() => Poll::Ready(Ok(None)),
                None => self.poll_input(cx, expired).map_ok(|()| None),
            }
        })
        .await
    }

    /// The next reply that can be written, while nothing is read. `None` if no later reply is in progress.
    pub(crate) async fn next_reply(&mut self) -> Result<Option<Done<F::Out>>, CloseOutcome> {
        self.before_read |= WAITED;
        poll_fn(|cx| {
            self.poll_working(cx, PushedFrames::Encode)?;
            if let Some(done) = self.poll_later(cx) {
                return Poll::Ready(Ok(Some(done)));
            }
            if self.later.is_none() {
                return Poll::Ready(Ok(None));
            }
            self.read_ahead(cx)?;
            Poll::Pending
        })
        .await
    }

    fn poll_later(&mut self, cx: &mut Context<'_>) -> Option<Done<F::Out>> {
        let later = self.later.as_mut()?;
        later.poll(cx);
        later.replies.pop()
    }

    /// Call after later replies were added or removed.
    pub(crate) fn later_changed(&mut self) {
        if self.later.as_ref().is_some_and(|later| later.replies.is_empty()) {
            self.drop_later();
            self.io.deadlines.active();
        }
        let holds = self.later.as_ref().is_some_and(|later| later.replies.has_ordered());
        self.io.writer.outbox.set_holds_replies(holds);
        self.before_read &= !LATER_REPLIES;
        if self.later.is_some() {
            self.before_read |= LATER_REPLIES;
        }
    }

    /// Drops the later replies that are left, and counts their messages.
    pub(super) fn drop_later(&mut self) {
        if let Some(later) = self.later.take() {
            self.io.connection.listener_info().metrics.dropped(later.unanswered);
        }
    }

    /// The message of a later reply is answered or has failed.
    pub(super) fn later_answered(&mut self) {
        if let Some(later) = &mut self.later {
            later.unanswered -= 1;
        }
    }

    /// Writes later replies that are ready, as far as that needs no wait. The session writes the others.
    pub(super) fn write_simple_replies(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        while self.io.writer.has_capacity()
            && self.io.writer.outbox.len() == 0
            && let Some(Done { message, result: Ok(reply) }) =
                self.later.as_mut().and_then(|later| later.replies.pop_simple())
        {
            match reply.frames {
                Frames::One(frame) => self.io.encode(frame)?,
                Frames::Many(frames) => frames.into_iter().try_for_each(|frame| self.io.encode(frame))?,
                _ => {}
            }
            self.reply_written(message);
        }
        self.io.poll_write(cx)
    }

    /// Call when the frames of a later reply are encoded.
    pub(crate) fn reply_written(&mut self, message: WorkInfo) {
        if let Some(latency) = message.latency() {
            self.io.connection.listener_info().metrics.latency.record(1, latency);
            self.later_answered();
        }
        self.later_changed();
    }
}
