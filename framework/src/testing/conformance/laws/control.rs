//! Laws about what the server does to a call: it drops its future, or time stands still or jumps.

use std::time::Duration;

use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::Disturbance;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Numbers, Run, sample};
use crate::testing::conformance::session::{Fault, Session, WINDOW};

/// Clients whose call is dropped, one after the other: more than a handler usually has permits for.
const CANCELLED: usize = 40;
/// The polls of one future that are tried.
const MAX_POLLS: usize = 16;
/// A jump of the clock: longer than every timeout.
const JUMP: Duration = Duration::from_secs(24 * 3600);

/// Each future, after each of its polls.
pub(super) fn polls(reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let polls = reference.calls.polls.iter().map(|polls| (*polls).min(MAX_POLLS)).enumerate();
    sample(polls.flat_map(|(future, polls)| (0..polls).map(move |polls| vec![future, polls])).collect(), random, count)
}

/// The clock stands still (0), or jumps at a message and at its half.
pub(super) fn jumps(reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let jumps = (0..reference.answered).flat_map(|message| [vec![1, message, 0], vec![1, message, 1]]);
    sample([vec![0, 0, 0]].into_iter().chain(jumps).collect(), random, count)
}

impl Run<'_> {
    pub(super) async fn cancel(&self) -> Result<(), Fault> {
        let (future, polls) = (self.numbers[0], self.numbers[1]);
        let disturbance = Disturbance { cancel: Some((future, polls)), ..Disturbance::default() };
        let mut session = Session::start(self.subject, disturbance, WINDOW).await;
        session.note(&format!("future {future} of each connection is dropped after {polls} polls"));
        // A future that is never polled holds nothing.
        for _ in 0..if polls == 0 { 2 } else { CANCELLED } {
            let client = session.open().await;
            self.send(&mut session, client, &self.reference.input()).await;
            session.settle().await;
            session.close_all().await?;
        }
        session.record.disturb(Disturbance::default());
        let neighbour = self.serve_neighbour(&mut session).await?;
        let ended = session.finish().await?;
        self.check_left(&ended)?;
        self.check_neighbour(&ended, neighbour)
    }

    pub(super) async fn clock(&self) -> Result<(), Fault> {
        let (jumps, jumping, in_half) = (self.numbers[0] == 1, self.numbers[1], self.numbers[2] == 1);
        let mut session = Session::start(self.subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        if !jumps {
            session.note("no time passes");
            for (number, message) in self.reference.messages[..self.reference.answered].iter().enumerate() {
                session.send(client, message);
                session.run_ready().await;
                if self.reference.is_instant() {
                    self.check_received(&session, client, &self.reference.first(number + 1), "while no time passes")?;
                }
            }
        } else {
            for (number, message) in self.reference.messages[..self.reference.answered].iter().enumerate() {
                let half = if in_half && self.assumptions.has_boundaries { message.len() / 2 } else { 0 };
                session.send(client, &message[..half]);
                session.settle().await;
                session.send(client, &message[half..]);
                if number == jumping {
                    session.jump(JUMP).await;
                }
                session.settle().await;
            }
        }
        let ended = session.finish().await?;
        self.check_like_reference(&ended, client)?;
        self.check_left(&ended)
    }
}
