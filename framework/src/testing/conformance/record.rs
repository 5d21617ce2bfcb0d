//! What the handler and the codecs did in one run, and what the run does to their futures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::close_reason::CloseReason;

/// What one run does to the futures of the handler.
#[derive(Debug, Clone, Default)]
pub(super) struct Disturbance {
    /// The future of each connection with this number is dropped after so many polls.
    pub(super) cancel: Option<(usize, usize)>,
    /// How much later each later reply becomes ready than without the disturbance, in their order. The last one holds
    /// for all further ones.
    pub(super) delays: Vec<Duration>,
}

/// What the handler did for one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct CallRecord {
    pub(super) closes: Vec<CloseReason>,
    /// Polls of each future, in the order of creation: of `message` and of later replies.
    pub(super) polls: Vec<usize>,
    /// The handler returned a last message from `closing`.
    pub(super) has_last_message: bool,
    /// The number of its codec.
    pub(super) codec: usize,
    /// CallRecord of `message` that have ended.
    pub(super) handled: u64,
    /// Later replies so far, and how many of them are unordered.
    pub(super) later: usize,
    pub(super) unordered: usize,
}

#[derive(Debug, Default)]
struct State {
    connections: BTreeMap<u64, CallRecord>,
    /// CallRecord, later replies and streams in progress.
    running: usize,
    /// The bytes of the largest message, if messages are bytes.
    largest_message: usize,
    /// The ends of the frames that each codec has encoded, in the order in which the connections were opened.
    codecs: Vec<Vec<usize>>,
    /// The largest message that the framing accepts.
    frame_limit: usize,
    disturbance: Disturbance,
}

/// The record of one run. Clones are the same record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<State>>);

/// A call in progress.
pub(super) struct Running {
    record: Record,
    id: u64,
    is_message: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.record.0.lock();
        state.running -= 1;
        if self.is_message {
            state.connections.entry(self.id).or_default().handled += 1;
        }
    }
}

impl Record {
    pub(super) fn new(disturbance: Disturbance) -> Self {
        let record = Self::default();
        record.disturb(disturbance);
        record
    }

    /// Changes what is done to the futures from now on.
    pub(super) fn disturb(&self, disturbance: Disturbance) {
        self.0.lock().disturbance = disturbance;
    }

    /// The connection opens with the codec that was created last.
    pub(super) fn open(&self, id: u64) {
        let State { connections, codecs, .. } = &mut *self.0.lock();
        connections.entry(id).or_default().codec = codecs.len().saturating_sub(1);
    }

    /// Marks a call as in progress until the result is dropped.
    pub(super) fn run(&self, id: u64, is_message: bool) -> Running {
        self.0.lock().running += 1;
        Running { record: self.clone(), id, is_message }
    }

    pub(super) fn message(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.largest_message = state.largest_message.max(bytes);
    }

    /// The number of a new future of a connection.
    pub(super) fn add_future(&self, id: u64) -> usize {
        let mut state = self.0.lock();
        let polls = &mut state.connections.entry(id).or_default().polls;
        polls.push(0);
        polls.len() - 1
    }

    /// Counts a later reply. Returns how long it is delayed.
    pub(super) fn add_later(&self, id: u64, is_unordered: bool) -> Duration {
        let State { connections, disturbance, .. } = &mut *self.0.lock();
        let calls = connections.entry(id).or_default();
        calls.later += 1;
        calls.unordered += usize::from(is_unordered);
        disturbance.delays.get(calls.later - 1).or(disturbance.delays.last()).copied().unwrap_or_default()
    }

    /// Counts a poll. Returns whether the future is to be dropped instead.
    pub(super) fn poll(&self, id: u64, future: usize) -> bool {
        let State { connections, disturbance, .. } = &mut *self.0.lock();
        let polls = &mut connections.entry(id).or_default().polls[future];
        if disturbance.cancel.is_some_and(|(number, after)| number == future && *polls >= after) {
            return true;
        }
        *polls += 1;
        false
    }

    pub(super) fn close(&self, id: u64, reason: CloseReason) {
        self.0.lock().connections.entry(id).or_default().closes.push(reason);
    }

    pub(super) fn last_message(&self, id: u64) {
        self.0.lock().connections.entry(id).or_default().has_last_message = true;
    }

    /// The number of a new codec.
    pub(super) fn add_codec(&self, frame_limit: usize) -> usize {
        let mut state = self.0.lock();
        state.frame_limit = frame_limit;
        state.codecs.push(Vec::new());
        state.codecs.len() - 1
    }

    pub(super) fn frame_limit(&self) -> usize {
        self.0.lock().frame_limit
    }

    pub(super) fn encoded(&self, codec: usize, bytes: usize) {
        let ends = &mut self.0.lock().codecs[codec];
        let end = ends.last().copied().unwrap_or_default() + bytes;
        ends.push(end);
    }

    pub(super) fn running(&self) -> usize {
        self.0.lock().running
    }

    pub(super) fn largest_message(&self) -> usize {
        self.0.lock().largest_message
    }

    pub(super) fn calls(&self, id: u64) -> CallRecord {
        self.0.lock().connections.get(&id).cloned().unwrap_or_default()
    }

    /// What the handler did for the first connection.
    pub(super) fn first_calls(&self) -> CallRecord {
        self.0.lock().connections.values().next().cloned().unwrap_or_default()
    }

    /// Calls of `message` for a connection that have ended.
    pub(super) fn handled(&self, connection: u64) -> u64 {
        self.0.lock().connections.get(&connection).map(|calls| calls.handled).unwrap_or_default()
    }

    pub(super) fn codecs(&self) -> usize {
        self.0.lock().codecs.len()
    }

    /// The bytes that a codec has encoded.
    pub(super) fn encoded_bytes(&self, codec: usize) -> usize {
        self.0.lock().codecs.get(codec).and_then(|ends| ends.last().copied()).unwrap_or_default()
    }

    /// Splits what a client has received into the frames that the codec has encoded.
    pub(super) fn split(&self, codec: usize, received: &[u8]) -> Vec<Vec<u8>> {
        let state = self.0.lock();
        let ends = state.codecs.get(codec).map_or(&[][..], |ends| ends);
        let mut frames = Vec::new();
        let mut start = 0;
        for end in ends.iter().copied().take_while(|end| *end <= received.len()) {
            frames.push(received[start..end].to_vec());
            start = end;
        }
        if start < received.len() {
            frames.push(received[start..].to_vec());
        }
        frames
    }
}
