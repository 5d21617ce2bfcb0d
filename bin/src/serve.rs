//! `switchboard serve`: runs until told to stop, and answers with the exit status.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use switchboard::{BoxError, Registry, Switchboard};
use tokio::sync::mpsc;

use crate::admin::{Admin, Wish};
use crate::assemble::Assembled;
use crate::config::{Config, Inputs};
use crate::log::Log;
use crate::reload::{House, Reload};
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::{CONFIG, CUT, FAILED, assemble, complain};

/// How often lost lines of the log are looked for.
const LOST_LINES: Duration = Duration::from_secs(1);

/// Runs the server that a configuration describes; a reload reads it from these inputs again.
pub(crate) fn serve(config: Config, inputs: &Inputs, registry: &Arc<Registry>) -> u8 {
    let log = Arc::new(Log::start(&config.log));
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
    assemble::raise_open_files(&config);
    let ended = match runtime.block_on(async { assemble::assemble(config, registry, None) }) {
        Ok((board, assembled)) => runtime.block_on(async {
            let watch = log.watch(LOST_LINES);
            let house = House { inputs, registry, log: &log };
            tokio::select! {
                never = watch => match never {},
                ended = run(board, signals, assembled, house) => ended,
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
async fn run(board: Switchboard, signals: Signals, assembled: Assembled, house: House<'_>) -> Result<u8, (String, u8)> {
    let (mut stops, mut hangup, mut upgrade) = signals.split();
    let starting = async {
        let running = Arc::new(board.start().await?);
        let (admin, wishes) = Admin::start(running.clone(), house.log.clone(), assembled.config.admin.as_ref()).await?;
        Ok::<_, BoxError>((running, admin, wishes))
    };
    let started = tokio::select! {
        started = starting => started,
        _ = stops.next() => return Ok(0),
    };
    let failed = |error: BoxError| (format!("error: {error}\n"), FAILED);
    let (running, admin, mut wishes) = started.map_err(failed)?;
    let mut reload = Reload::new(assembled, house);
    let supervisor = Supervisor::new();
    supervisor.ready();
    let (drain, drains) = mpsc::channel(1);
    let others = async {
        loop {
            tokio::select! {
                // One after another; what is asked for meanwhile is done once afterwards.
                _ = hangup.recv() => {
                    supervisor.reloading();
                    drop(reload.reload(&running, &admin).await);
                    supervisor.ready();
                }
                _ = upgrade.recv() => {
                    tracing::warn!(target: "switchboard", error = "not in this build", "upgrade refused");
                }
                Some(wish) = wishes.recv() => match wish {
                    // Whoever asked may have gone.
                    Wish::Reload(answer) => {
                        supervisor.reloading();
                        drop(answer.send(reload.reload(&running, &admin).await));
                        supervisor.ready();
                    }
                    Wish::Drain => drop(drain.try_send(())),
                },
            }
        }
    };
    let stops = stream::select(stops, stream::once(first(drains))).inspect(|()| supervisor.stopping());
    let drained = tokio::select! {
        drained = running.serve_until(stops) => drained,
        never = others => never,
        never = supervisor.accompany(&running) => match never {},
    };
    admin.stop().await;
    Ok(if drained.cut > 0 { CUT } else { 0 })
}

/// The first of whatever comes; a second wish to drain is no wish to cut.
async fn first(mut drains: mpsc::Receiver<()>) {
    if drains.recv().await.is_none() {
        std::future::pending().await
    }
}
