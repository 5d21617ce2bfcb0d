//! `switchboard serve`: runs until told to stop, and answers with the exit status.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use futures_util::{StreamExt, stream};
use switchboard::transport::Systemd;
use switchboard::{BoxError, Endpoint, ListenerSet, Registry, Running};
use tokio::sync::mpsc;

use crate::admin::{Admin, AdminCommand};
use crate::assemble::Assembled;
use crate::config::{Config, Inputs};
use crate::handover::{self, InheritedSockets, OldProcess, Program};
use crate::log::Log;
use crate::reload::{Reload, ServerEnv};
use crate::service_manager::ServiceManager;
use crate::signals::Signals;
use crate::{CONFIG, CUT, FAILED, assemble, complain};

/// How often lost lines of the log are looked for.
const LOST_LINES: Duration = Duration::from_secs(1);

/// Runs the server that a configuration describes; a reload reads it from these inputs again.
pub(crate) fn serve(config: Config, inputs: &Inputs, registry: &Arc<Registry>) -> u8 {
    // Before there are threads, since it changes the environment.
    let passed = match InheritedSockets::take() {
        Ok(passed) => passed,
        Err(error) => return complain(format_args!("error: {error}\n"), FAILED),
    };
    let program = match Program::of_this_process() {
        Ok(program) => program,
        Err(error) => return complain(format_args!("error: this program cannot be found: {error}\n"), FAILED),
    };
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
            let env = ServerEnv { inputs, registry, log: &log, program: &program };
            tokio::select! {
                never = watch => match never {},
                ended = run(board, signals, assembled, env, passed) => ended,
            }
        }),
        Err(diagnostics) => Err((diagnostics.to_string(), CONFIG)),
    };
    // What still blocks a thread, such as the look-up of a name, must not hold up the end.
    runtime.shutdown_background();
    log.finish();
    // After the log, so that neither tears the other's lines.
    ended.unwrap_or_else(|(error, status)| complain(error, status))
}

/// Binds every listener, the one for operators included, and closes them again.
pub(crate) fn try_bind(config: Config, registry: &Registry) -> Result<(), (String, u8)> {
    let failed = |error: &dyn Display| (format!("error: {error}\n"), FAILED);
    let InheritedSockets { systemd, .. } = InheritedSockets::take().map_err(|error| failed(&error))?;
    let runtime = assemble::runtime(1).map_err(|error| failed(&error))?;
    assemble::raise_open_files(&config);
    let bound = runtime.block_on(async {
        let operators = config.admin.as_ref().map(|admin| admin.endpoint.clone());
        let (mut board, _) =
            assemble::assemble(config, registry, None).map_err(|diagnostics| (diagnostics.to_string(), CONFIG))?;
        board.transports().add(systemd);
        let bound = board.try_bind().await.map_err(|error| failed(&error));
        match operators {
            Some(endpoint) => bound.and(Admin::try_bind(endpoint).await.map_err(|error| failed(&error))),
            None => bound,
        }
    });
    runtime.shutdown_background();
    bound
}

