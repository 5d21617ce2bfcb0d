//! Laws about clients that read slowly or not at all.

use crate::close_reason::CloseReason;
use crate::testing::conformance::laws::{Numbers, Run};
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::session::{Fault, Session, TICK, WINDOW};

/// Output that may wait in the server, besides pushed frames: two buffers.
const MAX_WAITING: usize = 2 * 64 * 1024;
/// Pushed frames that may wait: `limits.outbox`.
const MAX_PUSHED: usize = 256;
/// Steps until a slow client must have got everything.
const MAX_STEPS: usize = 200_000;
/// Messages that are sent to a server whose client does not read.
const MAX_MESSAGES: usize = 4096;

/// Bytes that the client reads in each step.
pub(super) fn speeds(reference: &Reference) -> Vec<Numbers> {
    let total: usize = reference.all().iter().map(Vec::len).sum();
    let mut speeds = vec![1, 2, 7].into_iter().map(|speed| vec![speed.max(total / 512)]).collect::<Vec<_>>();
    speeds.dedup();
    if total == 0 { Vec::new() } else { speeds }
}

/// How often the messages are repeated, so that the replies do not fit the buffers.
pub(super) fn repetitions(reference: &Reference) -> Vec<Numbers> {
    let replies: usize = reference.replies.iter().flatten().map(Vec::len).sum();
    if reference.closes_early() || replies == 0 {
        return Vec::new();
    }
    let most = (MAX_MESSAGES / reference.messages.len()).max(1);
    vec![vec![(2 * MAX_WAITING / replies + 1).min(most)]]
}

impl Run<'_> {
    pub(super) async fn slow_reader(&self) -> Result<(), Fault> {
        let speed = self.numbers[0];
        let mut session = Session::start(self.subject, Disturbance::default(), 1.max(speed)).await;
        let client = session.open_stopped().await;
        session.note(&format!("the client reads {speed} bytes per millisecond"));
        self.send(&mut session, client, &self.reference.input()).await;
        if !self.reference.closes_early() {
            session.half_close(client);
        }
        let mut steps = 0;
        while !session.is_closed(client) {
            if steps == MAX_STEPS {
                return Err(session.fault(client, "the connection does not close"));
            }
            session.allow(client, speed);
            session.pass(TICK).await;
            steps += 1;
        }
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
        let (waiting, most) = (session.undelivered(client), MAX_WAITING + (MAX_PUSHED + 1) * largest);
        if waiting > most {
            let what = format!("{waiting} bytes of replies wait for a client that does not read; the server reads on");
            return Err(session.fault(client, what));
        }
        let has_output = waiting > 0;
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
