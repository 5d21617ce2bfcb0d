//! The tasks of the runtime of one run.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

/// The first and the last pause in which tasks end.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);

/// Tasks that have not ended.
pub(super) fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Tasks that are left after everything has had time to end.
pub(super) async fn left_after_stop() -> usize {
    let mut step = SHORTEST;
    while alive_tasks() > 0 && step < LONGEST {
        sleep(step).await;
        step *= 2;
    }
    alive_tasks()
}
