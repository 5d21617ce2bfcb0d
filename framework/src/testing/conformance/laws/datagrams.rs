//! The laws for datagrams: what the network does to them, and what the server does to their handler.

use std::time::Duration;

use bytes::Bytes;

use crate::close_reason::CloseReason;
use crate::testing::conformance::exchange::{Exchange, Sent, exchange};
use crate::testing::conformance::law::Law;
use crate::testing::conformance::laws::compare::difference;
use crate::testing::conformance::random::Random;
use crate::testing::conformance::record::CallRecord;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Numbers, Run, sample};
use crate::testing::conformance::session::Fault;
use crate::testing::conformance::subject::Subject;

/// A jump of the clock: longer than every timeout.
const JUMP: Duration = Duration::from_secs(24 * 3600);

/// The replies to each datagram, sent one at a time.
pub(super) async fn reference(subject: &dyn Subject, messages: &[Bytes]) -> Result<Reference, Fault> {
    let run = exchange(subject, 1, &one_at_a_time(messages)).await?;
    let of_message = |steps: &[Vec<Vec<Vec<u8>>>]| steps.iter().flat_map(|step| step[0].clone()).collect();
    let replies = run.replies.chunks(2).take(messages.len()).map(of_message).collect();
    Ok(Reference {
        messages: messages.to_vec(),
        answered: messages.len(),
        greeting: Vec::new(),
        replies,
        tail: Vec::new(),
        reason: CloseReason::PeerClosed,
        calls: CallRecord { polls: run.polls, ..CallRecord::default() },
        left_tasks: run.left_tasks,
        left_after_stop: run.left_after_stop,
        frame_limit: 0,
        slowest: run.slowest,
    })
}

fn one_at_a_time(messages: &[Bytes]) -> Vec<Sent> {
    messages.iter().flat_map(|message| [Sent::Datagram(0, message.clone()), Sent::Settle]).collect()
}

/// The cases of a law for one conversation. Of noise, see the laws of connections.
pub(super) fn cases(law: Law, reference: &Reference, random: &mut Random, count: usize) -> Vec<Numbers> {
    let messages = reference.messages.len();
    let subsets = |least: usize| {
        let sets = 1_usize << messages.min(12);
        (least..sets).map(|set| (0..messages).filter(|index| set >> index & 1 == 1).collect()).collect()
    };
    match law {
        Law::Loss | Law::Duplication => sample(subsets(1), random, count),
        Law::Reordering if messages > 1 => {
            let mut cases: Vec<Numbers> = vec![(0..messages).rev().collect()];
            cases.extend((1..count.min(1 << messages.min(12))).map(|_| shuffled(messages, random)));
            cases
        }
        Law::Truncation => {
            let sizes = reference.messages.iter().map(|message| message.len().min(256)).enumerate();
            sample(sizes.flat_map(|(index, size)| (0..size).map(move |len| vec![index, len])).collect(), random, count)
        }
        Law::Pipelining if messages > 1 => vec![vec![]],
        Law::Drain => sample((0..=messages).flat_map(|sent| [vec![sent, 0], vec![sent, 1]]).collect(), random, count),
        Law::Clock => sample((0..messages).map(|message| vec![message]).collect(), random, count),
        _ => Vec::new(),
    }
}

fn shuffled(count: usize, random: &mut Random) -> Numbers {
    let mut rest: Vec<_> = (0..count).collect();
    (0..count).map(|_| rest.remove(random.below(rest.len()))).collect()
}

/// The numbers of a case that was made smaller, if the reference has a case like it.
pub(super) fn fitted(law: Law, reference: &Reference, numbers: &[usize]) -> Option<Numbers> {
    let messages = reference.messages.len();
    let mut numbers = numbers.to_vec();
    match law {
        Law::Loss | Law::Duplication | Law::Reordering => numbers.retain(|index| *index < messages),
        Law::Truncation | Law::Clock if numbers[0] >= messages => return None,
        Law::Drain => numbers[0] = numbers[0].min(messages),
        _ => {}
    }
    Some(numbers)
}

