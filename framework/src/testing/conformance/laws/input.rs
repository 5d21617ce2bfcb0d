//! Laws about the input: where it is cut, what arrives together, its sizes, and what is no message at all.

use bytes::Bytes;

use crate::close_reason::CloseReason;
use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Assumptions, Numbers, Run, sample};
use crate::testing::conformance::session::{Fault, Session, WINDOW};
use crate::testing::conformance::subject::Subject;

/// Input of more bytes is not sent byte by byte.
const MAX_BYTEWISE: usize = 4096;
/// Larger messages are not made for the law of sizes.
const MAX_SIZE: usize = 1 << 20;
/// The longest noise.
const MAX_NOISE: usize = 256;

/// Each position, then each byte alone, then random positions.
pub(super) fn cuts(reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let total = reference.input().len();
    let single = (1..total).map(|at| vec![at]).collect();
    let mut cases = sample(single, random, count);
    if (3..=MAX_BYTEWISE).contains(&total) {
        cases.push((1..total).collect());
    }
    while cases.len() < count && total > 3 {
        let mut at: Vec<_> = (0..2 + random.below(3)).map(|_| 1 + random.below(total - 1)).collect();
        at.sort_unstable();
        at.dedup();
        cases.push(at);
    }
    cases.truncate(count.max(1));
    cases
}

/// All messages at once, in groups, and cut at one position.
pub(super) fn groups(
    reference: &Reference,
    assumptions: Assumptions,
    random: &mut Random,
    count: usize,
) -> Vec<Numbers> {
    let boundaries = reference.boundaries();
    let Some((total, ends)) = boundaries.split_last().filter(|(_, ends)| !ends.is_empty()) else { return Vec::new() };
    let groups = 1_usize << ends.len().min(8);
    let group = |set: usize| ends.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1).map(|(_, end)| *end);
    let mut cases: Vec<Numbers> = (0..groups - 1).map(|set| group(set).collect()).collect();
    if assumptions.has_boundaries {
        cases.extend((1..*total).filter(|at| !ends.contains(at)).map(|at| vec![at]));
    }
    sample(cases, random, count)
}

/// One below the limit, the limit, and one above it.
pub(super) fn sizes(subject: &dyn Subject, reference: &Reference) -> Vec<Numbers> {
    let limit = reference.frame_limit;
    let can_encode = |size: &usize| *size <= MAX_SIZE && subject.encode(&filled(*size)).is_some();
    let sizes = [limit.saturating_sub(1), limit, limit.saturating_add(1)];
    sizes.into_iter().filter(can_encode).map(|size| vec![size]).collect()
}

/// A payload of this size.
fn filled(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// Random bytes, and changed messages.
pub(super) fn noise(reference: &Reference, random: &mut Random, count: usize) -> Vec<(Vec<Bytes>, Numbers)> {
    let recorded = reference.messages.concat();
    let of = |random: &mut Random, number: usize| {
        let bytes = if number.is_multiple_of(3) || recorded.is_empty() {
            (0..1 + random.below(MAX_NOISE)).map(|_| random.next_u64().to_le_bytes()[0]).collect()
        } else {
            mutated(&recorded, random)
        };
        (vec![bytes.into()], vec![])
    };
    // The values that lengths and counts are wrong for.
    let extreme = [0xFF, 0x00, 0x7F, 0x80].map(|byte| (vec![vec![byte; 9].into()], vec![]));
    extreme.into_iter().chain((4..count.max(4)).map(|number| of(random, number))).collect()
}

fn mutated(recorded: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = recorded.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(8)).min(bytes.len());
        let value = random.next_u64().to_le_bytes()[0];
        match random.below(5) {
            _ if bytes.is_empty() => bytes.push(value),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.choose(&[0, 0x7F, 0x80, 0xFF, b'\n', b'\r', b'9']),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..end)),
            _ => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

impl Run<'_> {
    pub(super) async fn cuts(&self) -> Result<(), Fault> {
        let input = self.reference.input();
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        let mut start = 0;
        // What arrives together is the matter of another law.
        let mut ends: Vec<_> = self.numbers.iter().copied().chain(self.reference.boundaries()).collect();
        ends.sort_unstable();
        ends.dedup();
        for end in ends {
            session.send(client, &input[start..end]);
            session.settle().await;
            let expected = self.reference.first(self.reference.complete(end));
            // A reply may come early, but it must not wait for more input.
            if !self.begins_with(&expected, &session.frames(client)) {
                self.check_received(&session, client, &expected, &format!("after {end} bytes"))?;
            }
            start = end;
        }
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client)?;
        self.check_left(&ended)
    }

    pub(super) async fn pipelining(&self) -> Result<(), Fault> {
        // Messages behind the one that closes the connection get no reply.
        let input = self.reference.messages.concat();
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        let mut start = 0;
        for end in self.numbers.iter().copied().chain([input.len()]) {
            session.send(client, &input[start..end]);
            session.settle().await;
            start = end;
        }
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client)?;
        self.check_left(&ended)
    }

    pub(super) async fn sizes(&self) -> Result<(), Fault> {
        let (size, limit) = (self.numbers[0], self.reference.frame_limit);
        let Some(message) = self.subject.encode(&filled(size)) else { return Ok(()) };
        let mut whole = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = whole.open().await;
        whole.send(client, &message);
        whole.settle().await;
        let whole = whole.finish().await?;
        let fault = |what| Err(Fault { what, client, expected: None, reason: None, events: whole.events.clone() });
        let reason = whole.clients[client].reason;
        if whole.largest_message > limit {
            return fault(format!(
                "a message of {} bytes reached the handler; the limit is {limit}",
                whole.largest_message
            ));
        }
        if size <= limit && reason == CloseReason::FrameTooLarge {
            return fault(format!("a message of {size} bytes is too large; the limit is {limit}"));
        }
        if size > limit && self.assumptions.has_boundaries && reason != CloseReason::FrameTooLarge {
            return fault(format!(
                "a message of {size} bytes closes with {reason}, not frame_too_large; the limit is {limit}"
            ));
        }
        self.check_left(&whole)?;
        if !self.assumptions.has_boundaries {
            return Ok(());
        }
        let mut parts = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = parts.open().await;
        for part in [
            &message[..message.len() / 2],
            &message[message.len() / 2..message.len() - 1],
            &message[message.len() - 1..],
        ] {
            parts.send(client, part);
            parts.settle().await;
        }
        let parts = parts.finish().await?;
        self.check_outcome(&parts, client, &whole.clients[client].frames, &[reason])
    }

    pub(super) async fn noise(&self) -> Result<(), Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        session.send(client, &self.reference.messages.concat());
        session.settle().await;
        let ended = session.finish().await?;
        if ended.clients[client].reason == CloseReason::Panic {
            let what = "the handler or its framing panicked".to_owned();
            return Err(Fault { what, client, expected: None, reason: None, events: ended.events });
        }
        self.check_left(&ended)
    }
}