/// Serves to the end. An error is a sentence and the status that goes with it.
async fn run(
    mut board: ListenerSet,
    signals: Signals,
    assembled: Assembled,
    env: ServerEnv<'_>,
    passed: InheritedSockets,
) -> Result<u8, (String, u8)> {
    let (mut stops, mut hangup, mut upgrade) = signals.split();
    let InheritedSockets { systemd, listeners, admin: inherited, old_process } = passed;
    tell_passed(&systemd, &assembled.config);
    board.transports().add(systemd.clone());
    board.inherit(listeners);
    let starting = async {
        let running = Arc::new(board.start().await?);
        let (admin, commands) = Admin::start(running.clone(), env.log.clone(), &assembled.config, inherited).await?;
        Ok::<_, BoxError>((running, admin, commands))
    };
    let started = tokio::select! {
        started = starting => started,
        _ = stops.next() => return Ok(0),
    };
    let failed = |error: BoxError| (format!("error: {error}\n"), FAILED);
    let (running, admin, mut commands) = started.map_err(failed)?;
    if let Some(old_process) = old_process {
        take_over(old_process).await.map_err(|error| failed(error.into()))?;
        running.take_socket_paths();
        admin.running().take_socket_paths();
    }
    let server = Server {
        running: &running,
        admin: &admin,
        systemd,
        program: env.program,
        service_manager: ServiceManager::new(),
    };
    let service_manager = &server.service_manager;
    let mut reload = Reload::new(assembled, env);
    service_manager.ready();
    let (drain, drains) = mpsc::channel(1);
    let others = async {
        loop {
            tokio::select! {
                // One after another; what is asked for meanwhile is done once afterwards.
                _ = hangup.recv() => drop(server.reload(&mut reload).await),
                _ = upgrade.recv() => {
                    if server.upgrade().await {
                        // Operators are to talk to the next process at once.
                        let operators = async {
                            admin.running().hand_over().await;
                            admin.stop().await;
                        };
                        join(running.hand_over(), operators).await;
                        let _ = drain.try_send(()); // or it drains already
                    }
                }
                Some(command) = commands.recv() => match command {
                    // Whoever asked may have gone.
                    AdminCommand::Reload(answer) => drop(answer.send(server.reload(&mut reload).await)),
                    AdminCommand::Drain => drop(drain.try_send(())),
                },
            }
        }
    };
    let stops = stream::select(stops, stream::once(first(drains))).inspect(|()| service_manager.stopping());
    let drained = tokio::select! {
        drained = running.serve_until(stops) => drained,
        never = others => never,
        never = service_manager.accompany(&running) => match never {},
    };
    admin.stop().await;
    Ok(if drained.cut > 0 { CUT } else { 0 })
}

/// A server, and those who look after it.
struct Server<'s> {
    running: &'s Running,
    admin: &'s Admin,
    systemd: Systemd,
    program: &'s Program,
    service_manager: ServiceManager,
}

impl Server<'_> {
    async fn reload(&self, reload: &mut Reload<'_>) -> Result<(), Vec<String>> {
        self.service_manager.reloading();
        let reloaded = reload.reload(self.running, self.admin).await;
        self.service_manager.ready();
        reloaded
    }

    /// Starts the next process and trusts it with the sockets. If it is not ready, nothing has changed.
    async fn upgrade(&self) -> bool {
        let upgraded = async {
            if self.running.is_stopping() {
                return Err("the server is draining".to_owned());
            }
            let (listeners, admin) = (self.running.sockets(), self.admin.running().sockets());
            let next = handover::upgrade(self.program, &self.systemd, listeners, admin).await?;
            let id = next.id();
            // First the service manager, which listens to nobody whom it does not know.
            self.service_manager.hand_over(id);
            next.trust().await.map_err(|error| {
                self.service_manager.hand_over(std::process::id());
                format!("it is gone as soon as it was ready: {error}")
            })?;
            Ok(id)
        };
        match upgraded.await {
            Ok(pid) => tracing::info!(target: "switchboard", pid, "upgraded"),
            Err(error) => tracing::warn!(target: "switchboard", error, "upgrade refused"),
        }
        self.service_manager.has_handed_over()
    }
}

/// Says that this process accepts, and waits until it is trusted.
async fn take_over(old_process: OldProcess) -> Result<(), String> {
    let taken = tokio::task::spawn_blocking(|| old_process.take_over()).await;
    let taken = taken.unwrap_or_else(|error| Err(io::Error::other(error)));
    taken.map_err(|error| format!("the process before this one was gone before it had handed over: {error}"))
}

/// Which sockets were passed, and whether anybody listens on them.
fn tell_passed(systemd: &Systemd, config: &Config) {
    let is_named = |endpoint: &Endpoint, name: &str| matches!(endpoint, Endpoint::Systemd(named) if named == name);
    for (name, socket) in systemd.sockets() {
        let address = socket.address().map_or_else(|error| error.to_string(), |address| address.to_string());
        if config.listeners.values().any(|listener| is_named(&listener.spec.endpoint, name)) {
            tracing::info!(target: "switchboard", name, address, "socket passed");
        } else {
            tracing::warn!(target: "switchboard", name, address, "socket passed, and no listener has its name");
        }
    }
}

/// The first of whatever comes; a second wish to drain is no wish to cut.
async fn first(mut drains: mpsc::Receiver<()>) {
    if drains.recv().await.is_none() {
        std::future::pending().await
    }
}
