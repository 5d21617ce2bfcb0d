//! Makes a script of the records of a connection.

use std::time::Duration;

use bytes::BytesMut;

use super::facts::Facts;
use super::files::RecordError;
use super::handler::RecordedFraming;
use super::recording::{Record, RecordKind, Recording};
use crate::direction::Direction;
use crate::script::{Action, Data, MAX_DATA, MAX_UNKNOWN, Script, Step};

/// Shortest pause that is written to a script.
const MIN_PAUSE: Duration = Duration::from_millis(10);

impl Recording {
    /// The script of what is still stored.
    pub(crate) fn script(&self, facts: &Facts) -> Result<Script, RecordError> {
        let records = self.read(0).ok_or_else(RecordError::busy)?;
        Ok(script(self, facts, &records))
    }

    /// A script without steps.
    pub(crate) fn head(&self, facts: &Facts) -> Script {
        let framing = self.handler.framing.as_ref().map(|framing| framing.text.clone());
        Script { framing, info: info(self, facts, &[]), ..Script::default() }
    }

    /// The step of a record.
    pub(crate) fn action(&self, record: &Record) -> Action {
        action(self, record, None)
    }
}

fn script(recording: &Recording, facts: &Facts, records: &[Record]) -> Script {
    let mut script = Script { info: info(recording, facts, records), ..Script::default() };
    // One script has one framing. Without it, the data are bytes.
    let has_bytes = records.iter().any(|record| record.kind.is_bytes());
    let framing = recording.handler.framing.as_ref();
    let encoder = framing.filter(|_| has_bytes);
    if !has_bytes {
        script.framing = framing.map(|framing| framing.text.clone());
    }
    let (mut now, mut size) = (Duration::ZERO, 0);
    for record in records {
        let pause = Duration::from_millis(record.time.saturating_sub(now).as_millis() as u64);
        if pause >= MIN_PAUSE {
            script.steps.push(Step::Wait(pause));
            now = record.time;
        }
        let action = action(recording, record, encoder);
        size += match &action {
            Action::Send(data) | Action::Expect(data) => data.len(),
            _ => 0,
        };
        if size > MAX_DATA {
            break;
        }
        script.steps.push(Step::Peer(0, action));
    }
    if let Some(reason) = facts.reason {
        script.steps.push(Step::Peer(0, Action::ExpectClosed(Some(reason))));
    }
    script
}

fn info(recording: &Recording, facts: &Facts, records: &[Record]) -> Vec<(String, String)> {
    let handler = &recording.handler;
    let missing = records.first().map_or(0, |first| first.number);
    let items = [
        ("recorded", Some(humantime::format_rfc3339_millis(recording.opened_at).to_string())),
        ("listener", Some(handler.listener.clone())),
        ("handler", handler.handler.clone()),
        ("connection", Some(facts.connection.to_string())),
        ("peer", Some(facts.peer.clone())),
        ("local", Some(facts.local.clone())),
        ("reason", facts.reason.map(|reason| reason.to_string())),
        ("error", facts.error.clone()),
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
        (self.handler.redact)(direction, &mut message);
        message
    }

    fn data(&self, record: &Record, direction: Direction, encoder: Option<&RecordedFraming>) -> Data {
        let message = self.redacted(record, direction);
        let unknown = record.len - record.bytes.len();
        let is_message = !record.kind.is_bytes();
        if let Some(encoder) = encoder.filter(|_| is_message && unknown == 0)
            && let Some(encoded) = (encoder.encode)(&message)
        {
            return Data::from(encoded);
        }
        let mut data = Data::from(message);
        data.push_unknown(unknown.min(MAX_UNKNOWN));
        data
    }
}

impl RecordKind {
    fn is_bytes(self) -> bool {
        matches!(self, Self::ReceivedBytes | Self::SentBytes)
    }
}
