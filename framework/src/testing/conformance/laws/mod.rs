//! The check of each law: its cases, and one run of a case.

mod calls;
mod compare;
mod control;
mod endings;
mod input;
mod readers;
mod steady;

use bytes::Bytes;

use crate::testing::conformance::law::Law;
use crate::testing::conformance::random::Random;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::session::Fault;
use crate::testing::conformance::subject::Subject;

/// What a case needs besides its messages: positions, sizes or numbers. Their meaning depends on the law.
pub(super) type Numbers = Vec<usize>;

/// What is known about the handler besides its replies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumptions {
    /// Messages have boundaries: the law `cuts` is not waived.
    pub(super) has_boundaries: bool,
    /// Messages may arrive together: the law `pipelining` is not waived.
    pub(super) is_pipelined: bool,
    /// Clients do not see each other: the law `two_at_once` is not waived.
    pub(super) is_separate: bool,
}

/// One run of a law.
pub(super) struct Run<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) reference: &'a Reference,
    pub(super) numbers: &'a [usize],
    pub(super) assumptions: Assumptions,
}

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
        Law::Repeat | Law::Cleanup => vec![vec![]],
        Law::Cuts => input::cuts(reference, random, count),
        Law::Pipelining => input::groups(reference, random, count),
        Law::TwoAtOnce => steady::interleavings(reference, random, count),
        Law::HalfClose => endings::positions(reference, assumptions, random, count),
        Law::Reset => endings::positions_twice(reference, assumptions, random, count),
        Law::SlowReader => readers::speeds(reference),
        Law::NoReader => readers::repetitions(reference),
        Law::Drain => endings::positions_twice(reference, assumptions, random, count),
        Law::Cancel => control::polls(reference, random, count),
        Law::Sizes => input::sizes(subject, reference),
        Law::Noise => return input::noise(reference, random, count),
        Law::Clock => control::jumps(reference, random, count),
        Law::ReplyOrder => calls::delays(reference, random, count),
        Law::Concurrency => calls::holds(reference),
        Law::Loss | Law::Duplication | Law::Reordering | Law::Truncation => Vec::new(),
    };
    numbers.into_iter().map(|numbers| (reference.messages.clone(), numbers)).collect()
}

impl Run<'_> {
    /// Runs one case.
    pub(super) async fn check(&self, law: Law) -> Result<(), Fault> {
        match law {
            Law::Repeat => self.repeat().await,
            Law::Cleanup => self.cleanup().await,
            Law::Cuts => self.cuts().await,
            Law::Pipelining => self.pipelining().await,
            Law::TwoAtOnce => self.two_at_once().await,
            Law::HalfClose => self.half_close().await,
            Law::Reset => self.reset().await,
            Law::SlowReader => self.slow_reader().await,
            Law::NoReader => self.no_reader().await,
            Law::Drain => self.drain().await,
            Law::Cancel => self.cancel().await,
            Law::Sizes => self.sizes().await,
            Law::Noise => self.noise().await,
            Law::Clock => self.clock().await,
            Law::ReplyOrder => self.reply_order().await,
            Law::Concurrency => self.concurrency().await,
            Law::Loss | Law::Duplication | Law::Reordering | Law::Truncation => Ok(()),
        }
    }
}

/// All of the cases, or a random choice of so many.
fn sample<T>(mut cases: Vec<T>, random: &mut Random, count: usize) -> Vec<T> {
    while cases.len() > count.max(1) {
        let index = random.below(cases.len());
        cases.swap_remove(index);
    }
    cases
}

/// The numbers of a case that was made smaller, if the reference has a case like it.
pub(super) fn fitted(law: Law, reference: &Reference, numbers: &[usize]) -> Option<Numbers> {
    let (total, messages) = (reference.input().len(), reference.messages.len());
    let mut numbers = numbers.to_vec();
    match law {
        Law::Cuts => numbers.retain(|at| (1..total).contains(at)),
        Law::Pipelining => numbers.retain(|at| (1..messages).contains(at)),
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
