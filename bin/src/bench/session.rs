//! A connection that sends messages and measures their replies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use switchboard::Endpoint;
use switchboard::framing::{AnyCodec, Framing};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::io::poll_read_buf;

use super::arrivals::Source;
use super::load::Load;
use super::results::{Error, Kind, Results, wrong_size};
use crate::dial::sent_tls_alert;
use crate::exit;

/// Maximum size of one read.
const READ_SIZE: usize = 16 * 1024;
/// More messages are encoded when less than this is unsent.
const WRITE_SIZE: usize = 64 * 1024;
/// At the end, how long to wait for replies that belong to no message.
const SURPLUS_TIMEOUT: Duration = Duration::from_millis(100);

/// Timeout of the end of TLS when a connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// A message that waits for its replies.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    sent: Instant,
    size: usize,
}

pub(super) struct Session<'a, S> {
    stream: S,
    load: &'a Load,
    results: &'a RefCell<Results>,
    codec: AnyCodec,
    input: BytesMut,
    output: BytesMut,
    is_flushed: bool,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// Replies that the oldest message still gets, and the size of those that it got.
    missing_replies: u32,
    reply_bytes: usize,
    /// The size of a wrong reply to the oldest message.
    wrong_size: Option<usize>,
    awaits_greeting: bool,
    has_read: bool,
}

/// What happened to the connection.
enum Progress {
    /// Bytes were read; none at the end.
    Read(usize),
    /// Everything was written.
    Written,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    pub(super) fn new(stream: S, load: &'a Load, results: &'a RefCell<Results>) -> Self {
        Self {
            stream,
            load,
            results,
            codec: load.framing.codec(load.max_reply()),
            input: BytesMut::new(),
            output: BytesMut::new(),
            is_flushed: true,
            waiting: VecDeque::new(),
            missing_replies: load.replies,
            reply_bytes: 0,
            wrong_size: None,
            awaits_greeting: load.has_greeting,
            has_read: false,
        }
    }

    /// Runs until the source is finished and every message is answered. Counts the messages of an error.
    pub(super) async fn run(&mut self, source: &mut Source) -> Result<(), ()> {
        match self.exchange(source).await {
            Ok(()) => {
                let _ = timeout(CLOSE_TIMEOUT, self.stream.shutdown()).await;
                Ok(())
            }
            Err(error) => {
                let lost = self.waiting.len().max(1) as u64;
                self.results.borrow_mut().failed(lost, error);
                Err(())
            }
        }
    }

    async fn exchange(&mut self, source: &mut Source) -> Result<(), Error> {
        if !self.awaits_greeting {
            self.expect_no_greeting().await?;
        }
        let opened = Instant::now();
        let mut timer = Box::pin(sleep_until(opened + self.load.timeout));
        loop {
            self.encode(source)?;
            let is_idle = self.waiting.is_empty() && !self.awaits_greeting;
            if is_idle && source.is_finished() {
                return self.expect_nothing(source).await;
            }
            let can_send = !self.awaits_greeting && self.waiting.len() < self.load.depth;
            let progress = tokio::select! {
                biased;
                progress = poll_fn(|cx| self.poll(cx)) => progress.map_err(|error| self.broken(&error))?,
                () = source.changed(), if can_send => continue,
                () = &mut timer => {
                    let oldest = self.waiting.front().map_or(Instant::now(), |message| message.sent);
                    let deadline = if self.awaits_greeting { opened } else { oldest } + self.load.timeout;
                    if deadline <= Instant::now() {
                        return Err(self.timed_out());
                    }
                    timer.as_mut().reset(deadline);
                    continue;
                }
            };
            if let Progress::Read(count) = progress {
                self.decode(count == 0)?;
            }
        }
    }

    /// A message that has arrived already would be taken for a reply.
    async fn expect_no_greeting(&mut self) -> Result<(), Error> {
        match poll_fn(|cx| Poll::Ready(self.poll(cx))).await {
            Poll::Ready(Ok(Progress::Read(1..))) => Err(surplus()),
            Poll::Ready(Err(error)) => Err(self.broken(&error)),
            // The end of the connection is read again.
            _ => Ok(()),
        }
    }

    /// Encodes the messages that are due.
    fn encode(&mut self, source: &mut Source) -> Result<(), Error> {
        while !self.awaits_greeting && self.waiting.len() < self.load.depth && self.output.len() < WRITE_SIZE {
            let Some(due) = source.take() else { break };
            let before = self.output.len();
            let encoded = self.codec.encode(self.load.message.clone(), &mut self.output);
            encoded.map_err(|error| Error::new(Kind::Io, format!("a message cannot be encoded: {error}")))?;
            let (sent, size) = (Instant::now(), self.output.len() - before);
            self.waiting.push_back(Waiting { due, sent, size });
        }
        Ok(())
    }

