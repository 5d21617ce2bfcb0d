//! One connection's bytes: reading, decoding, encoding, writing, and closing in good order.
//!
//! The wire knows nothing of handlers. Whoever uses it works through [`FramedConnection::during`], which keeps the connection alive
//! (orders, pushes, writing, clocks) while something else is awaited.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::task::coop;
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::io::poll_read_buf;

use crate::connection::{Connection, ControlSignal};
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::buffer_pool::{self, CHUNK};
use crate::driver::stream::deadlines::{Deadlines, Doing};
use crate::driver::stream::latency::LatencyTracker;
use crate::driver::stream::linger::{LINGER, is_polite, lingering_close};
use crate::driver::stream::read_buffer::{OVERHEAD, ReadBuffer};
use crate::error::BoxError;
use crate::framing::Framing;
use crate::outbox::Outbox;
use crate::reason::CloseReason;
use crate::settings::{Limits, Timeouts};
use crate::transport::{BoxIo, Incoming};

/// While a message is handled, so much is read ahead: enough to notice that the peer has left.
pub(crate) const READ_AHEAD: usize = 4 * 1024;
/// What is left of an answer below this size does not keep a whole chunk.
const SMALL: usize = CHUNK / 4;

pub(crate) struct FramedConnection<F: Framing> {
    io: BoxIo,
    codec: F::Codec,
    limit: usize,
    connection: Connection,
    outbox: Arc<Outbox<F::Out>>,
    deadlines: Deadlines,
    /// Whom connection and clocks wake.
    driver: Option<Waker>,
    /// Read, not yet decoded.
    input: ReadBuffer,
    /// Encoded, not yet written. Unallocated while it is empty.
    output: BytesMut,
    /// Written, perhaps not yet flushed by the transport.
    unflushed: bool,
    /// The peer has ended its input.
    ended: bool,
    /// Bytes since the end of the last whole message, whether the codec still has them in the buffer or not.
    since_message: usize,
    /// DropReason the connection ends at the next boundary, if it does.
    leaving: Option<CloseReason>,
    /// Once it leaves: how many bytes of messages that had begun to arrive are still to be answered.
    under_way: Option<usize>,
    /// Something was awaited that was not ready at once.
    waited: bool,
    latency: LatencyTracker,
    bytes_in: u64,
    bytes_out: u64,
}

