//! Waits for something to end in a running server, with requests for its status.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, get};
use crate::client::report::Status;

/// Time between two requests.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum time without a reply.
const MAX_SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn status(server: &AdminAddress) -> Result<Status, ClientError> {
    get(server, "/status").await?.json()
}

/// Calls `check` with each status until it returns a value. Returns `None` if the process `pid` has ended before.
pub(super) async fn until<T>(
    server: &AdminAddress,
    pid: u32,
    mut check: impl FnMut(Status) -> Result<Option<T>, ClientError>,
) -> Result<Option<T>, ClientError> {
    let mut answered = Instant::now();
    loop {
        match status(server).await {
            // The service manager has started it again, or an upgrade has replaced it.
            Ok(status) if status.pid != pid => return Ok(None),
            Ok(status) => {
                answered = Instant::now();
                if let Some(value) = check(status)? {
                    return Ok(Some(value));
                }
            }
            Err(ClientError::Connect(_)) => return Ok(None),
            // A request that the end of the server interrupts, or a busy server.
            Err(ClientError::Closed | ClientError::Slow(_)) if answered.elapsed() < MAX_SILENCE => {}
            Err(error) => return Err(error),
        }
        sleep(POLL_INTERVAL).await;
    }
}
