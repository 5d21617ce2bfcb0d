//! `switchboard serve`: sets up the process and starts the server.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use switchboard::log::{self, InstallError};
use switchboard::server::StartError;
use switchboard::transport::Systemd;
use switchboard::{BoxError, Endpoint, ListenerSet, Registry};
use tokio::runtime::Runtime;

use crate::admin::Admin;
use crate::assemble::{self, Assembled};
#[cfg(feature = "fleet")]
use crate::config::dotted;
use crate::config::{Config, Inputs};
use crate::descriptors;
use crate::exit;
use crate::failure::Failure;
use crate::handover::{CounterHandover, Executable, InheritedSockets};
use crate::process;
use crate::reload::{Readers, Reload};
use crate::service_manager::ServiceManager;
use crate::signals::{LiveServer, Signals};
use crate::warnings;

/// Timeout for the threads of the runtime when the process exits.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the server until it stops. A reload reads `inputs` again.
pub(crate) fn serve(config: Config, inputs: &Inputs, registry: &Arc<Registry>) -> Result<u8, Failure> {
    let findings = process::correct_inherited();
    // Before any thread is started, because it changes the environment.
    let sockets = InheritedSockets::take().map_err(Failure::new)?;
    let executable = Executable::current()
        .map_err(|error| Failure::new(format_args!("cannot locate the executable of this process: {error}")))?;
    process::check_resources(config.workers).map_err(Failure::new)?;
    let log = match log::install(&config.log) {
        Ok(log) => Some(Arc::new(log)),
        Err(InstallError::AlreadyInstalled) => None,
        Err(error) => return Err(Failure::new(error)),
    };
    let runtime = runtime(config.workers)?;
    let signals = runtime.block_on(async { process::install_signal_handlers().and_then(|()| Signals::new()) });
    let mut signals = signals.map_err(|error| Failure::new(format_args!("cannot install signal handlers: {error}")))?;
    let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    tracing::info!(target: "switchboard", version = env!("CARGO_PKG_VERSION"), config = file, "starting");
    if log.is_none() {
        tracing::warn!(target: "switchboard", "this program has its own tracing subscriber, so [log] has no effect");
    }
    findings.iter().for_each(process::Finding::log);
    descriptors::provide(&config);
    let result = runtime.block_on(async {
        // Reads files, which may block, so a signal must be able to interrupt it.
        let at_start = registry.clone();
        let assembling = tokio::task::spawn_blocking(move || assemble::assemble(config, &at_start, None));
        let (listeners, assembled) = tokio::select! {
            // The panic hook has logged a panic.
            assembled = assembling => assembled.map_err(Failure::new)?.map_err(Failure::config)?,
            _ = signals.stop.next() => return Ok(0),
        };
        warnings::log(&assembled.config, &assembled.certificates);
        warnings::check_recorder(assembled.recorder.as_ref());
        let (initial, current) = (assembled.config.clone(), Arc::new(assembled));
        let reload = Reload { inputs, registry, log: &log, initial, current, readers: Readers::default() };
        Box::pin(run(listeners, signals, reload, &executable, sockets)).await
    });
    // Drops all tasks, which write the log lines that are due later. Hardly waits for blocking tasks, such as a name
    // lookup.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    // Before an error is printed, so that it does not interleave with log lines.
    log.iter().for_each(|log| log.close());
    result
}

fn runtime(workers: usize) -> Result<Runtime, Failure> {
    assemble::runtime(workers).map_err(|error| Failure::new(format_args!("cannot start worker threads: {error}")))
}

/// Binds every address, including the one of the admin endpoint, and closes them again.
pub(crate) fn try_bind(config: Config, registry: &Registry) -> Result<(), Failure> {
    let InheritedSockets { systemd, .. } = InheritedSockets::take().map_err(Failure::new)?;
    let runtime = runtime(1)?;
    descriptors::provide(&config);
    let bound = runtime.block_on(async {
        let admin = config.admin.clone();
        let (mut listeners, assembled) = assemble::assemble(config, registry, None).map_err(Failure::config)?;
        listeners.transports().add(systemd);
        let is_bound = listeners.try_bind().await;
        is_bound.map_err(|error| not_started(&assembled.config, &error))?;
        check_fleet(&assembled).await?;
        match admin {
            Some(admin) => {
                let is_bound = Admin::try_bind(admin.endpoint).await;
                is_bound.map_err(|error| not_started(&assembled.config, &*error))
            }
            None => Ok(()),
        }
    });
    runtime.shutdown_background();
    bound
}