impl<F: Framing> FramedConnection<F> {
    pub(crate) fn new(
        incoming: Incoming,
        framing: &F,
        limits: &Limits,
        timeouts: Arc<Timeouts>,
        outbox: Arc<Outbox<F::Out>>,
    ) -> Self {
        let Incoming { connection, io } = incoming;
        let limit = framing.limit(limits.frame);
        Self {
            io,
            codec: framing.codec(limits.frame),
            limit,
            deadlines: Deadlines::new(timeouts, connection.opened()),
            driver: None,
            connection,
            outbox,
            input: ReadBuffer::default(),
            output: BytesMut::new(),
            unflushed: false,
            ended: false,
            since_message: 0,
            leaving: None,
            under_way: None,
            waited: false,
            latency: LatencyTracker::default(),
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Nothing more is taken from pushers.
    pub(crate) fn close_outbox(&self) {
        self.outbox.close();
    }

    /// The next whole message that has been read, or `None` when more must be read first.
    #[inline]
    pub(crate) fn next_message(&mut self) -> Result<Option<F::In>, CloseOutcome> {
        if self.under_way == Some(0) {
            return Ok(None);
        }
        let decoded = if self.ended {
            self.codec.decode_eof(&mut self.input.bytes)
        } else {
            self.codec.decode(&mut self.input.bytes)
        };
        match decoded.map_err(|error| CloseOutcome::from_decoder(error.into()))? {
            Some(message) => {
                let consumed = self.since_message.saturating_sub(self.input.bytes.len());
                self.since_message = self.input.bytes.len();
                self.under_way = self.under_way.map(|bytes| bytes.saturating_sub(consumed));
                self.latency.messages += 1;
                self.deadlines.message();
                Ok(Some(message))
            }
            None if self.ended && self.since_message > 0 => Err(CloseOutcome::plain(CloseReason::BadFrame)),
            None if self.ended => Err(CloseOutcome::plain(CloseReason::PeerClosed)),
            None if self.since_message > self.limit.saturating_add(OVERHEAD) => {
                Err(CloseOutcome::plain(CloseReason::FrameTooLarge))
            }
            None => {
                self.deadlines.begun(self.since_message > 0);
                self.input.tidy();
                Ok(None)
            }
        }
    }

    /// Whether so many messages were handled in a row that others should have their turn.
    pub(crate) fn has_had_its_turn(&self) -> bool {
        self.latency.messages.is_multiple_of(32)
    }

    /// Lets others have their turn, and looks for orders.
    pub(crate) async fn give_way(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            if let Some(reason) = self.connection.current_signal().immediate_close_reason() {
                return Poll::Ready(Err(CloseOutcome::plain(reason)));
            }
            let Poll::Ready(budget) = coop::poll_proceed(cx) else {
                self.background(cx, Doing::Working, false)?;
                return Poll::Pending;
            };
            budget.made_progress();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Writes what is queued and waits until something new was read.
    pub(crate) async fn fill(&mut self) -> Result<(), CloseOutcome> {
        if std::mem::take(&mut self.waited) {
            self.deadlines.resume();
        }
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Awaits `work` while the connection goes on living. Work that is ready at once costs nothing more.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CloseOutcome> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.waited = true;
            self.latency.waits();
            self.background(cx, Doing::Working, true)?;
            self.read_ahead(cx)?;
            Poll::Pending
        })
        .await
    }

    /// The call for a message has done its work.
    #[inline]
    pub(crate) fn handled(&mut self) {
        if self.latency.was_slow() {
            self.time(Instant::now());
        }
    }

    /// The call for a message has failed.
    pub(crate) fn failed(&mut self, error: BoxError) -> CloseOutcome {
        self.latency.failed(&self.connection, error)
    }

    fn time(&mut self, now: Instant) {
        self.latency.told(&self.connection, now, !self.input.bytes.is_empty());
    }

    /// Adds a frame to the output.
    #[inline]
    pub(crate) fn encode(&mut self, frame: F::Out) -> Result<(), CloseOutcome> {
        if self.output.capacity() == 0 {
            self.output = buffer_pool::take(CHUNK);
        }
        self.codec.encode(frame, &mut self.output).map_err(|error| CloseOutcome::from_encoder(error.into()))
    }

    /// Whether nothing has been pushed that must leave before what is encoded next.
    #[inline]
    pub(crate) fn nothing_pushed(&self) -> bool {
        self.outbox.waiting() == 0
    }

    /// Adds what has been pushed so far: it leaves before anything encoded after this.
    pub(crate) async fn encode_pushed(&mut self) -> Result<(), CloseOutcome> {
        for _ in 0..self.outbox.waiting() {
            let Some(frame) = self.outbox.take() else { break };
            self.encode(frame)?;
            self.make_room().await?;
        }
        Ok(())
    }

    /// Waits until the output is no longer full.
    pub(crate) async fn make_room(&mut self) -> Result<(), CloseOutcome> {
        if self.output.len() < CHUNK {
            return Ok(());
        }
        self.waited = true;
        poll_fn(|cx| {
            self.background(cx, Doing::Working, false)?;
            if self.output.len() < CHUNK { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Writes everything that is queued, pushes included, under the write deadline.
    async fn write_all(&mut self) -> Result<(), CloseOutcome> {
        poll_fn(|cx| {
            self.background(cx, Doing::Working, true)?;
            let done = self.output.is_empty() && !self.unflushed && self.outbox.waiting() == 0;
            if done { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// The conversation has ended for `reason`: what is queued is written where that still makes sense, or dropped, if
    /// `discard` says so. SendQueue how the connection ended instead, if the peer would not take it or it was cut meanwhile.
    pub(crate) async fn settle(&mut self, reason: CloseReason, discard: bool) -> Option<CloseOutcome> {
        self.leaving.get_or_insert(reason); // no lifetime any more
        let mut failed = None;
        if is_polite(reason) {
            if discard {
                self.output.clear();
                while self.outbox.take().is_some() {}
            }
            // That the peer has left meanwhile is no news: how the conversation ended is what counts.
            failed = self.write_all().await.err().filter(|failed| {
                self.ended |= failed.reason == CloseReason::IoError;
                failed.reason.is_cut() || failed.reason == CloseReason::WriteStalled
            });
        }
        self.time(Instant::now());
        self.publish();
        failed
    }

    /// Says goodbye to the peer.
    pub(crate) async fn lingering_close(&mut self, reason: CloseReason) {
        let wrote = self.deadlines.wrote_within(LINGER);
        lingering_close(&mut self.io, &self.connection, reason, wrote, self.ended).await;
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseOutcome>> {
        self.background(cx, Doing::Reading, true)?;
        if let Some(reason) = self.leaving {
            match self.under_way {
                // What has begun to arrive counts as under way: one last look, which takes in all that is there.
                None => {
                    while !self.ended && self.input.bytes.len() < CHUNK && self.poll_read(cx)?.is_ready() {}
                    self.under_way = Some(self.since_message);
                    return Poll::Ready(Ok(()));
                }
                Some(0) => return Poll::Ready(Err(CloseOutcome::plain(reason))),
                Some(_) => {}
            }
        }
        if !self.output.is_empty() {
            self.input.release();
            return Poll::Pending; // reading stops while the peer does not read
        }
        let was_hungry = self.input.hungry;
        let read = self.poll_read(cx);
        if self.input.hungry && !was_hungry && matches!(read, Poll::Ready(Ok(()))) {
            // The buffer was too small for what there is: raw messages are not cut where it ended.
            if let Poll::Ready(more) = self.poll_read(cx) {
                more?;
            }
        }
        read
    }

    /// What goes on whatever else is awaited. Registers the task for everything that it leaves undone.
    fn background(&mut self, cx: &mut Context<'_>, doing: Doing, take_pushed: bool) -> Result<(), CloseOutcome> {
        // Who is to be woken is said again only when that changes.
        let known = self.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker()));
        let order = if known {
            self.connection.current_signal()
        } else {
            self.driver = Some(cx.waker().clone());
            self.connection.order(cx.waker())
        };
        if let Some(reason) = order.immediate_close_reason() {
            return Err(CloseOutcome::plain(reason));
        }
        if order == ControlSignal::Leave {
            self.leaving.get_or_insert(CloseReason::Drain);
        }
        self.poll_write(cx)?;
        if take_pushed && self.output.is_empty() {
            self.take_pushed(cx)?;
        }
        self.publish();
        let expired = self.deadlines.expired(cx, doing, self.leaving.is_some(), known);
        if doing == Doing::Reading {
            self.time(self.deadlines.active());
        }
        match expired {
            None => Ok(()),
            Some(CloseReason::Lifetime) => {
                self.leaving.get_or_insert(CloseReason::Lifetime);
                cx.waker().wake_by_ref();
                Ok(())
            }
            Some(reason) => Err(CloseOutcome::plain(reason)),
        }
    }

    fn take_pushed(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        let mut took = false;
        for _ in 0..self.outbox.waiting() {
            let Some(frame) = self.outbox.take() else { break };
            self.encode(frame)?;
            took = true;
            if self.output.len() >= CHUNK {
                break;
            }
        }
        if took {
            self.poll_write(cx)?;
            if self.output.is_empty() && self.outbox.waiting() > 0 {
                cx.waker().wake_by_ref(); // pushers are quick: the next round, after others had theirs
            }
        }
        Ok(())
    }

    /// Writes as much as the peer takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(CloseOutcome::from_io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    if bytes == self.output.len() {
                        self.output.clear();
                    } else {
                        self.output.advance(bytes);
                    }
                    self.bytes_out += bytes as u64;
                    self.unflushed = true;
                    self.deadlines.wrote();
                }
                Poll::Ready(Err(error)) => return Err(CloseOutcome::from_io(error)),
                Poll::Pending => {
                    self.deadlines.blocked();
                    if self.output.len() < SMALL && self.output.capacity() >= CHUNK / 2 {
                        let rest = BytesMut::from(&self.output[..]);
                        buffer_pool::give(std::mem::replace(&mut self.output, rest), CHUNK);
                    }
                    return Ok(());
                }
            }
        }
        if self.output.capacity() > 0 {
            buffer_pool::give(std::mem::take(&mut self.output), CHUNK);
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(result) => {
                    result.map_err(CloseOutcome::from_io)?;
                    self.unflushed = false;
                    self.deadlines.flushed();
                }
                Poll::Pending => self.deadlines.blocked(),
            }
        }
        Ok(())
    }

    /// One read. The buffer for it comes from the thread, and goes back there unless enough came to keep it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseOutcome>> {
        let room = self.input.room();
        let mut chunk = self.input.buffer(room);
        let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.io), cx, &mut chunk) else {
            buffer_pool::give(chunk, room);
            return Poll::Pending;
        };
        let bytes = match read {
            // TLS reports so that the peer left without saying that it ends. Between messages that cuts nothing short.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.since_message == 0 => 0,
            read => read.map_err(CloseOutcome::from_io)?,
        };
        if bytes == 0 {
            self.ended = true;
        } else {
            self.bytes_in += bytes as u64;
            self.since_message += bytes;
            self.deadlines.read();
            self.latency.read();
        }
        self.input.take_in(chunk, room, self.limit);
        Poll::Ready(Ok(()))
    }

    /// Reads a little while a message is handled: a peer that has left is noticed, and its call is not kept running.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        while !self.ended && self.output.is_empty() && self.input.bytes.len() < READ_AHEAD {
            match self.poll_read(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn publish(&self) {
        let counters = self.connection.counters();
        counters.messages.store(self.latency.messages, Relaxed);
        counters.bytes_in.store(self.bytes_in, Relaxed);
        counters.bytes_out.store(self.bytes_out, Relaxed);
    }
}
