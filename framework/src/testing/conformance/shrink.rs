//! Makes a failing case smaller, as long as it fails.

use bytes::Bytes;

use crate::testing::conformance::law::Law;
use crate::testing::conformance::run::Numbers;
use crate::testing::conformance::subject::Subject;

/// A case of a law.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) messages: Vec<Bytes>,
    pub(super) numbers: Numbers,
}

/// Smaller cases, the smallest first.
pub(super) fn smaller(law: Law, case: &Case, subject: &dyn Subject) -> Vec<Case> {
    let mut smaller = Vec::new();
    if case.messages.len() > 1 {
        smaller.extend((0..case.messages.len()).map(|index| {
            let mut messages = case.messages.clone();
            messages.remove(index);
            Case { messages, numbers: case.numbers.clone() }
        }));
    }
    for (index, message) in case.messages.iter().enumerate() {
        smaller.extend(shorter(law, message, subject).into_iter().map(|message| {
            let mut messages = case.messages.clone();
            messages[index] = message;
            Case { messages, numbers: case.numbers.clone() }
        }));
    }
    if has_optional_numbers(law) {
        smaller.extend((0..case.numbers.len()).map(|index| {
            let mut numbers = case.numbers.clone();
            numbers.remove(index);
            Case { messages: case.messages.clone(), numbers }
        }));
    }
    for (index, number) in case.numbers.iter().enumerate().filter(|(_, number)| **number > 0) {
        smaller.extend([number / 2, number - 1].map(|number| {
            let mut numbers = case.numbers.clone();
            numbers[index] = number;
            Case { messages: case.messages.clone(), numbers }
        }));
    }
    smaller
}

fn shorter(law: Law, message: &Bytes, subject: &dyn Subject) -> Vec<Bytes> {
    if law != Law::Noise {
        return subject.shorten(message).into_iter().collect();
    }
    let half = message.len() / 2;
    if half == 0 {
        return Vec::new();
    }
    vec![message.slice(..half), message.slice(half..), message.slice(1..), message.slice(..message.len() - 1)]
}

/// Whether a case has any number of numbers.
fn has_optional_numbers(law: Law) -> bool {
    matches!(law, Law::Cuts | Law::Pipelining | Law::TwoAtOnce)
}
