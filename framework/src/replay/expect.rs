//! The steps of a replay that compare something.

use std::time::Duration;

use super::client::Client;
use super::outcome::ReplayFailure;
use super::play::Player;
use crate::close_reason::CloseReason;
use crate::error::Result;
use crate::script::Data;
use crate::settings::text::escape_unsafe;

/// How long a close by a timeout may take at least: the handler can have changed the timeout.
const CLOSE: Duration = Duration::from_secs(3600);

impl Player<'_> {
    pub(super) async fn expect(&mut self, nth: usize, peer: usize, data: &Data) -> Result<Option<ReplayFailure>> {
        let time = self.timeout;
        let reply = match self.client(peer).reply(data.len(), time).await {
            Ok(reply) => reply,
            Err(error) => return Ok(Some(self.difference(nth, 0, format!("the server sent no message: {error}")))),
        };
        let number = self.replies + 1;
        let Some(reply) = reply else {
            self.settle().await;
            let what = match self.client(peer).has_ended() {
                true => "the server closed the connection",
                false => "the server sent nothing",
            };
            let missing = self.difference(nth, 0, format!("reply {number} is missing: {what}"));
            return Ok(Some(self.defect(Some(nth)).unwrap_or(missing)));
        };
        let Some((byte, what)) = self.compare(data, &reply) else {
            self.replies = number;
            return Ok(None);
        };
        let difference = self.difference(nth, byte, format!("reply {number} {what}"));
        Ok(Some(self.defect(Some(nth)).unwrap_or(difference)))
    }

    /// The first byte that differs, and a sentence.
    fn compare(&self, data: &Data, reply: &[u8]) -> Option<(usize, String)> {
        let (expected, reply) = self.handler.normalise(data, reply);
        if let Some(at) = expected.first_difference(0, &reply) {
            let [expected, received] = [expected.bytes().nth(at).flatten(), reply.get(at).copied()].map(shown);
            return Some((at, format!("differs at byte {at}: expected {expected}, received {received}")));
        }
        let (wanted, found) = (expected.len(), reply.len());
        (wanted != found).then(|| (wanted.min(found), format!("has {found} bytes instead of {wanted}")))
    }

    /// Waits for a close that was recorded, if a replay can show its reason.
    pub(super) async fn expect_closed(
        &mut self,
        nth: usize,
        peer: usize,
        reason: CloseReason,
    ) -> Option<ReplayFailure> {
        // The client has done nothing since: the timeout of the listener passes.
        let timeout = match reason {
            CloseReason::Idle => self.timeouts.idle,
            CloseReason::FirstMessage => self.timeouts.first_message,
            CloseReason::FrameTimeout => self.timeouts.frame,
            CloseReason::MessageTimeout => self.timeouts.message,
            _ => Duration::ZERO,
        };
        let is_timeout = matches!(
            reason,
            CloseReason::Idle | CloseReason::FirstMessage | CloseReason::FrameTimeout | CloseReason::MessageTimeout
        );
        let time = if is_timeout { self.timeout + timeout.max(CLOSE) } else { self.timeout };
        if reason.is_handler_failure() {
            // The handler may have been corrected: then the connection stays open, or closes for another reason.
            self.client(peer).ended(time).await;
            self.settle().await;
            return self.defect(Some(nth));
        }
        if !reason.is_caused_by_messages() && !is_timeout {
            return self.defect(Some(nth));
        }
        self.client(peer).ended(time).await;
        self.settle().await;
        let client = self.client(peer);
        let (surplus, address) = (client.surplus(), client.peer.clone());
        let what = match self.watch.closed(&address) {
            _ if surplus > 0 => format!("the server sent {surplus} bytes that were not recorded"),
            Some((found, _)) if found == reason => return None,
            Some((found, _)) => format!("the connection closed with reason {found}, and {reason} was recorded"),
            None => format!("the connection is still open, and it closed with reason {reason} when it was recorded"),
        };
        let difference = self.difference(nth, 0, what);
        Some(self.defect(Some(nth)).unwrap_or(difference))
    }

    /// The failure of the handler, or else a difference.
    pub(super) async fn failure(&mut self, nth: usize, what: String) -> ReplayFailure {
        self.settle().await;
        self.defect(Some(nth)).unwrap_or_else(|| self.difference(nth, 0, what))
    }

    pub(super) fn difference(&self, nth: usize, byte: usize, what: impl Into<String>) -> ReplayFailure {
        ReplayFailure { step: Some(nth), byte, reason: None, what: what.into() }
    }

    /// The failure of the handler, if a connection has closed because of one.
    pub(super) fn defect(&self, step: Option<usize>) -> Option<ReplayFailure> {
        let closed =
            |client: &Client| self.watch.closed(&client.peer).filter(|(reason, _)| reason.is_handler_failure());
        let (reason, error) = self.clients.iter().flatten().find_map(closed)?;
        let after = match self.messages {
            0 => "when the connection opened".to_owned(),
            number => format!("after message {number}"),
        };
        let error = error.map(|error| format!(": {}", escape_unsafe(&error, |_| false))).unwrap_or_default();
        let what = format!("the connection closed with reason {reason} {after}{error}");
        Some(ReplayFailure { step, byte: 0, reason: Some(reason), what })
    }
}

/// `"A"` or `0xff`.
fn shown(byte: Option<u8>) -> String {
    match byte {
        None => "nothing".to_owned(),
        Some(byte @ b' '..=b'~') => format!("\"{}\"", byte.escape_ascii()),
        Some(byte) => format!("0x{byte:02x}"),
    }
}