/// Connects to the server of the fleet.
#[cfg(feature = "fleet")]
async fn check_fleet(assembled: &Assembled) -> Result<(), Failure> {
    let Some(fleet) = &assembled.fleet else { return Ok(()) };
    fleet.check().await.map_err(|error| {
        let key = ["fleet".to_owned(), error.setting().to_owned()];
        let origin = assembled.config.effective.section_origin(&key);
        Failure::new(format_args!("{}: {error} ({origin})", dotted(&key)))
    })
}

#[cfg(not(feature = "fleet"))]
async fn check_fleet(_: &Assembled) -> Result<(), Failure> {
    Ok(())
}

/// Starts the listeners and the admin endpoint, then runs the control loop. Returns the exit status.
async fn run(
    mut listeners: ListenerSet,
    mut signals: Signals,
    reload: Reload<'_>,
    executable: &Executable,
    sockets: InheritedSockets,
) -> Result<u8, Failure> {
    let InheritedSockets { systemd, listeners: inherited, admin: inherited_admin, old_process } = sockets;
    log_passed_sockets(&systemd, &reload.initial);
    listeners.transports().add(systemd.clone());
    listeners.inherit(inherited);
    let handlers = listeners.handlers();
    let start = async {
        let bound = listeners.bind().await?;
        if let Some(admin) = &reload.initial.admin
            && !inherited_admin.iter().any(|socket| [&socket.endpoint, &socket.address].contains(&&admin.endpoint))
        {
            Admin::try_bind(admin.endpoint.clone()).await?;
        }
        // Accepts nothing before the commit, so that an aborted upgrade loses no client.
        let committed = match old_process {
            Some(old_process) => {
                let completed = tokio::task::spawn_blocking(|| old_process.complete_handover()).await;
                let completed = completed.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                let committed =
                    completed.map_err(|error| format!("the old process did not complete the handover: {error}"))?;
                // The old process has written its last changes before it completed the handover.
                let bans = bound.bans().clone();
                tokio::task::spawn_blocking(move || bans.load()).await??;
                Some(committed)
            }
            None => None,
        };
        let running = Arc::new(bound.start());
        let (admin, reloads) = Admin::new(running.clone(), reload.log.clone(), &reload.initial).await?;
        let predecessor = match committed {
            Some(committed) => {
                running.take_socket_paths();
                Some((committed.receive_counters(running.clone(), admin.history())?, inherited_admin))
            }
            None => {
                admin.open(&reload.initial, inherited_admin).await?;
                None
            }
        };
        Ok::<_, BoxError>(Some((running, admin, reloads, predecessor)))
    };
    let started = tokio::select! {
        started = start => started.map_err(|error| not_started(&reload.initial, &*error)),
        _ = signals.stop.next() => Ok(None),
    };
    let Ok(Some((running, admin, reloads, predecessor))) = started else {
        let failures = handlers.stop(reload.initial.drain.deadline, signals.stop.next().map(drop)).await;
        return started.map(|_| if failures > 0 { exit::INCOMPLETE } else { 0 });
    };
    let service_manager = ServiceManager::from_env();
    let (predecessor, inherited_admin) = predecessor.unzip();
    let counters = CounterHandover::new(running.clone(), predecessor);
    let server = LiveServer { running: &running, admin: &admin, systemd, executable, service_manager, counters };
    Ok(Box::pin(server.run(signals, reloads, reload, inherited_admin)).await)
}

/// The error with the origin of the address that cannot be used.
fn not_started(config: &Config, error: &(dyn Error + Send + Sync + 'static)) -> Failure {
    let Some(start) = error.downcast_ref::<StartError>() else { return Failure::new(error) };
    let (Some(name), Some(endpoint)) = (start.listener_name(), start.endpoint()) else { return Failure::new(error) };
    // A listener can have the name of the admin endpoint, but not its address.
    let is_listener = config.listeners.get(name).is_some_and(|listener| listener.spec.endpoint == *endpoint);
    let key = if is_listener { vec!["listeners", name, "listen"] } else { vec!["admin", "listen"] };
    let key: Vec<String> = key.into_iter().map(str::to_owned).collect();
    Failure::new(format_args!("{error} ({})", config.effective.origin(&key)))
}

/// Logs the sockets of the service manager, with a warning for each socket that no listener uses.
fn log_passed_sockets(systemd: &Systemd, config: &Config) {
    for (name, socket) in systemd.sockets() {
        let address = socket.address().map_or_else(|error| error.to_string(), |address| address.to_string());
        let mut endpoints = config.listeners.values().map(|listener| &listener.spec.endpoint);
        if endpoints.any(|endpoint| matches!(endpoint, Endpoint::Systemd(used) if used == name)) {
            tracing::info!(target: "switchboard", name, address, "socket passed");
        } else {
            tracing::warn!(target: "switchboard", name, address, "unused socket: no listener has this name");
        }
    }
}
