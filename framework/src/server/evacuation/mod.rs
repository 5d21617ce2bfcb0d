//! Evacuation, a partial drain: closes a share of the open connections at a rate, the ones that are idle for longest
//! first. Each finishes its messages in progress and sends the last message of its handler.

mod candidates;
mod report;
mod schedule;
mod task;

pub(super) use candidates::Candidates;
pub use report::{Evacuation, EvacuationError, EvacuationPlan, EvacuationReport, EvacuationState};
pub(super) use task::EvacuationTask;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The evacuation of a server that is in progress, or its last one.
#[derive(Debug, Default)]
pub(super) struct Evacuations {
    pub(super) last: Arc<watch::Sender<Option<EvacuationReport>>>,
    /// Ends the evacuation in progress.
    pub(super) cancel: Mutex<CancellationToken>,
}
