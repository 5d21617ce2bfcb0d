//! One framed connection, driven in a single task: input, output, pushed frames, deadlines and control signals.
//!
//! The session awaits handler calls through [`FramedConnection::drive_while`], which drives the connection meanwhile.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop;
use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::connection::ControlSignal;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::buffer::LARGE_BUFFER;
use crate::driver::stream::deadlines::DriverActivity;
use crate::driver::stream::framed_io::FramedIo;
use crate::driver::stream::linger::is_graceful;
use crate::framing::Framing;

pub(crate) struct FramedConnection<F: Framing> {
    pub(crate) io: FramedIo<F>,
    waker: Option<Waker>,
    /// Why the connection closes when the messages in progress are handled.
    closing: Option<CloseReason>,
    /// The driver has waited for something other than input.
    waited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PushedFrames {
    Encode,
    Keep,
}

impl<F: Framing> FramedConnection<F> {
    pub(crate) fn new(io: FramedIo<F>) -> Self {
        Self { io, waker: None, closing: None, waited: false }
    }

    pub(crate) async fn read_more(&mut self) -> Result<(), CloseOutcome> {
        if std::mem::take(&mut self.waited) {
            self.io.deadlines.reading_resumed();
        }
        poll_fn(|cx| self.poll_read_more(cx)).await
    }

    /// Awaits `work` while the connection is driven. Costs nothing if `work` is ready immediately.
    pub(crate) async fn drive_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CloseOutcome> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.waited = true;
            self.io.latency.slow = true;
            self.poll_working(cx, PushedFrames::Encode)?;
            self.io.read_ahead(cx)?;
            Poll::Pending
        })
        .await
    }

    /// Yields if the task has used up its budget, and checks for control signals.
    pub(crate) async fn yield_now(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            if let Some(reason) = self.io.connection.current_signal().immediate_close_reason() {
                return Poll::Ready(Err(CloseOutcome::plain(reason)));
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
        for _ in 0..self.io.writer.outbox.len() {
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
        self.waited = true;
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
                failed.reason.is_cut() || failed.reason == CloseReason::WriteStalled
            });
        }
        self.io.record_latency(Instant::now());
        self.io.publish_messages();
        failed
    }

    async fn write_all(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            self.poll_working(cx, PushedFrames::Encode)?;
            if self.io.writer.is_finished() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// The connection closes when the messages in progress are handled. The first reason is kept.
    fn start_closing(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
        self.io.deadlines.ignores_lifetime = true;
    }

    fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseOutcome>> {
        let expired = self.poll_background(cx, DriverActivity::Reading, PushedFrames::Encode)?;
        let io = &mut self.io;
        if let Some(reason) = self.closing {
            if io.reader.draining_bytes.is_none() {
                // Input that the system has already received counts as a message in progress.
                while io.reader.wants_input(LARGE_BUFFER) && io.poll_read(cx)?.is_ready() {}
                io.reader.draining_bytes = Some(io.reader.undecoded);
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

    /// Like [`poll_background`](Self::poll_background), while no input is awaited.
    fn poll_working(&mut self, cx: &mut Context<'_>, pushed: PushedFrames) -> Result<(), CloseOutcome> {
        match self.poll_background(cx, DriverActivity::Working, pushed)? {
            None => Ok(()),
            Some(reason) => Err(CloseOutcome::plain(reason)),
        }
    }

    /// Handles control signals, writes output and checks deadlines. Registers the task for everything that is pending.
    /// Returns the reason of a deadline that has passed.
    fn poll_background(
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
        if let Some(reason) = signal.immediate_close_reason() {
            return Err(CloseOutcome::plain(reason));
        }
        if signal == ControlSignal::Drain {
            self.start_closing(CloseReason::Drain);
        }
        self.io.poll_write(cx)?;
        if pushed == PushedFrames::Encode && self.io.writer.is_empty() {
            self.io.write_pushed(cx)?;
        }
        self.io.publish_messages();
        let expired = self.io.deadlines.poll_expired(cx, activity);
        if activity == DriverActivity::Reading {
            self.io.record_latency(self.io.deadlines.last_activity);
        }
        if expired == Some(CloseReason::Lifetime) {
            self.start_closing(CloseReason::Lifetime);
            cx.waker().wake_by_ref();
            return Ok(None);
        }
        Ok(expired)
    }
}
