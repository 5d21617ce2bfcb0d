//! What all laws compare: the replies, the close reason, and what is left.

use crate::close_reason::CloseReason;
use crate::testing::conformance::run::Run;
use crate::testing::conformance::session::{Ended, Fault, Outcome, Session};

/// How a comparison ends a run.
type Checked = Result<(), Fault>;

impl Run<'_> {
    /// Whether both sequences of replies are the same for the client.
    pub(super) fn is_same(&self, expected: &[Vec<u8>], received: &[Vec<u8>]) -> bool {
        if !self.subject.is_unordered() {
            return expected.concat() == received.concat();
        }
        let sorted = |frames: &[Vec<u8>]| {
            let mut frames: Vec<_> = frames.iter().filter(|frame| !frame.is_empty()).cloned().collect();
            frames.sort();
            frames
        };
        sorted(expected) == sorted(received)
    }

    /// Whether the replies begin with the expected ones; without an order, whether they contain them.
    pub(super) fn begins_with(&self, expected: &[Vec<u8>], received: &[Vec<u8>]) -> bool {
        if !self.subject.is_unordered() {
            return received.concat().starts_with(&expected.concat());
        }
        let mut rest = received.to_vec();
        expected.iter().all(|frame| {
            let found = rest.iter().position(|other| other == frame);
            found.map(|index| rest.swap_remove(index)).is_some()
        })
    }

    /// Checks the replies so far of a client.
    pub(super) fn check_received(
        &self,
        session: &Session<'_>,
        client: usize,
        expected: &[Vec<u8>],
        when: &str,
    ) -> Checked {
        let received = session.frames(client);
        if self.is_same(expected, &received) {
            return Ok(());
        }
        Err(Fault { expected: Some(expected.concat()), ..session.fault(client, difference(expected, &received, when)) })
    }

    /// Checks the replies of a closed connection.
    pub(super) fn check_outcome(
        &self,
        ended: &Ended,
        client: usize,
        expected: &[Vec<u8>],
        reason: &[CloseReason],
    ) -> Checked {
        let Outcome { frames, reason: closed, .. } = &ended.clients[client];
        let fault = |what| Fault {
            what,
            client,
            expected: Some(expected.concat()),
            reason: reason.first().copied(),
            events: ended.events.clone(),
        };
        if !self.is_same(expected, without_last(&ended.clients[client])) && !self.is_same(expected, frames) {
            return Err(fault(difference(expected, frames, "")));
        }
        if !reason.is_empty() && !reason.contains(closed) {
            let expected: Vec<_> = reason.iter().map(|reason| reason.as_str()).collect();
            return Err(fault(format!("the close reason is {closed}, expected {}", expected.join(" or "))));
        }
        Ok(())
    }

    /// Checks that a client was served like the reference.
    pub(super) fn check_like_reference(&self, ended: &Ended, client: usize) -> Checked {
        self.check_outcome(ended, client, &self.reference.all(), &[self.reference.reason])
    }

    /// Checks that no more is left than after the reference.
    pub(super) fn check_left(&self, ended: &Ended) -> Checked {
        let fault = |what| Err(Fault { what, client: 0, expected: None, reason: None, events: ended.events.clone() });
        if !self.assumptions.is_clean {
            return Ok(());
        }
        if ended.left_tasks > self.reference.left_tasks {
            return fault(format!("{} tasks are left after all connections have closed", ended.left_tasks));
        }
        if ended.left_after_stop > self.reference.left_after_stop {
            return fault(format!("{} tasks are left after the handler has stopped", ended.left_after_stop));
        }
        Ok(())
    }

    /// Sends a part of the input: at once, or message by message if they may not arrive together.
    pub(super) async fn send(&self, session: &mut Session<'_>, client: usize, input: &[u8]) {
        let mut start = 0;
        if !self.assumptions.is_pipelined {
            for end in self.reference.boundaries().into_iter().filter(|end| *end < input.len()) {
                session.send(client, &input[start..end]);
                session.settle().await;
                start = end;
            }
        }
        session.send(client, &input[start..]);
    }

    /// Sends the messages of the reference, each after the replies to the one before.
    pub(super) async fn send_one_at_a_time(&self, session: &mut Session<'_>, client: usize) {
        for message in &self.reference.messages {
            if session.reason(client).is_some() {
                break;
            }
            session.send(client, message);
            session.settle().await;
        }
    }

    /// Serves one more client, and checks that it gets the replies of the reference.
    pub(super) async fn serve_neighbour(&self, session: &mut Session<'_>) -> Result<usize, Fault> {
        session.note("another client, without a disturbance");
        let client = session.open().await;
        self.send_one_at_a_time(session, client).await;
        if session.record.running() > 0 {
            return Err(Fault {
                expected: Some(self.reference.all().concat()),
                ..session.fault(client, "the next client gets no reply: the handler does not return")
            });
        }
        Ok(client)
    }

    /// Checks the replies to the client of [`serve_neighbour`](Self::serve_neighbour).
    pub(super) fn check_neighbour(&self, ended: &Ended, client: usize) -> Checked {
        if !self.assumptions.is_separate {
            return Ok(());
        }
        self.check_like_reference(ended, client)
            .map_err(|fault| Fault { what: format!("the next client: {}", fault.what), ..fault })
    }
}

/// The replies without the last message of the handler.
pub(super) fn without_last(outcome: &Outcome) -> &[Vec<u8>] {
    match outcome.frames.split_last() {
        Some((_, rest)) if outcome.calls.has_last_message => rest,
        _ => &outcome.frames,
    }
}

/// Where two sequences of replies differ.
pub(super) fn difference(expected: &[Vec<u8>], received: &[Vec<u8>], when: &str) -> String {
    let (expected, received) = (expected.concat(), received.concat());
    let equal = expected.iter().zip(&received).take_while(|(one, other)| one == other).count();
    let excerpt = crate::testing::transcript::excerpt_at;
    let when = if when.is_empty() { String::new() } else { format!("{when}: ") };
    let (wanted, came) = (excerpt(&expected, equal), excerpt(&received, equal));
    format!("{when}expected {wanted}, received {came}; byte {equal} differs")
}
