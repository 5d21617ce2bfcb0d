//! Makes a script of the records of a connection.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use memchr::memmem;

use super::facts::Facts;
use super::files::RecordError;
use super::handler::RecordedFraming;
use super::recording::{Record, RecordKind, Recording};
use crate::direction::Direction;
use crate::script::{Action, Data, MAX_DATA, MAX_TEXT, MAX_UNKNOWN, Script, Step};

/// Shortest pause that is written to a script.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a script for everything besides its messages.
const HEAD: usize = 64 << 10;
/// The longest line of a pause.
const PAUSE_LINE: usize = 32;
/// Bytes of an error that are written.
const MAX_ERROR: usize = 4096;

impl Recording {
    /// The script of what is still stored.
    pub(crate) fn script(&self, facts: &Facts) -> Result<Script, RecordError> {
        let records = self.read(0).ok_or_else(RecordError::busy)?;
        Ok(script(self, facts, &records))
    }

    /// A script without steps.
    pub(crate) fn head(&self, facts: &Facts) -> Script {
        let framing = self.handler.framing.as_ref().map(|framing| framing.text.clone());
        Script { framing, info: info(self, facts, 0), ..Script::default() }
    }

    /// The step of a record.
    pub(crate) fn action(&self, record: &Record) -> Action {
        action(self, record, None)
    }
}

fn script(recording: &Recording, facts: &Facts, records: &[Record]) -> Script {
    // One script has one framing. Without it, the data are bytes.
    let has_bytes = records.iter().any(|record| record.kind.is_bytes());
    let framing = recording.handler.framing.as_ref();
    let steps = newest(recording, records, framing.filter(|_| has_bytes));
    let missing = steps.last().map_or_else(|| recording.next.load(Relaxed), |(record, _)| record.number);
    let mut script = Script { info: info(recording, facts, missing), ..Script::default() };
    if !has_bytes {
        script.framing = framing.map(|framing| framing.text.clone());
    }
    let mut now = Duration::ZERO;
    for (record, action) in steps.into_iter().rev() {
        let pause = Duration::from_millis(record.time.saturating_sub(now).as_millis() as u64);
        if pause >= MIN_PAUSE {
            script.steps.push(Step::Wait(pause));
            now = record.time;
        }
        script.steps.push(Step::Peer(0, action));
    }
    if let Some(reason) = facts.reason {
        script.steps.push(Step::Peer(0, Action::ExpectClosed(Some(reason))));
    }
    script
}

/// The steps of as many records as a script can have, newest first.
fn newest<'a>(
    recording: &Recording,
    records: &'a [Record],
    encoder: Option<&RecordedFraming>,
) -> Vec<(&'a Record, Action)> {
    let (mut data, mut text) = (0, HEAD);
    let steps = records.iter().rev().map(|record| (record, action(recording, record, encoder)));
    let fit = steps.take_while(|(_, action)| {
        if let Action::Send(bytes) | Action::Expect(bytes) = action {
            data += bytes.len();
        }
        text += PAUSE_LINE + action.to_string().len();
        data <= MAX_DATA && text <= MAX_TEXT
    });
    fit.collect()
}

fn info(recording: &Recording, facts: &Facts, missing: u64) -> Vec<(String, String)> {
    let handler = &recording.handler;
    let error = facts.error.as_ref().map(|error| error[..error.floor_char_boundary(MAX_ERROR)].to_owned());
    let items = [
        ("recorded", Some(humantime::format_rfc3339_millis(recording.opened_at).to_string())),
        ("listener", Some(handler.listener.clone())),
        ("handler", handler.handler.clone()),
        ("connection", Some(facts.connection.to_string())),
        ("peer", Some(facts.peer.clone())),
        ("local", Some(facts.local.clone())),
        ("reason", facts.reason.map(|reason| reason.to_string())),
        ("error", error),
        ("missing", (missing > 0).then(|| missing.to_string())),
    ];
    items.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn action(recording: &Recording, record: &Record, encoder: Option<&RecordedFraming>) -> Action {
    match record.kind {
        RecordKind::Received | RecordKind::ReceivedBytes => {
            Action::Send(recording.data(record, Direction::Received, encoder))
        }
        RecordKind::Sent | RecordKind::SentBytes => Action::Expect(recording.data(record, Direction::Sent, encoder)),
        RecordKind::ReceivedEnd => Action::HalfClose,
    }
}

impl Recording {
    /// The bytes of a record, without what the handler redacts.
    pub(crate) fn redacted(&self, record: &Record, direction: Direction) -> BytesMut {
        let mut message = BytesMut::from(&record.bytes[..]);
        // The handler knows messages without the header of the framing.
        let framing = self.handler.framing.as_ref().filter(|_| record.kind.is_bytes());
        let header = framing.map_or(0, RecordedFraming::header).min(message.len());
        let mut content = message.split_off(header);
        (self.handler.redact)(direction, &mut content);
        message.unsplit(content);
        message
    }

    fn data(&self, record: &Record, direction: Direction, encoder: Option<&RecordedFraming>) -> Data {
        let message = self.redacted(record, direction);
        let unknown = record.len - record.bytes.len();
        let encoder = encoder.filter(|_| !record.kind.is_bytes() && unknown <= MAX_UNKNOWN);
        let (head, tail) = match encoder {
            Some(encoder) if unknown == 0 => match (encoder.encode)(&message) {
                Some(encoded) => return Data::from(encoded),
                None => Default::default(),
            },
            Some(encoder) => encoder.around(&message, message.len() + unknown).unwrap_or_default(),
            None => Default::default(),
        };
        let mut data = Data::from(head);
        data.push(&message);
        data.push_unknown(unknown.min(MAX_UNKNOWN));
        data.push(&tail);
        data
    }
}

impl RecordedFraming {
    /// The bytes on the wire before and behind a message of this length that begins so. `None` if the framing encodes
    /// the message itself.
    fn around(&self, beginning: &[u8], len: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let around = |message: &[u8]| {
            let encoded = (self.encode)(message)?;
            let (head, rest) = encoded.split_at(memmem::rfind(&encoded, message)?);
            Some((head.to_vec(), rest[len..].to_vec()))
        };
        // A framing of JSON accepts only a whole value.
        let text = |count: usize| vec![b'x'; count];
        around(&[beginning, &text(len - beginning.len())].concat())
            .or_else(|| around(&[b"\"", &*text(len.checked_sub(2)?), b"\""].concat()))
    }

    /// The bytes of a message on the wire before its content.
    fn header(&self) -> usize {
        self.around(b"x", 1).map_or(0, |(head, _)| head.len())
    }
}

impl RecordKind {
    fn is_bytes(self) -> bool {
        matches!(self, Self::ReceivedBytes | Self::SentBytes)
    }
}
