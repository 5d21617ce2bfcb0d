//! Laws that must hold without any disturbance: the same run twice, two clients, and nothing left.

use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Numbers, Run};
use crate::testing::conformance::session::{Fault, Session, WINDOW};

/// Which of two clients sends its next message; 2 and 3: without waiting for the reply.
pub(super) fn interleavings(reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let messages = reference.messages.len();
    let alternating = |offset| (0..2 * messages).map(|step| step % 2 + offset).collect();
    let mut cases: Vec<Numbers> = vec![alternating(0), alternating(2)];
    cases.extend(
        (2..count.min(1 << (2 * messages).min(16))).map(|_| (0..2 * messages).map(|_| random.below(4)).collect()),
    );
    cases
}

impl Run<'_> {
    pub(super) async fn repeat(&self) -> Result<(), Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        self.send_one_at_a_time(&mut session, client).await;
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client).map_err(|fault| Fault {
            what: format!(
                "{} (a second run; if replies contain a time or a random number, remove it with normalise)",
                fault.what
            ),
            ..fault
        })
    }

    pub(super) async fn cleanup(&self) -> Result<(), Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        for _ in 0..3 {
            self.serve_neighbour(&mut session).await?;
            session.close_all().await?;
        }
        let ended = session.finish().await?;
        self.check_left(&ended)?;
        if ended.left_after_stop > 0 {
            let what = format!("{} tasks are left after the handler has stopped", ended.left_after_stop);
            return Err(Fault { what, client: 0, expected: None, reason: None, events: ended.events });
        }
        Ok(())
    }

    pub(super) async fn two_at_once(&self) -> Result<(), Fault> {
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let clients = [session.open().await, session.open().await];
        let mut next = [0, 0];
        let rest = self.reference.messages.iter().flat_map(|_| [0, 1]);
        for step in self.numbers.iter().copied().chain(rest) {
            let client = clients[step % 2];
            let Some(message) = self.reference.messages.get(next[client]) else { continue };
            if session.reason(client).is_none() {
                session.send(client, message);
            }
            next[client] += 1;
            if step < 2 || !self.assumptions.is_pipelined {
                session.settle().await;
            }
        }
        session.settle().await;
        let ended = session.finish().await?;
        for client in clients {
            self.check_like_reference(&ended, client)?;
        }
        self.check_left(&ended)
    }
}
