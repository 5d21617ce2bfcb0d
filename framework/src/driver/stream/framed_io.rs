//! The transport of one connection with its codec: reads and writes frames, and keeps counters, latency and deadlines.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, Moment};
use crate::deadline_timer;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::buffer::LARGE_BUFFER;
use crate::driver::stream::deadlines::Deadlines;
use crate::driver::stream::latency::LatencyTracker;
use crate::driver::stream::linger::{ABORT_LINGER_TIMEOUT, is_graceful, linger, lingering_close};
use crate::driver::stream::reader::FramedReader;
use crate::driver::stream::writer::FramedWriter;
use crate::framing::Framing;
use crate::outbox::Outbox;
use crate::settings::{Limits, Timeouts};
use crate::transport::{BoxIo, Incoming, StartTls};

/// Maximum bytes read while a message is handled, to detect that the peer has closed. Behind more input, a close is
/// detected when the reply is written.
pub(crate) const MAX_READ_AHEAD: usize = 4 * 1024;
/// Maximum time to write the last message of an aborted connection.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages handled in a row before the driver uses up a part of its budget, after which it yields to other tasks.
const MESSAGES_PER_TURN: u32 = 32;
/// Messages of a burst before the driver yields to other tasks. Less than the default of `limits.outbox`.
const MESSAGES_PER_BURST: u32 = 128;
/// Maximum frames of rooms encoded in a row. Pushed frames are encoded up to the last one.
pub(super) const ROOM_FRAMES_PER_TURN: usize = 128;

pub(crate) struct FramedIo<F: Framing> {
    pub(crate) transport: BoxIo,
    pub(super) codec: F::Codec,
    pub(crate) start_tls: Option<Box<StartTls>>,
    pub(crate) connection: Connection,
    pub(crate) reader: FramedReader,
    pub(crate) writer: FramedWriter<F::Out>,
    pub(crate) deadlines: Deadlines,
    pub(crate) latency: LatencyTracker,
}

impl<F: Framing> FramedIo<F> {
    pub(crate) fn new(
        incoming: Incoming,
        framing: &F,
        limits: &Limits,
        timeouts: Arc<Timeouts>,
        outbox: Arc<Outbox<F::Out>>,
    ) -> Self {
        let Incoming { connection, io, start_tls } = incoming;
        Self {
            transport: io,
            start_tls,
            codec: framing.codec(limits.frame),
            reader: FramedReader::new(framing.limit(limits.frame)),
            writer: FramedWriter::new(outbox),
            deadlines: Deadlines::new(timeouts, connection.clone()),
            latency: LatencyTracker::default(),
            connection,
        }
    }

    /// The same connection with another framing. Its undecoded input belongs to the new framing.
    pub(crate) fn with_framing<G>(self, framing: &G, frame_limit: usize) -> FramedIo<G>
    where
        G: Framing<In = F::In, Out = F::Out>,
    {
        let Self { transport, start_tls, connection, mut reader, writer, deadlines, latency, .. } = self;
        reader.set_limit(framing.limit(frame_limit));
        let codec = framing.codec(frame_limit);
        FramedIo { transport, codec, start_tls, connection, reader, writer, deadlines, latency }
    }

    /// The same connection with a codec that contains the present one.
    #[cfg(feature = "script")]
    pub(crate) fn with_codec<G>(self, wrap: impl FnOnce(F::Codec) -> G::Codec) -> FramedIo<G>
    where
        G: Framing<In = F::In, Out = F::Out>,
    {
        let Self { transport, codec, start_tls, connection, reader, writer, deadlines, latency } = self;
        FramedIo { transport, codec: wrap(codec), start_tls, connection, reader, writer, deadlines, latency }
    }

    #[inline(always)] // the result is a message that a function of its own would copy
    pub(crate) fn next_message(&mut self) -> Result<Option<F::In>, CloseOutcome> {
        let message = self.reader.decode(&mut self.codec)?;
        if message.is_some() {
            self.deadlines.message_received();
        } else {
            self.deadlines.message_incomplete(self.reader.undecoded);
        }
        Ok(message)
    }

    pub(crate) fn should_yield(&self) -> bool {
        u32::from(self.reader.decoded).is_multiple_of(MESSAGES_PER_TURN)
    }

    /// Whether a client has sent many messages at once. The connections that its messages push to then get a turn
    /// before their outboxes are full.
    pub(crate) fn is_burst(&self) -> bool {
        u32::from(self.reader.decoded).is_multiple_of(MESSAGES_PER_BURST) && self.reader.undecoded > 0
    }

