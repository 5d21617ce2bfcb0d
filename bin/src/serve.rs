//! `switchboard serve`: runs until told to stop, and answers with the exit status.

use std::time::Duration;

use switchboard::{Registry, Switchboard};

use crate::config::Config;
use crate::log::Log;
use crate::signals::Signals;
use crate::{CONFIG, CUT, FAILED, assemble, complain};

/// How often lost lines of the log are looked for.
const LOST_LINES: Duration = Duration::from_secs(1);

/// Runs the server that a configuration describes.
pub(crate) fn serve(config: &Config, registry: &Registry) -> u8 {
    let log = Log::start(&config.log);
    let runtime = match assemble::runtime(config.workers) {
        Ok(runtime) => runtime,
        Err(error) => return complain(format_args!("error: the threads cannot be started: {error}\n"), FAILED),
    };
    let signals = {
        let _inside = runtime.enter();
        Signals::new()
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return complain(format_args!("error: signals cannot be received: {error}\n"), FAILED),
    };
    let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    tracing::info!(target: "switchboard", version = env!("CARGO_PKG_VERSION"), config = file, "starting");
    assemble::raise_open_files(config);
    let ended = match runtime.block_on(async { assemble::assemble(config, registry) }) {
        Ok(board) => runtime.block_on(async {
            let watch = log.watch(LOST_LINES);
            tokio::select! {
                never = watch => match never {},
                ended = run(board, signals) => ended,
            }
        }),
        Err(faults) => Err((faults.to_string(), CONFIG)),
    };
    // What still blocks a thread, such as the look-up of a name, must not hold up the end.
    runtime.shutdown_background();
    log.finish();
    // After the log, so that neither tears the other's lines.
    ended.unwrap_or_else(|(error, status)| complain(error, status))
}

/// Serves to the end. An error is a sentence and the status that goes with it.
async fn run(board: Switchboard, mut signals: Signals) -> Result<u8, (String, u8)> {
    let running = tokio::select! {
        running = board.start() => running,
        () = signals.stop() => return Ok(0),
    };
    let running = running.map_err(|error| (format!("error: {error}\n"), FAILED))?;
    tokio::select! {
        // Every transport ran dry: nothing more can come, and nobody is there any more.
        () = running.ended() => return Ok(0),
        () = signals.stop() => {}
    }
    let cutter = running.cutter();
    let mut drain = std::pin::pin!(running.drain());
    let drained = loop {
        tokio::select! {
            drained = &mut drain => break drained,
            () = signals.stop() => cutter.cut(),
        }
    };
    Ok(if drained.cut > 0 { CUT } else { 0 })
}
