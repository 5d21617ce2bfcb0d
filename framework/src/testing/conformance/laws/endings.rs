//! Laws about the end of a connection: end of the input, reset, and drain.

use crate::close_reason::CloseReason;
use crate::testing::conformance::laws::compare::{difference, without_last};
use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Assumptions, Numbers, Run, sample};
use crate::testing::conformance::session::{Ended, Fault, Session, TICK, WINDOW};

/// Clients that reset their connection, one after the other.
const MANY_RESETS: usize = 40;

/// Each position in the input, or each boundary if messages have none.
pub(super) fn positions(
    reference: &Reference,
    assumptions: Assumptions,
    random: &mut Random,
    count: usize,
) -> Vec<Numbers> {
    let at: Vec<_> = if assumptions.has_boundaries {
        (0..=reference.input().len()).collect()
    } else {
        [0].into_iter().chain(reference.boundaries()).collect()
    };
    sample(at.into_iter().map(|at| vec![at]).collect(), random, count)
}

/// Each position twice: 0, the server has handled the input so far; 1, it has not.
pub(super) fn positions_twice(
    reference: &Reference,
    assumptions: Assumptions,
    random: &mut Random,
    count: usize,
) -> Vec<Numbers> {
    let positions = positions(reference, assumptions, random, usize::MAX);
    let twice = positions.iter().flat_map(|at| [0, 1].map(|mode| vec![at[0], mode])).collect();
    sample(twice, random, count)
}

/// Each position twice, and many resets in sequence at the last one: more than a handler usually has places for.
pub(super) fn resets(
    reference: &Reference,
    assumptions: Assumptions,
    random: &mut Random,
    count: usize,
) -> Vec<Numbers> {
    let mut cases = positions_twice(reference, assumptions, random, count.saturating_sub(1));
    cases.iter_mut().for_each(|numbers| numbers.push(1));
    cases.push(vec![reference.input().len(), 0, MANY_RESETS]);
    cases
}

impl Run<'_> {
    pub(super) async fn half_close(&self) -> Result<(), Fault> {
        let (input, at) = (self.reference.input(), self.numbers[0]);
        let complete = self.reference.complete(at);
        let slow = self.ended_input(&input[..at], true).await?;
        let fast = self.ended_input(&input[..at], false).await?;
        let expected = self.reference.first(complete);
        let is_boundary = at == 0 || self.reference.boundaries().contains(&at);
        for ended in [&slow, &fast] {
            let outcome = &ended.clients[0];
            if !self.begins_with(&expected, &outcome.frames) {
                self.check_outcome(ended, 0, &expected, &[])?;
            }
            if is_boundary {
                let reason =
                    if complete == self.reference.answered { self.reference.reason } else { CloseReason::PeerClosed };
                let expected =
                    if complete == self.reference.answered { self.reference.all() } else { expected.clone() };
                self.check_outcome(ended, 0, &expected, &[reason])?;
            } else if outcome.reason == CloseReason::BadFrame {
                self.check_outcome(ended, 0, &expected, &[])?;
            }
            self.check_left(ended)?;
        }
        // Inside a message, the framing decides what the end means. It decides the same every time.
        self.check_outcome(&fast, 0, without_last(&slow.clients[0]), &[slow.clients[0].reason])
    }

    /// Sends the input and its end: with pauses between the messages, or all together.
    async fn ended_input(&self, input: &[u8], is_slow: bool) -> Result<Ended, Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        let mut start = 0;
        if is_slow || !self.assumptions.is_pipelined {
            for end in self.reference.boundaries().into_iter().filter(|end| *end <= input.len()) {
                session.send(client, &input[start..end]);
                session.settle().await;
                start = end;
            }
        }
        session.send(client, &input[start..]);
        if is_slow {
            session.settle().await;
        }
        session.half_close(client);
        session.finish().await
    }

    pub(super) async fn reset(&self) -> Result<(), Fault> {
        let (input, at, is_handled) = (self.reference.input(), self.numbers[0], self.numbers[1] == 0);
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        for _ in 0..self.numbers[2] {
            let client = session.open().await;
            self.send(&mut session, client, &input[..at]).await;
            if is_handled {
                session.settle().await;
            } else {
                session.run_ready().await;
            }
            session.reset(client);
        }
        let client = 0;
        let neighbour = self.serve_neighbour(&mut session).await?;
        let ended = session.finish().await?;
        let reason = ended.clients[client].reason;
        if reason != CloseReason::IoError && reason != self.reference.reason {
            let what = format!("the close reason after a reset is {reason}, expected io_error");
            return Err(Fault { what, client, expected: None, reason: None, events: ended.events });
        }
        self.check_left(&ended)?;
        self.check_neighbour(&ended, neighbour)
    }

    pub(super) async fn drain(&self) -> Result<(), Fault> {
        let (input, at) = (self.reference.input(), self.numbers[0]);
        let is_handled = self.numbers.get(1).is_none_or(|mode| *mode == 0);
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        self.send(&mut session, client, &input[..at]).await;
        if is_handled {
            session.settle().await;
        }
        session.drain();
        session.pass(TICK).await;
        // The rest of a message that has begun to arrive.
        let rest = self.reference.boundaries().into_iter().find(|end| *end >= at).unwrap_or(at);
        let begun = at != 0 && rest > at && !self.reference.boundaries().contains(&at);
        let end = if begun { rest } else { at };
        session.send(client, &input[at..end]);
        session.pass_until_closed().await?;
        let ended = session.finish().await?;
        if ended.drained.cut > 0 {
            let what = "the drain aborted the connection at its deadline".to_owned();
            return Err(Fault { what, client, expected: None, reason: Some(CloseReason::Drain), events: ended.events });
        }
        let complete = self.reference.complete(end);
        // The server has not read the messages that it has not handled.
        let handled = usize::try_from(ended.clients[client].calls.handled).unwrap_or(usize::MAX);
        let fewest = if is_handled { complete } else { handled.min(complete) };
        let reasons = [CloseReason::Drain, self.reference.reason];
        let reasons = if complete == self.reference.answered { &reasons[..] } else { &reasons[..1] };
        let outcome = &ended.clients[client];
        let is_expected = (fewest..=complete).any(|messages| {
            let expected = self.reference.first(messages);
            self.is_same(&expected, without_last(outcome)) || self.is_same(&expected, &outcome.frames)
        });
        let expected = self.reference.first(complete);
        if !is_expected {
            let what = difference(&expected, &outcome.frames, "");
            return Err(Fault {
                what,
                client,
                expected: Some(expected.concat()),
                reason: Some(CloseReason::Drain),
                events: ended.events,
            });
        }
        self.check_outcome(&ended, client, without_last(outcome), reasons)?;
        self.check_left(&ended)
    }
}
