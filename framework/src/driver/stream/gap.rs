//! Pushed frames and frames of rooms, and the call of the handler when the connection has missed some.

use std::pin::pin;
use std::task::Context;

use crate::close_reason::CloseReason;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::HandlerCalls;
use crate::driver::stream::deadlines::DriverActivity;
use crate::driver::stream::framed_connection::{FramedConnection, GAP, PushedFrames};
use crate::driver::stream::session::{Flow, StreamSession};
use crate::framing::Framing;
use crate::outbox::Gap;

impl<F: Framing> FramedConnection<F> {
    /// Writes pushed frames up to a gap. While the peer does not read, closes the connection if a room requires it.
    #[cold]
    pub(super) fn poll_pushed(
        &mut self,
        cx: &mut Context<'_>,
        activity: DriverActivity,
        pushed: PushedFrames,
    ) -> Result<(), CloseOutcome> {
        if !self.io.writer.is_empty() {
            let is_slow = self.io.writer.outbox.is_too_slow();
            return if is_slow { Err(CloseOutcome::plain(CloseReason::OutboxFull)) } else { Ok(()) };
        }
        if pushed == PushedFrames::Keep {
            return Ok(());
        }
        let has_more = self.io.write_pushed(cx)?;
        let has_gap = self.io.writer.outbox.has_gap();
        if has_gap {
            self.before_read |= GAP;
        }
        // The handler is called for a gap when no other call is in progress.
        if has_more && !(has_gap && activity == DriverActivity::Working) {
            cx.waker().wake_by_ref(); // the rest follows after other tasks had a turn
        }
        Ok(())
    }

    /// Whether the handler must be called for a gap.
    pub(super) fn has_gap(&self) -> bool {
        self.before_read & GAP != 0
    }

    /// The gap for which the handler must be called.
    pub(super) fn begin_gap(&mut self) -> Option<Gap> {
        self.before_read &= !GAP;
        let outbox = &self.io.writer.outbox;
        if outbox.has_gap() { outbox.begin_gap() } else { None }
    }
}

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Calls the handler for a gap. Its reply comes before the frames behind the gap.
    pub(super) async fn report_gap(&mut self, Gap { room, missed }: Gap) -> Result<Flow<F>, CloseOutcome> {
        let reply = self.framed.drive_while(pin!(self.calls.gap(&room, missed))).await?;
        let reply = reply.map_err(CloseOutcome::from_service)?;
        let flow = self.send(reply).await?;
        self.framed.io.writer.outbox.end_gap();
        Ok(flow)
    }
}
