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
    let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    tracing::info!(target: "switchboard", version = env!("CARGO_PKG_VERSION"), config = file, "starting");
    assemble::raise_open_files(config);
    let status = match runtime.block_on(async { assemble::assemble(config, registry) }) {
        Ok(board) => runtime.block_on(async {
            let watch = log.watch(LOST_LINES);
            tokio::select! {
                never = watch => match never {},
                status = run(board) => status,
            }
        }),
        Err(faults) => complain(faults, CONFIG),
    };
    // What still blocks a thread, such as the look-up of a name, must not hold up the end.
    runtime.shutdown_background();
    log.finish();
    status
}

async fn run(board: Switchboard) -> u8 {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return complain(format_args!("error: signals cannot be received: {error}\n"), FAILED),
    };
    let running = tokio::select! {
        running = board.start() => running,
        () = signals.stop() => return 0,
    };
    let running = match running {
        Ok(running) => running,
        Err(error) => return complain(format_args!("error: {error}\n"), FAILED),
    };
    tokio::select! {
        // Every transport ran dry: nothing more can come, and nobody is there any more.
        () = running.ended() => return 0,
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
    if drained.cut > 0 { CUT } else { 0 }
}
