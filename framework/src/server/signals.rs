//! A running server under the usual signals.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Result;
use crate::server::Running;

/// Serves until SIGTERM or SIGINT, then drains; a second one cuts.
pub(super) async fn run(running: Running) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut stop = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = running.ended() => return Ok(()),
        () = stop() => {}
    }
    let cutter = running.cutter();
    let drain = running.drain();
    tokio::pin!(drain);
    let drained = tokio::select! {
        drained = &mut drain => drained,
        () = stop() => {
            cutter.cut();
            drain.await
        }
    };
    match drained.cut {
        0 => Ok(()),
        cut => Err(format!("{cut} connections had not finished and were cut").into()),
    }
}
