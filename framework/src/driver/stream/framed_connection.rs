//! One framed connection, driven in a single task: input, output, pushed frames, deadlines and control signals.
//!
//! The session awaits handler calls through [`FramedConnection::drive_while`], which drives the connection meanwhile.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use tokio::task::coop;

use crate::close_reason::CloseReason;
use crate::connection::ControlSignal;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::later::LaterReplies;
use crate::driver::stream::deadlines::DriverActivity;
use crate::driver::stream::framed_io::{FramedIo, ROOM_FRAMES_PER_TURN};
use crate::driver::stream::linger::is_graceful;
use crate::framing::Framing;
use crate::outbox;

pub(crate) struct FramedConnection<F: Framing> {
    pub(crate) io: FramedIo<F>,
    waker: Option<Waker>,
    /// Why the connection closes when the messages in progress are handled.
    closing: Option<CloseReason>,
    /// The messages whose replies are not ready.
    pub(crate) later: Option<Box<LaterReplies<F::Out>>>,
    /// What the next read must consider: [`WAITED`], [`LATER_REPLIES`], [`GAP`]. Zero in the common case.
    pub(super) before_read: u8,
    /// The call for the last message was not ready immediately.
    pub(super) was_pending: bool,
    /// A call is being polled without layers: a panic that ends the session is one of the handler.
    pub(super) is_calling: bool,
}

/// The driver has waited for something other than input.
pub(super) const WAITED: u8 = 1;
/// Later replies are in progress.
pub(super) const LATER_REPLIES: u8 = 2;
/// The handler must be called for a gap in a room.
pub(super) const GAP: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PushedFrames {
    Encode,
    Keep,
}

impl<F: Framing> FramedConnection<F> {
    pub(crate) fn new(io: FramedIo<F>) -> Self {
        Self { io, waker: None, closing: None, later: None, before_read: 0, was_pending: false, is_calling: false }
    }

    /// The same connection with another codec.
    pub(super) fn with_io<G>(self, change: impl FnOnce(FramedIo<F>) -> FramedIo<G>) -> FramedConnection<G>
    where
        G: Framing<In = F::In, Out = F::Out>,
    {
        let Self { io, waker, closing, later, before_read, was_pending, is_calling } = self;
        FramedConnection { io: change(io), waker, closing, later, before_read, was_pending, is_calling }
    }

    /// Whether there is more to do than to read: later replies are in progress, or the handler must be called for
    /// a gap.
    /// To be called before each read.
    #[inline]
    pub(crate) fn has_other_work(&mut self) -> bool {
        if self.before_read == 0 {
            return false;
        }
        if self.before_read & WAITED != 0 {
            self.before_read &= !WAITED;
            self.io.deadlines.reading_resumed();
        }
        self.before_read & (LATER_REPLIES | GAP) != 0
    }

    pub(crate) fn read_more(&mut self) -> impl Future<Output = Result<(), CloseOutcome>> {
        let mut has_waited = false;
        poll_fn(move |cx| {
            // Input is the most likely reason of a wake-up. Everything else is checked before the next wait.
            if has_waited {
                if !self.is_quiet(cx) {
                    if self.has_gap() {
                        return Poll::Ready(Ok(()));
                    }
                } else if let Poll::Ready(read) = self.io.poll_read_message(cx) {
                    return Poll::Ready(read);
                }
            }
            has_waited = true;
            let expired = self.poll_background(cx, DriverActivity::Reading, PushedFrames::Encode)?;
            self.poll_input(cx, expired)
        })
    }

