//! The parameters, the plan, the progress and the errors of an evacuation.

use std::time::Duration;

use crate::settings::text::escape_unsafe;
use crate::settings::{Network, Rate};

/// Which connections an [evacuation](crate::Running::evacuate) closes, and how fast.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evacuation {
    /// The share of the matching connections to close, above 0 and at most 1. The number is rounded to the nearest one.
    pub share: f64,
    /// How many connections are signalled to close in a time.
    pub rate: Rate,
    /// Only connections of this listener.
    pub listener: Option<String>,
    /// Only clients of this network. Behind a proxy, the address of the PROXY header counts.
    pub source: Option<Network>,
}

impl Evacuation {
    /// Closes this share of all connections at this rate.
    pub fn new(share: f64, rate: Rate) -> Self {
        Self { share, rate, listener: None, source: None }
    }

    /// Only connections of this listener.
    #[must_use]
    pub fn listener(self, name: impl Into<String>) -> Self {
        Self { listener: Some(name.into()), ..self }
    }

    /// Only clients of this network.
    #[must_use]
    pub fn source(self, network: Network) -> Self {
        Self { source: Some(network), ..self }
    }

    pub(in crate::server) fn check(&self) -> Result<(), EvacuationError> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(EvacuationError::Share(self.share));
        }
        if self.rate.is_off() { Err(EvacuationError::Rate) } else { Ok(()) }
    }

    /// What it does with this number of matching connections.
    pub(in crate::server) fn plan(&self, open: usize) -> EvacuationPlan {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        // at most `open`
        let chosen = ((open as f64 * self.share).round() as usize).min(open);
        let seconds = self.period().as_secs_f64() * chosen as f64;
        EvacuationPlan { open, chosen, duration: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) }
    }

    /// The time between two signals, without the random part.
    pub(in crate::server) fn period(&self) -> Duration {
        self.rate.per() / self.rate.count().max(1)
    }
}

/// What an evacuation would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvacuationPlan {
    /// Matching connections that are open.
    pub open: usize,
    /// How many of them would close.
    pub chosen: usize,
    /// How long it would take to signal them.
    pub duration: Duration,
}

/// The progress or the result of an evacuation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvacuationReport {
    /// The number of the evacuation, counted from the start of the server.
    pub id: u64,
    /// Its parameters.
    pub evacuation: Evacuation,
    /// Whether it is in progress, and how it ended.
    pub state: EvacuationState,
    /// Matching connections that were open when it began.
    pub open: usize,
    /// How many of them it closes.
    pub chosen: usize,
    /// Connections that were signalled to close. Those that closed before are not included, so it stays below `chosen`
    /// if too few connections are left.
    pub signalled: usize,
    /// Signalled connections that have closed.
    pub closed: usize,
    /// How long it has taken so far.
    pub elapsed: Duration,
}

/// Whether an evacuation is in progress, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvacuationState {
    /// It signals connections, or waits for them.
    InProgress,
    /// Every chosen connection was signalled.
    Finished,
    /// It was cancelled, by a call or by a drain.
    Cancelled,
}

impl EvacuationState {
    /// The name in logs and JSON. Names never change.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

impl EvacuationReport {
    pub(in crate::server) fn new(id: u64, evacuation: Evacuation, plan: EvacuationPlan) -> Self {
        let EvacuationPlan { open, chosen, .. } = plan;
        let (state, elapsed) = (EvacuationState::InProgress, Duration::ZERO);
        Self { id, evacuation, state, open, chosen, signalled: 0, closed: 0, elapsed }
    }

    /// Whether it signals connections, or waits for them.
    pub fn is_in_progress(&self) -> bool {
        self.state == EvacuationState::InProgress
    }

    /// Signalled connections that are still open, because a message or a reply is in progress.
    pub fn remaining(&self) -> usize {
        self.signalled - self.closed
    }
}

/// Why an evacuation cannot begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvacuationError {
    /// The share is out of range.
    #[error("the share is {0}; it must be above 0 and at most 1, such as 0.3")]
    Share(f64),
    /// The rate is zero.
    #[error("the rate is zero, and no connection would close; set a rate such as 200/s")]
    Rate,
    /// No listener has this name.
    #[error("there is no listener {}", escape_unsafe(.0, |_| false))]
    UnknownListener(String),
    /// The listener has no connections.
    #[error("listener {0} receives datagrams, so it has no connections to close")]
    Datagrams(String),
    /// Another evacuation is in progress; this is its progress.
    #[error("an evacuation is in progress: {} of {} connections are signalled; wait for its end, or cancel it",
        .0.signalled, .0.chosen)]
    InProgress(Box<EvacuationReport>),
    /// The server is draining, so all connections close.
    #[error("the server is draining")]
    Draining,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_connections_is_rounded_and_never_above_the_open_ones() {
        let chosen = |share, open| Evacuation::new(share, Rate::per_second(100)).plan(open).chosen;
        assert_eq!([0, 1, 2, 10, 1000].map(|open| chosen(0.3, open)), [0, 0, 1, 3, 300]);
        assert_eq!([0, 1, 3].map(|open| chosen(1.0, open)), [0, 1, 3]);
        assert_eq!(Evacuation::new(0.5, Rate::per_second(200)).plan(1000).duration, Duration::from_millis(2500));
    }

    #[test]
    fn a_share_is_above_zero_and_at_most_one() {
        for share in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            let error = Evacuation::new(share, Rate::per_second(1)).check().unwrap_err();
            assert!(error.to_string().contains("above 0 and at most 1"), "{error}");
        }
        assert_eq!(Evacuation::new(1.0, Rate::default()).check(), Err(EvacuationError::Rate));
        assert_eq!(Evacuation::new(1.0, Rate::per_hour(1)).check(), Ok(()));
    }
}
