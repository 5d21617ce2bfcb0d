//! The check of each law: its cases, and one run of a case.

mod calls;
mod compare;
mod control;
mod datagrams;
mod endings;
mod input;
mod readers;
mod steady;

use std::pin::Pin;

use bytes::Bytes;

use crate::testing::conformance::law::Law;
use crate::testing::conformance::random::Random;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::run::{Assumptions, Numbers, Run};
use crate::testing::conformance::session::Fault;
use crate::testing::conformance::subject::Subject;

/// The cases of a law for one conversation, at most `count`. Empty: the law does not concern this handler.
pub(super) fn cases(
    law: Law,
    subject: &dyn Subject,
    reference: &Reference,
    assumptions: Assumptions,
    random: &mut Random,
    count: usize,
) -> Vec<(Vec<Bytes>, Numbers)> {
    let numbers = match law {
        Law::Noise => return input::noise(reference, random, count),
        _ if subject.is_datagram() && !matches!(law, Law::Repeat | Law::Cleanup | Law::TwoAtOnce) => {
            datagrams::cases(law, reference, random, count)
        }
        Law::Repeat | Law::Cleanup => vec![vec![]],
        Law::Cuts => input::cuts(reference, random, count),
        Law::Pipelining => input::groups(reference, assumptions, random, count),
        Law::TwoAtOnce => steady::interleavings(reference, random, count),
        Law::HalfClose => endings::positions(reference, assumptions, random, count),
        Law::Reset => endings::resets(reference, assumptions, random, count),
        Law::SlowReader => readers::speeds(reference),
        Law::NoReader => readers::repetitions(reference),
        Law::Drain if !assumptions.is_finished => {
            endings::positions(reference, Assumptions { has_boundaries: false, ..assumptions }, random, count)
        }
        Law::Drain => endings::positions_twice(reference, assumptions, random, count),
        Law::Cancel => control::polls(reference, random, count),
        Law::Sizes => input::sizes(subject, reference),
        Law::Clock => control::jumps(reference, random, count),
        Law::ReplyOrder => calls::delays(reference, random, count),
        Law::Concurrency => calls::holds(reference),
        Law::Loss | Law::Duplication | Law::Reordering | Law::Truncation => Vec::new(),
    };
    numbers.into_iter().map(|numbers| (reference.messages.clone(), numbers)).collect()
}

impl Run<'_> {
    /// Runs one case. The futures are large, so they are boxed.
    pub(super) fn check(&self, law: Law) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + '_>> {
        match law {
            _ if self.subject.is_datagram() => Box::pin(self.check_datagrams(law)),
            Law::Repeat => Box::pin(self.repeat()),
            Law::Cleanup => Box::pin(self.cleanup()),
            Law::Cuts => Box::pin(self.cuts()),
            Law::Pipelining => Box::pin(self.pipelining()),
            Law::TwoAtOnce => Box::pin(self.two_at_once()),
            Law::HalfClose => Box::pin(self.half_close()),
            Law::Reset => Box::pin(self.reset()),
            Law::SlowReader => Box::pin(self.slow_reader()),
            Law::NoReader => Box::pin(self.no_reader()),
            Law::Drain => Box::pin(self.drain()),
            Law::Cancel => Box::pin(self.cancel()),
            Law::Sizes => Box::pin(self.sizes()),
            Law::Noise => Box::pin(self.noise()),
            Law::Clock => Box::pin(self.clock()),
            Law::ReplyOrder => Box::pin(self.reply_order()),
            Law::Concurrency => Box::pin(self.concurrency()),
            Law::Loss | Law::Duplication | Law::Reordering | Law::Truncation => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

/// The replies to a conversation.
pub(super) async fn reference(subject: &dyn Subject, messages: &[Bytes]) -> Result<Reference, Fault> {
    if subject.is_datagram() {
        datagrams::reference(subject, messages).await
    } else {
        Reference::run(subject, messages).await
    }
}

/// The numbers of a case that was made smaller, if the reference has a case like it.
pub(super) fn fitted(law: Law, subject: &dyn Subject, reference: &Reference, numbers: &[usize]) -> Option<Numbers> {
    if subject.is_datagram() {
        return datagrams::fitted(law, reference, numbers);
    }
    let total = reference.input().len();
    let mut numbers = numbers.to_vec();
    match law {
        Law::Cuts | Law::Pipelining => numbers.retain(|at| (1..total).contains(at)),
        Law::Reset if numbers[2] == 0 => return None,
        Law::HalfClose | Law::Reset | Law::Drain => numbers[0] = numbers[0].min(total),
        Law::Cancel if numbers[0] >= reference.calls.polls.len() => return None,
        Law::Clock => numbers[1] = numbers[1].min(reference.answered.saturating_sub(1)),
        Law::NoReader if reference.closes_early() => return None,
        Law::SlowReader | Law::NoReader => numbers[0] = numbers[0].max(1),
        Law::ReplyOrder => numbers.truncate(reference.calls.later),
        Law::Concurrency if reference.calls.later < 2 => return None,
        _ => {}
    }
    if matches!(law, Law::Cuts | Law::Pipelining) {
        numbers.sort_unstable();
        numbers.dedup();
    }
    Some(numbers)
}