    /// Whether there is no signal and nothing to write, and the task is the one that is registered.
    fn is_quiet(&self, cx: &Context<'_>) -> bool {
        self.io.connection.current_signal() == ControlSignal::Continue
            && self.closing.is_none()
            && self.io.is_flushed()
            && outbox::is_clear(&self.io.connection)
            && self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// The reply to the last message is encoded.
    pub(crate) fn message_handled(&mut self) {
        if std::mem::take(&mut self.was_pending) {
            self.io.record_latency(self.io.deadlines.now());
        }
    }

    /// Yields if the task has used up its budget or handles a burst, and checks for control signals.
    pub(crate) async fn yield_now(&mut self) -> Result<(), CloseOutcome> {
        let mut yields = self.io.is_burst();
        poll_fn(|cx| {
            if let Some(reason) = self.io.connection.current_signal().immediate_close_reason() {
                return Poll::Ready(Err(CloseOutcome::plain(reason)));
            }
            if std::mem::take(&mut yields) {
                self.poll_working(cx, PushedFrames::Keep)?;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(budget) = coop::poll_proceed(cx) else {
                self.poll_working(cx, PushedFrames::Keep)?;
                return Poll::Pending;
            };
            budget.made_progress();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Adds the frames pushed so far to the output, before any frame that is encoded later.
    pub(crate) async fn encode_pushed(&mut self) -> Result<(), CloseOutcome> {
        for _ in 0..self.io.writer.outbox.len().max(ROOM_FRAMES_PER_TURN) {
            if !self.io.encode_pushed()? {
                break;
            }
            self.wait_for_write_capacity().await?;
        }
        Ok(())
    }

    pub(crate) async fn wait_for_write_capacity(&mut self) -> Result<(), CloseOutcome> {
        if self.io.writer.has_capacity() {
            return Ok(());
        }
        self.before_read |= WAITED;
        poll_fn(|cx| {
            self.poll_working(cx, PushedFrames::Keep)?;
            if self.io.writer.has_capacity() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Writes the queued output after the session ended for `reason`. Returns an outcome if the peer stopped
    /// reading or the connection was aborted meanwhile.
    pub(crate) async fn flush_remaining(&mut self, reason: CloseReason) -> Option<CloseOutcome> {
        self.start_closing(reason);
        let mut failed = None;
        if is_graceful(reason) {
            // A close by the peer during this write does not change the reason.
            failed = self.write_all().await.err().filter(|failed| {
                if failed.reason == CloseReason::IoError {
                    self.io.reader.ended = true;
                }
                failed.reason.is_cut() || matches!(failed.reason, CloseReason::Banned | CloseReason::WriteStalled)
            });
        }
        self.io.record_latency(self.io.deadlines.now());
        failed
    }

    /// Writes the encoded output, without frames that are pushed meanwhile.
    pub(crate) async fn write_encoded(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            self.poll_working(cx, PushedFrames::Keep)?;
            if self.io.is_flushed() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    async fn write_all(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            self.poll_working(cx, PushedFrames::Encode)?;
            if self.io.is_finished() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// The connection closes when the messages in progress are handled. The first reason is kept.
    fn start_closing(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
        self.io.deadlines.ignores_lifetime = true;
    }

    /// Reads once. `expired`: the reason of a deadline that has passed.
    #[inline]
    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        expired: Option<CloseReason>,
    ) -> Poll<Result<(), CloseOutcome>> {
        let io = &mut self.io;
        if let Some(reason) = self.closing {
            if !io.reader.is_draining {
                io.receive_last_input(cx)?;
                return Poll::Ready(Ok(()));
            }
            if io.reader.is_drained() {
                return Poll::Ready(Err(CloseOutcome::plain(reason)));
            }
        }
        let read = if io.writer.is_empty() {
            io.poll_read_message(cx)
        } else {
            io.reader.buffer.release();
            Poll::Pending // no reading while the peer does not read
        };
        match expired {
            // Input that is there already counts. A part of a message does not move the deadline of the message.
            Some(reason) if read.is_pending() => Poll::Ready(Err(CloseOutcome::plain(reason))),
            _ => read,
        }
    }

    /// Reads a little while no message is decoded: if the peer has closed, the work is aborted.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        // First, or a peer that continues to send would delay the close.
        if self.closing.is_some() && !self.io.reader.is_draining {
            self.io.receive_last_input(cx)?;
        }
        self.io.read_ahead(cx)
    }

    /// Like [`poll_background`](Self::poll_background), while no input is awaited.
    pub(super) fn poll_working(&mut self, cx: &mut Context<'_>, pushed: PushedFrames) -> Result<(), CloseOutcome> {
        self.io.before_wait();
        if let Some(reason) = self.poll_background(cx, DriverActivity::Working, pushed)? {
            return Err(CloseOutcome::plain(reason));
        }
        if let Some(later) = &mut self.later {
            later.poll(cx); // the replies are written when the driver is ready for them
        }
        Ok(())
    }

    #[cold]
    fn handle_signal(&mut self, signal: ControlSignal, activity: DriverActivity) -> Result<(), CloseOutcome> {
        match (signal, signal.immediate_close_reason()) {
            (_, Some(reason)) => return Err(CloseOutcome::plain(reason)),
            (ControlSignal::Drain, _) => self.start_closing(CloseReason::Drain),
            (ControlSignal::Finish, _) if activity != DriverActivity::Working => {
                return Err(CloseOutcome::plain(CloseReason::HandlerClosed));
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles control signals, writes output and checks deadlines. Registers the task for everything that is pending.
    /// Returns the reason of a deadline that has passed.
    pub(super) fn poll_background(
        &mut self,
        cx: &mut Context<'_>,
        activity: DriverActivity,
        pushed: PushedFrames,
    ) -> Result<Option<CloseReason>, CloseOutcome> {
        // The waker is registered again only if it has changed.
        let signal = if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.io.connection.current_signal()
        } else {
            self.waker = Some(cx.waker().clone());
            self.io.deadlines.armed_for = None;
            self.io.connection.poll_signal(cx.waker())
        };
        if signal != ControlSignal::Continue {
            self.handle_signal(signal, activity)?;
        }
        self.io.poll_write(cx)?;
        if !outbox::is_clear(&self.io.connection) {
            self.poll_pushed(cx, activity, pushed)?;
        }
        self.io.count_messages();
        let expired = self.io.deadlines.poll_expired(cx, activity);
        if activity != DriverActivity::Working {
            self.io.record_latency(self.io.deadlines.last_transfer());
        }
        if expired == Some(CloseReason::Lifetime) {
            self.start_closing(CloseReason::Lifetime);
            cx.waker().wake_by_ref();
            return Ok(None);
        }
        Ok(expired)
    }
}