    /// Writes what the connection takes, then reads.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        let mut has_written = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.output.advance(count),
                Poll::Pending => break,
            }
            self.is_flushed = false;
            has_written = self.output.is_empty();
        }
        // TLS keeps what the socket did not take.
        if !self.is_flushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.is_flushed = true;
        }
        self.input.reserve(READ_SIZE);
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)? {
            Poll::Ready(count) => Poll::Ready(Ok(Progress::Read(count))),
            Poll::Pending if has_written && self.waiting.len() < self.load.depth => Poll::Ready(Ok(Progress::Written)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Assigns the replies of the input to their messages.
    fn decode(&mut self, is_end: bool) -> Result<(), Error> {
        let is_first = !self.has_read;
        self.has_read |= !self.input.is_empty();
        if is_first && matches!(self.load.server.address, Endpoint::Tcp(_)) && sent_tls_alert(&self.input) {
            return Err(Error::new(Kind::Handshake, "the server sent a TLS alert, so it expects TLS; use tls://"));
        }
        let now = Instant::now();
        while !self.input.is_empty() {
            let before = self.input.len();
            let Some(size) = self.next_reply(is_end)? else { break };
            self.reply(size, before - self.input.len(), now)?;
        }
        if is_end { Err(self.closed()) } else { Ok(()) }
    }

    /// Removes a whole reply from the input and returns its size.
    fn next_reply(&mut self, is_end: bool) -> Result<Option<usize>, Error> {
        if let (Some(size), "raw", false) = (self.load.reply_size, self.load.framing.name(), self.awaits_greeting) {
            let is_whole = self.input.len() >= size;
            return Ok(is_whole.then(|| {
                self.input.advance(size);
                size
            }));
        }
        let decoded = if is_end { self.codec.decode_eof(&mut self.input) } else { self.codec.decode(&mut self.input) };
        let decoded = decoded.map_err(|error| {
            let framing = self.load.framing.name();
            Error::new(Kind::InvalidReply, format!("a reply is invalid for the framing {framing}: {error}"))
        })?;
        Ok(decoded.map(|reply| reply.len()))
    }

    fn reply(&mut self, size: usize, on_wire: usize, now: Instant) -> Result<(), Error> {
        if std::mem::take(&mut self.awaits_greeting) {
            return Ok(());
        }
        let Some(message) = self.waiting.front() else { return Err(surplus()) };
        if self.load.reply_size.is_some_and(|expected| size != expected) {
            self.wrong_size = Some(size);
        }
        self.reply_bytes += on_wire;
        self.missing_replies -= 1;
        if self.missing_replies > 0 {
            return Ok(());
        }
        let mut results = self.results.borrow_mut();
        match self.wrong_size.take() {
            Some(size) => results.failed(1, wrong_size(size, self.load)),
            None => results.answered(message.due, now, message.size, self.reply_bytes),
        }
        (self.missing_replies, self.reply_bytes) = (self.load.replies, 0);
        self.waiting.pop_front();
        Ok(())
    }

    /// Waits a moment for replies that belong to no message: then earlier ones were assigned to wrong messages.
    async fn expect_nothing(&mut self, source: &Source) -> Result<(), Error> {
        let is_alone = matches!(source, Source::Single(_));
        if self.input.is_empty() && !is_alone {
            let read = poll_fn(|cx| Poll::Ready(ready!(self.poll(cx))));
            let _ = timeout(SURPLUS_TIMEOUT, read).await;
        }
        if self.input.is_empty() { Ok(()) } else { Err(surplus()) }
    }

    fn closed(&self) -> Error {
        let when = if self.awaits_greeting {
            "before its greeting"
        } else if self.waiting.is_empty() {
            "while no message was waiting for a reply"
        } else {
            "before it answered"
        };
        // The most frequent reason of a server that answers nothing.
        let example = if self.has_read { "" } else { ", for example a message above its limits.frame" };
        Error::new(Kind::Closed, format!("the server closed the connection {when}; its log has the reason{example}"))
    }

    fn timed_out(&self) -> Error {
        let what = if self.awaits_greeting { "greeting" } else { "reply" };
        let hint = match self.load.framing.name() {
            _ if self.awaits_greeting => "leave out --greeting if the server sends none".to_owned(),
            "raw" if self.load.depth > 1 => "without a framing, the server can read several messages as one".to_owned(),
            name => format!("check that the server has the framing {name} (--framing)"),
        };
        Error::new(Kind::Timeout, format!("no {what} within {:?}; {hint}", self.load.timeout))
    }

    fn broken(&self, error: &io::Error) -> Error {
        match (&self.load.server.tls, error.kind()) {
            (_, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => self.closed(),
            (Some(tls), _) => Error::new(Kind::Io, tls.explain(error)),
            (None, _) => Error::new(Kind::Io, format!("the connection failed: {}", exit::reason(error))),
        }
    }
}

fn surplus() -> Error {
    let sentence = "the server sent more replies than expected; use --greeting if it sends a message first, or \
                    --replies N if it sends several replies to each message";
    Error::new(Kind::UnexpectedReply, sentence)
}

#[cfg(test)]
mod tests;
