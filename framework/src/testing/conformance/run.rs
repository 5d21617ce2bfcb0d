//! One run of a law, and what all laws have in common.

use crate::testing::conformance::random::Random;
use crate::testing::conformance::reference::Reference;
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
    /// Replies in progress at the end of the input are written: the law `half_close` is not waived.
    pub(super) is_finished: bool,
    /// Connections leave no tasks: the law `cleanup` is not waived.
    pub(super) is_clean: bool,
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

/// All of the cases, or a random choice of so many.
pub(super) fn sample<T>(mut cases: Vec<T>, random: &mut Random, count: usize) -> Vec<T> {
    while cases.len() > count.max(1) {
        let index = random.below(cases.len());
        cases.swap_remove(index);
    }
    cases
}
