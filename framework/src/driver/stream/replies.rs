//! Writes the replies of a session: immediate ones, and later ones in their order.

use std::pin::pin;

use futures_util::StreamExt;

use crate::close_reason::CloseReason;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::HandlerCalls;
use crate::driver::later::Done;
use crate::driver::stream::latency::failed;
use crate::driver::stream::linger::is_graceful;
use crate::driver::stream::session::{Flow, StreamSession};
use crate::framing::Framing;
use crate::handler::{Frames, Reply, Then};

impl<F: Framing> From<Then> for Flow<F> {
    fn from(then: Then) -> Self {
        match then {
            Then::Continue => Self::Continue,
            Then::Finish => Self::Finish,
            Then::Close => Self::Close,
        }
    }
}

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Sends the greeting or the reply to the last message, or adds it to the later replies.
    pub(super) async fn send(&mut self, mut reply: Reply<F::Out>) -> Result<Flow<F>, CloseOutcome> {
        let framed = &mut self.framed;
        if reply.then == Then::Continue && framed.io.writer.outbox.finishes() {
            reply.then = Then::Finish;
        }
        if let Frames::Switch(switch) = reply.frames {
            return Box::pin(self.switch(*switch, reply.then)).await;
        }
        let waits = framed.later.as_ref().is_some_and(|later| later.replies.has_ordered());
        if reply.then == Then::Close || !(waits || matches!(reply.frames, Frames::Later(..))) {
            framed.message_handled();
            return self.write(reply).await.map(Flow::from);
        }
        let Reply { frames, then } = reply;
        let io = &mut framed.io;
        io.count_messages();
        let message = (io.latency.defer(&io.connection), io.reader.last_message);
        let (later, stack) = (framed.later.get_or_insert_default(), self.calls.stack());
        later.unanswered += usize::from(message.0.is_some());
        match frames {
            Frames::Later(order, future) => {
                let work = later.replies.begin(order, future, then, stack, &io.connection, message);
                later.add(work);
            }
            frames => later.replies.push(Reply { frames, then }, message),
        }
        framed.later_changed();
        if then != Then::Continue {
            return Ok(then.into()); // no further message is read, and the session ends after the later replies
        }
        let limits = stack.limits;
        while self.framed.later.as_ref().is_some_and(|later| later.replies.is_full(&limits))
            && let Some(done) = self.framed.next_reply().await?
        {
            let then = self.send_later(done).await?;
            if then != Then::Continue {
                return Ok(then.into());
            }
        }
        Ok(Flow::Continue)
    }

    /// Reads input, calls the handler for a gap, or writes later replies that are ready.
    pub(super) async fn read_or_reply(&mut self) -> Result<Flow<F>, CloseOutcome> {
        if let Some(gap) = self.framed.begin_gap() {
            return Box::pin(self.report_gap(gap)).await;
        }
        match self.framed.read_or_reply().await? {
            Some(done) => self.send_later(done).await.map(Flow::from),
            None => Ok(Flow::Continue),
        }
    }

    /// Writes a later reply that is ready.
    async fn send_later(&mut self, Done { message, result }: Done<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                if message.latency().is_some() {
                    framed.later_answered();
                }
                framed.drop_later();
                framed.later_changed();
                return Err(failed(&framed.io.connection, error));
            }
        };
        if reply.then != Then::Continue
            && let Some(later) = &mut framed.later
        {
            later.replies.drop_ordered();
        }
        let then = self.write(reply).await?;
        self.framed.reply_written(message);
        Ok(then)
    }

    /// The session has ended. Waits for the later replies and writes them, if the peer can still receive them.
    pub(super) async fn finish_later_replies(
        &mut self,
        ended: Result<Flow<F>, CloseOutcome>,
    ) -> Result<Flow<F>, CloseOutcome> {
        let waits = match &ended {
            Ok(flow) => matches!(flow, Flow::Finish),
            Err(outcome) => is_graceful(outcome.reason) && !self.is_closed_by_task(),
        };
        if !waits {
            return ended;
        }
        match self.write_later_replies().await {
            Ok(Then::Close) => Ok(Flow::Close),
            // A close by the peer during this write does not change the reason.
            Err(failed) if failed.reason != CloseReason::IoError => Err(failed),
            Err(_) => {
                self.framed.io.reader.ended = true;
                ended
            }
            Ok(_) => ended,
        }
    }

    /// Waits for the later replies and writes them. Returns whether one of them ends the connection.
    pub(super) async fn write_later_replies(&mut self) -> Result<Then, CloseOutcome> {
        let mut ends = Then::Continue;
        while let Some(done) = self.framed.next_reply().await? {
            match self.send_later(done).await? {
                Then::Continue => {}
                Then::Finish => ends = Then::Finish,
                Then::Close => return Ok(Then::Close),
            }
        }
        Ok(ends)
    }

    /// Encodes the frames of a reply after the frames pushed before it.
    async fn write(&mut self, reply: Reply<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        if reply.then == Then::Close {
            return Ok(Then::Close);
        }
        framed.encode_pushed().await?;
        match reply.frames {
            Frames::None => {}
            Frames::One(frame) => framed.io.encode(frame)?,
            Frames::Many(frames) => {
                for frame in frames {
                    framed.io.encode(frame)?;
                    framed.wait_for_write_capacity().await?;
                }
            }
            Frames::Later(..) | Frames::Switch(_) => unreachable!("handled by the caller"),
            Frames::Stream(mut frames) => {
                while let Some(frame) = framed.drive_frame(pin!(frames.next())).await? {
                    framed.io.encode(frame.map_err(CloseOutcome::from_service)?)?;
                    framed.wait_for_write_capacity().await?;
                }
            }
        }
        framed.wait_for_write_capacity().await?;
        Ok(reply.then)
    }
}
