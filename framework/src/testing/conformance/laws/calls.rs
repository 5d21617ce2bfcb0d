//! Laws about later replies: their order, and what goes on while they are not ready.

use std::time::Duration;

use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Numbers, Run};
use crate::testing::conformance::session::{Fault, Session, WINDOW};

/// How long the first later reply is held.
const HOLD: Duration = Duration::from_secs(20);

/// Delays of the later replies in milliseconds: the first one longest, then random ones.
pub(super) fn delays(reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let later = reference.calls.later;
    if later < 2 {
        return Vec::new();
    }
    let falling = (0..later).map(|number| (later - number) * 100).collect();
    let mut cases: Vec<Numbers> = vec![falling];
    cases.extend((1..count).map(|_| (0..later).map(|_| random.below(later * 4) * 50).collect()));
    cases
}

/// The first later reply is held.
pub(super) fn holds(reference: &Reference) -> Vec<Numbers> {
    if reference.calls.later < 2 || reference.slowest > HOLD / 4 { Vec::new() } else { vec![vec![]] }
}

impl Run<'_> {
    pub(super) async fn reply_order(&self) -> Result<(), Fault> {
        let delays = self.numbers.iter().map(|millis| Duration::from_millis(*millis as u64)).collect();
        let mut session = Session::start(self.subject, Disturbance { delays, ..Disturbance::default() }, WINDOW).await;
        session.note(&format!("later replies are ready after additional {:?} ms", self.numbers));
        let client = session.open().await;
        self.send(&mut session, client, &self.reference.input()).await;
        session.settle().await;
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client)?;
        self.check_left(&ended)
    }

    pub(super) async fn concurrency(&self) -> Result<(), Fault> {
        let delays = vec![HOLD, Duration::ZERO];
        let mut session = Session::start(self.subject, Disturbance { delays, ..Disturbance::default() }, WINDOW).await;
        session.note(&format!("the first later reply is held for {} s", HOLD.as_secs()));
        let client = session.open().await;
        self.send(&mut session, client, &self.reference.input()).await;
        session.pass(HOLD / 2).await;
        let calls = session.calls(client);
        if calls.later < 2 {
            return Err(session.fault(client, "no message is handled while the first later reply is not ready"));
        }
        let is_unordered = calls.unordered == calls.later && self.reference.calls.later == self.reference.answered;
        if is_unordered && session.frames(client).len() <= self.reference.greeting.len() {
            return Err(session.fault(client, "no unordered reply is written while the first one is not ready"));
        }
        session.settle().await;
        let ended = session.finish().await?;
        self.check_left(&ended)
    }
}