impl Run<'_> {
    pub(super) async fn check_datagrams(&self, law: Law) -> Result<(), Fault> {
        let (messages, numbers) = (&self.reference.messages, self.numbers);
        let whole = |index: usize| (messages[index].clone(), Some(index));
        let all = 0..messages.len();
        match law {
            Law::Loss => self.each(all.filter(|index| !numbers.contains(index)).map(whole).collect()).await,
            Law::Duplication => {
                let copies = |index| if numbers.contains(&index) { 2 } else { 1 };
                self.each(all.flat_map(|index| std::iter::repeat_n(whole(index), copies(index))).collect()).await
            }
            Law::Reordering => self.each(numbers.iter().copied().map(whole).collect()).await,
            Law::Truncation => {
                let truncated = |index| match whole(index) {
                    (message, _) if index == numbers[0] => (message.slice(..numbers[1].min(message.len())), None),
                    whole => whole,
                };
                self.each(all.map(truncated).collect()).await
            }
            Law::Noise => self.each(messages.iter().map(|message| (message.clone(), None)).collect()).await,
            Law::Repeat => self.repeat_datagrams().await,
            Law::Cleanup => self.cleanup_datagrams().await,
            Law::Pipelining => self.pipelining_datagrams().await,
            Law::TwoAtOnce => self.two_peers().await,
            Law::Drain => self.drain_datagrams().await,
            Law::Clock => self.jump_datagrams().await,
            _ => Ok(()),
        }
    }

    /// Sends these datagrams one at a time. Each gets the replies of the message with its index.
    async fn each(&self, datagrams: Vec<(Bytes, Option<usize>)>) -> Result<(), Fault> {
        let sent: Vec<_> = datagrams.iter().map(|(datagram, _)| datagram.clone()).collect();
        let run = exchange(self.subject, 1, &one_at_a_time(&sent)).await?;
        if run.panics > 0 {
            return Err(run.fault(0, "the handler or its framing panicked", &[]));
        }
        for (step, (_, index)) in run.replies.chunks(2).zip(&datagrams) {
            let received: Vec<_> = step.iter().flat_map(|step| step[0].clone()).collect();
            if let Some(index) = index {
                self.check_replies(&run, 0, &self.reference.replies[*index], &received)?;
            }
        }
        self.check_left_tasks(&run)
    }

    fn check_replies(
        &self,
        run: &Exchange,
        peer: usize,
        expected: &[Vec<u8>],
        received: &[Vec<u8>],
    ) -> Result<(), Fault> {
        if expected == received || self.subject.is_unordered() && self.is_same(expected, received) {
            return Ok(());
        }
        Err(run.fault(peer, difference(expected, received, ""), expected))
    }

    fn check_left_tasks(&self, run: &Exchange) -> Result<(), Fault> {
        let (connections, stop) = (self.reference.left_tasks, self.reference.left_after_stop);
        if self.assumptions.is_clean && (run.left_tasks > connections || run.left_after_stop > stop) {
            let left = run.left_tasks.max(run.left_after_stop);
            return Err(run.fault(0, format!("{left} tasks are left"), &[]));
        }
        Ok(())
    }

    async fn repeat_datagrams(&self) -> Result<(), Fault> {
        let run = exchange(self.subject, 1, &one_at_a_time(&self.reference.messages)).await?;
        self.check_replies(&run, 0, &self.reference.all(), &run.all(0))
    }

    async fn cleanup_datagrams(&self) -> Result<(), Fault> {
        let messages = &self.reference.messages;
        let of = |peer| messages.iter().map(move |message| Sent::Datagram(peer, message.clone()));
        let steps: Vec<_> = (0..3).flat_map(|peer| of(peer).chain([Sent::Settle])).collect();
        let run = exchange(self.subject, 3, &steps).await?;
        if run.left_after_stop > 0 {
            let what = format!("{} tasks are left after the handler has stopped", run.left_after_stop);
            return Err(run.fault(0, what, &[]));
        }
        self.check_left_tasks(&run)
    }

    async fn pipelining_datagrams(&self) -> Result<(), Fault> {
        let sent: Vec<_> = self.reference.messages.iter().map(|message| Sent::Datagram(0, message.clone())).collect();
        let run = exchange(self.subject, 1, &sent).await?;
        self.check_replies(&run, 0, &self.reference.all(), &run.all(0))?;
        self.check_left_tasks(&run)
    }

    async fn two_peers(&self) -> Result<(), Fault> {
        let (mut next, mut steps) = ([0, 0], Vec::new());
        let rest = self.reference.messages.iter().flat_map(|_| [0, 1]);
        for number in self.numbers.iter().copied().chain(rest) {
            let peer = number % 2;
            if let Some(message) = self.reference.messages.get(next[peer]) {
                steps.push(Sent::Datagram(peer, message.clone()));
                next[peer] += 1;
            }
            if number < 2 || !self.assumptions.is_pipelined {
                steps.push(Sent::Settle);
            }
        }
        let run = exchange(self.subject, 2, &steps).await?;
        for peer in [0, 1] {
            self.check_replies(&run, peer, &self.reference.all(), &run.all(peer))?;
        }
        self.check_left_tasks(&run)
    }

    async fn drain_datagrams(&self) -> Result<(), Fault> {
        let (sent, is_handled) = (self.numbers[0], self.numbers[1] == 0);
        let mut steps = one_at_a_time(&self.reference.messages[..sent]);
        if !is_handled {
            steps.pop();
        }
        steps.push(Sent::Drain);
        let run = exchange(self.subject, 1, &steps).await?;
        let (expected, received) = (self.reference.first(sent), run.all(0));
        if run.cut > 0 {
            return Err(run.fault(0, "the drain aborted a datagram at its deadline", &expected));
        }
        // The server need not have read the last datagram.
        if is_handled || !self.begins_with(&received, &expected) {
            self.check_replies(&run, 0, &expected, &received)?;
        }
        self.check_left_tasks(&run)
    }

    async fn jump_datagrams(&self) -> Result<(), Fault> {
        let mut steps = one_at_a_time(&self.reference.messages);
        steps.insert(2 * self.numbers[0] + 1, Sent::Jump(JUMP));
        let run = exchange(self.subject, 1, &steps).await?;
        self.check_replies(&run, 0, &self.reference.all(), &run.all(0))?;
        self.check_left_tasks(&run)
    }
}
