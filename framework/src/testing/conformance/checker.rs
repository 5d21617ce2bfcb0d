//! Checks the laws one after the other: makes the cases, runs them, and makes a failing one smaller.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::testing::conformance::failure::Failure;
use crate::testing::conformance::law::Law;
use crate::testing::conformance::laws;
use crate::testing::conformance::random::Random;
use crate::testing::conformance::reference::Reference;
use crate::testing::conformance::report::{Report, Verdict};
use crate::testing::conformance::run::{Assumptions, Run};
use crate::testing::conformance::session::{Fault, isolated};
use crate::testing::conformance::shrink::{Case, smaller};
use crate::testing::conformance::subject::Subject;

/// Runs that make a failing case smaller.
const MAX_SHRINKS: usize = 200;

/// Everything about a check besides the subject.
pub(super) struct Checker<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) handler: &'static str,
    pub(super) framing: &'static str,
    /// The first one is the conversation of the author.
    pub(super) conversations: Vec<Vec<Bytes>>,
    pub(super) waived: HashMap<Law, &'static str>,
    pub(super) cases: usize,
    pub(super) seed: u64,
    pub(super) laws: Vec<Law>,
    pub(super) references: HashMap<Vec<Bytes>, Arc<Reference>>,
}

impl Checker<'_> {
    pub(super) fn run(mut self) -> Report {
        let mut report = Report { laws: Vec::new() };
        let mut is_comparable = true;
        for law in self.laws.clone() {
            let verdict = match self.waived.get(&law) {
                Some(reason) => Verdict::Waived(reason),
                None if !is_comparable => Verdict::NotChecked,
                None => self.law(law),
            };
            if matches!(verdict, Verdict::Broken(_)) {
                is_comparable &= law != Law::Repeat;
                // What does not hold is not assumed by the other laws.
                self.waived.insert(law, "");
            }
            report.laws.push((law, verdict));
        }
        report
    }

    /// Runs one case only.
    pub(super) fn replay(mut self, law: Law, case: Case) -> Report {
        let verdict = match self.case(law, &case) {
            Ok(()) => Verdict::Holds(1),
            Err(fault) => Verdict::Broken(Box::new(self.failure(law, case, fault, 1))),
        };
        Report { laws: vec![(law, verdict)] }
    }

    fn assumptions(&self) -> Assumptions {
        let holds = |law| !self.waived.contains_key(&law);
        Assumptions {
            has_boundaries: holds(Law::Cuts),
            is_pipelined: holds(Law::Pipelining),
            is_finished: holds(Law::HalfClose),
            is_clean: holds(Law::Cleanup),
            is_separate: holds(Law::TwoAtOnce),
        }
    }

    fn law(&mut self, law: Law) -> Verdict {
        let mut random = Random::new(self.seed ^ law as u64);
        let mut held = 0;
        for messages in self.conversations.clone() {
            if held >= self.cases || held > 0 && is_of_one_conversation(law) {
                break;
            }
            let reference = match self.reference(&messages) {
                Ok(reference) => reference,
                Err(fault) => {
                    let case = Case { messages, numbers: Vec::new() };
                    return Verdict::Broken(Box::new(self.failure(law, case, fault, 0)));
                }
            };
            let (assumptions, count) = (self.assumptions(), self.cases - held);
            for (messages, numbers) in laws::cases(law, self.subject, &reference, assumptions, &mut random, count) {
                let case = Case { messages, numbers };
                if let Err(fault) = self.case(law, &case) {
                    return Verdict::Broken(Box::new(self.shrink(law, case, fault)));
                }
                held += 1;
            }
        }
        if held == 0 { Verdict::NotConcerned } else { Verdict::Holds(held) }
    }

    /// The replies to a conversation.
    fn reference(&mut self, messages: &[Bytes]) -> Result<Arc<Reference>, Fault> {
        if let Some(reference) = self.references.get(messages) {
            return Ok(reference.clone());
        }
        let reference = Arc::new(isolated(laws::reference(self.subject, messages))?);
        self.references.insert(messages.to_vec(), reference.clone());
        Ok(reference)
    }

    fn case(&mut self, law: Law, case: &Case) -> Result<(), Fault> {
        let main = self.conversations[0].clone();
        let reference = if law == Law::Noise {
            Arc::new(Reference::without_replies(case.messages.clone(), &*self.reference(&main)?))
        } else {
            self.reference(&case.messages)?
        };
        let Some(numbers) = laws::fitted(law, self.subject, &reference, &case.numbers) else { return Ok(()) };
        let run =
            Run { subject: self.subject, reference: &reference, numbers: &numbers, assumptions: self.assumptions() };
        isolated(run.check(law))
    }

    /// The smallest case that fails.
    fn shrink(&mut self, law: Law, mut case: Case, mut fault: Fault) -> Failure {
        let mut runs = 0;
        'smaller: loop {
            for smaller in smaller(law, &case, self.subject) {
                if runs == MAX_SHRINKS {
                    break 'smaller;
                }
                runs += 1;
                let has_replies = law == Law::Noise || self.reference(&smaller.messages).is_ok();
                if has_replies && let Err(smaller_fault) = self.case(law, &smaller) {
                    (case, fault) = (smaller, smaller_fault);
                    continue 'smaller;
                }
            }
            break;
        }
        self.failure(law, case, fault, runs)
    }

    fn failure(&self, law: Law, case: Case, fault: Fault, runs: usize) -> Failure {
        Failure { law, case, fault, seed: self.seed, runs, handler: self.handler, framing: self.framing }
    }
}

/// Whether other conversations say nothing more about the law.
fn is_of_one_conversation(law: Law) -> bool {
    matches!(law, Law::Repeat | Law::Cleanup | Law::Sizes | Law::NoReader)
}
