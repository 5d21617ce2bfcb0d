//! Laws about clients that read slowly or not at all.

use crate::close_reason::CloseReason;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Numbers, Run};
use crate::testing::conformance::session::{Fault, Session, TICK, WINDOW};

/// Output that may wait in the server, besides pushed frames: two buffers.
const MAX_WAITING: usize = 2 * 64 * 1024;
/// Pushed frames that may wait: `limits.outbox`.
const MAX_PUSHED: usize = 256;
/// Steps without a byte and without a call in progress after which a slow client has got everything.
const MAX_IDLE: usize = 50;
/// Messages that are sent to a server whose client does not read.
const MAX_MESSAGES: usize = 16_384;

/// Bytes that the client reads in each step.
pub(super) fn speeds(reference: &Reference) -> Vec<Numbers> {
    let total: usize = reference.all().iter().map(Vec::len).sum();
    let mut speeds = vec![1, 2, 7].into_iter().map(|speed| vec![speed.max(total / 512)]).collect::<Vec<_>>();
    speeds.dedup();
    if total == 0 { Vec::new() } else { speeds }
}

/// The most output that may wait for a client that does not read.
fn max_waiting(largest_reply: usize) -> usize {
    MAX_WAITING + (MAX_PUSHED + 1) * largest_reply
}

/// How often the messages are repeated, so that the replies do not fit the buffers.
pub(super) fn repetitions(reference: &Reference) -> Vec<Numbers> {
    let replies: usize = reference.replies.iter().flatten().map(Vec::len).sum();
    if reference.closes_early() || replies == 0 {
        return Vec::new();
    }
    let most = (MAX_MESSAGES / reference.messages.len()).max(1);
    let largest = reference.all().iter().map(Vec::len).max().unwrap_or_default();
    vec![vec![(2 * max_waiting(largest) / replies + 1).min(most)]]
}

/// The client reads so many bytes in each step, until it has got everything.
async fn read_slowly(session: &mut Session<'_>, client: usize, speed: usize, expected: usize) {
    let (mut idle, mut received) = (0, session.received(client));
    while received < expected && idle < MAX_IDLE && !session.is_closed(client) {
        session.allow(client, speed);
        session.pass(TICK).await;
        let is_idle = session.received(client) == received && session.record.running() == 0;
        idle = if is_idle { idle + 1 } else { 0 };
        received = session.received(client);
    }
}

impl Run<'_> {
    pub(super) async fn slow_reader(&self) -> Result<(), Fault> {
        let speed = self.numbers[0];
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open_stopped().await;
        session.note(&format!("the client reads {speed} bytes per millisecond"));
        let (messages, answered) = (&self.reference.messages, self.reference.answered);
        let group = if self.assumptions.is_pipelined { answered.max(1) } else { 1 };
        for (number, group) in messages[..answered].chunks(group).enumerate() {
            session.send(client, &group.concat());
            let expected = self.reference.first((number + 1) * group.len());
            read_slowly(&mut session, client, speed, expected.iter().map(Vec::len).sum()).await;
        }
        session.allow(client, usize::MAX);
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client)?;
        self.check_left(&ended)
    }

    pub(super) async fn no_reader(&self) -> Result<(), Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        session.stop_reading(client);
        session.note(&format!("the messages are sent {} times", self.numbers[0]));
        session.send(client, &self.reference.messages.concat().repeat(self.numbers[0]));
        session.settle().await;
        let largest = self.reference.all().iter().map(Vec::len).max().unwrap_or_default();
        // Replies that the handler has not returned or pushed wait, too.
        let replies: usize = self.reference.replies.iter().flatten().map(Vec::len).sum();
        let handled = usize::try_from(session.calls(client).handled).unwrap_or(usize::MAX);
        let owed = (handled / self.reference.answered).saturating_mul(replies);
        let waiting = session.undelivered(client).max(owed.saturating_sub(session.received(client)));
        if waiting > max_waiting(largest) {
            let what = format!("{waiting} bytes of replies wait for a client that does not read; the server reads on");
            return Err(session.fault(client, what));
        }
        let has_output = session.undelivered(client) > 0;
        let ended = session.finish().await?;
        let reasons = [CloseReason::WriteStalled, CloseReason::OutboxFull];
        let reason = ended.clients[client].reason;
        if has_output && !reasons.contains(&reason) {
            let what = format!("the close reason is {reason}, expected write_stalled or outbox_full");
            return Err(Fault { what, client, expected: None, reason: Some(reasons[0]), events: ended.events });
        }
        self.check_left(&ended)
    }
}