    /// Adds the messages decoded since the last call to the counter of the connection.
    #[inline]
    pub(crate) fn count_messages(&mut self) {
        if self.reader.uncounted > 0 {
            self.connection.counters().messages.add(std::mem::take(&mut self.reader.uncounted) as usize);
        }
    }

    pub(crate) fn record_latency(&mut self, now: Moment) {
        self.count_messages();
        self.latency.record(&self.connection, now, !self.reader.buffer.bytes.is_empty());
    }

    /// Whether the encoded output is written and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.writer.is_empty() && self.deadlines.write_blocked.is_none()
    }

    /// Whether the pushed frames are written too.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_flushed() && self.writer.outbox.len() == 0
    }

    /// Tells the codec that the connection waits for something other than input.
    pub(super) fn before_wait(&mut self) {
        F::before_wait(&mut self.codec);
    }

    #[inline]
    pub(crate) fn encode(&mut self, frame: F::Out) -> Result<(), CloseOutcome> {
        self.writer.encode(&mut self.codec, frame)
    }

    /// Adds the oldest pushed frame to the output. False if there is none.
    pub(crate) fn encode_pushed(&mut self) -> Result<bool, CloseOutcome> {
        self.writer.encode_pushed(&mut self.codec)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        self.writer.poll_write(&mut self.transport, cx, &mut self.deadlines, self.connection.counters())
    }

    /// Writes frames that were pushed, and applies changed timeouts. Returns whether a frame is left for another turn.
    #[cold]
    pub(super) fn write_pushed(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseOutcome> {
        if let Some(changed) = self.writer.outbox.take_timeouts() {
            self.deadlines.change_timeouts(changed);
        }
        for _ in 0..self.writer.outbox.len().max(ROOM_FRAMES_PER_TURN) {
            if !self.encode_pushed()? || !self.writer.has_capacity() {
                break;
            }
        }
        if !self.writer.is_empty() {
            self.poll_write(cx)?;
        }
        Ok(self.writer.is_empty() && self.writer.outbox.len() > 0)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseOutcome>> {
        let bytes = ready!(self.reader.poll_read(&mut self.transport, cx))?;
        if bytes > 0 {
            self.connection.counters().bytes_in.add(bytes);
            self.deadlines.bytes_read();
            self.count_messages();
            self.latency.input_read(&self.connection, &self.deadlines);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, or twice if the first read fills a small buffer: it must not split a raw message.
    pub(crate) fn poll_read_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseOutcome>> {
        let used_large_buffer = self.reader.buffer.wants_large;
        let read = self.poll_read(cx);
        if self.reader.buffer.wants_large
            && !used_large_buffer
            && matches!(read, Poll::Ready(Ok(())))
            && let Poll::Ready(rest) = self.poll_read(cx)
        {
            rest?;
        }
        read
    }

    /// The connection closes: the input that the system has already received counts as messages in progress, and later
    /// input does not.
    pub(crate) fn receive_last_input(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        while self.reader.wants_input(LARGE_BUFFER) && self.poll_read(cx)?.is_ready() {}
        self.reader.begin_drain();
        Ok(())
    }

    /// Reads a little while a message is handled, to notice that the peer has closed.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), CloseOutcome> {
        while self.writer.is_empty() && self.reader.wants_input(MAX_READ_AHEAD) {
            match self.poll_read(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Writes the last message of an aborted connection, within a short time.
    pub(crate) async fn write_last_message(&mut self) {
        let io = self;
        let write = poll_fn(|cx| {
            if io.writer.is_empty() {
                while io.encode_pushed()? {}
            }
            io.poll_write(cx)?;
            if io.is_finished() { Poll::Ready(Ok::<_, CloseOutcome>(())) } else { Poll::Pending }
        });
        let _ = deadline_timer::timeout(LAST_MESSAGE_TIMEOUT, write).await;
    }

    pub(crate) async fn lingering_close(&mut self, reason: CloseReason, has_last_message: bool) {
        let last_write = self.deadlines.last_write().filter(|_| !self.reader.ended);
        if has_last_message && !is_graceful(reason) {
            linger(&mut self.transport, ABORT_LINGER_TIMEOUT).await;
        } else {
            lingering_close(&mut self.transport, &self.connection, reason, last_write).await;
        }
    }

    /// Closes the transport, and drops the output that was not written.
    pub(crate) fn release(&mut self) {
        self.transport = BoxIo::new(tokio::io::empty());
        self.writer.discard();
        self.writer.outbox.drop_frames();
    }
}
