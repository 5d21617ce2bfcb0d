//! The control loop: handles signals and admin commands while the server runs.

use std::convert::Infallible;

use futures_util::future::join;
use futures_util::{StreamExt, stream};
use switchboard::Running;
use switchboard::server::Changes;
use switchboard::transport::Systemd;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::admin::{Admin, AdminCommand};
use crate::exit;
use crate::handover::{self, Executable};
use crate::reload::Reload;
use crate::service_manager::ServiceManager;
use crate::signals::Signals;

/// A server that accepts connections.
pub(crate) struct LiveServer<'s> {
    running: &'s Running,
    admin: &'s Admin,
    /// Sockets of the service manager, passed on to the new process of an upgrade.
    systemd: Systemd,
    executable: &'s Executable,
    service_manager: ServiceManager,
}

/// The requests that the control loop handles one at a time. Signals that arrive meanwhile are merged into one.
struct Requests {
    reload: Signal,
    upgrade: Signal,
    commands: Receiver<AdminCommand>,
}

impl<'s> LiveServer<'s> {
    pub(crate) fn new(running: &'s Running, admin: &'s Admin, systemd: Systemd, executable: &'s Executable) -> Self {
        Self { running, admin, systemd, executable, service_manager: ServiceManager::from_env() }
    }

    /// Runs until the server has drained. Returns the exit status.
    pub(crate) async fn run(&self, signals: Signals, commands: Receiver<AdminCommand>, reload: Reload<'_>) -> u8 {
        self.service_manager.ready();
        let Signals { stop, reload: sighup, upgrade: sigusr2 } = signals;
        let requests = Requests { reload: sighup, upgrade: sigusr2, commands };
        let (drain, drain_requests) = channel(1);
        let stop = stream::select(stop, stream::once(first(drain_requests)));
        let drained = tokio::select! {
            drained = self.running.serve_until(stop.inspect(|()| self.service_manager.stopping())) => drained,
            never = self.handle(requests, reload, drain) => match never {},
            never = self.service_manager.run(self.running) => match never {},
        };
        self.admin.stop().await;
        if drained.cut > 0 { exit::ABORTED } else { 0 }
    }

    async fn handle(&self, mut requests: Requests, mut reload: Reload<'_>, drain: Sender<()>) -> Infallible {
        loop {
            tokio::select! {
                _ = requests.reload.recv() => drop(self.reload(&mut reload).await),
                _ = requests.upgrade.recv() => {
                    if self.upgrade().await {
                        self.hand_over().await;
                        let _ = drain.try_send(()); // fails if a drain was requested already
                    }
                }
                Some(command) = requests.commands.recv() => match command {
                    // Fails if the client has disconnected.
                    AdminCommand::Reload(result) => drop(result.send(self.reload(&mut reload).await)),
                    AdminCommand::Drain => drop(drain.try_send(())),
                },
            }
        }
    }

    async fn reload(&self, reload: &mut Reload<'_>) -> Result<Changes, Vec<String>> {
        self.service_manager.reloading();
        let reloaded = reload.reload(self.running, self.admin).await;
        self.service_manager.ready();
        reloaded
    }

    /// Starts a new process and commits the handover. Returns false if this process continues.
    async fn upgrade(&self) -> bool {
        match self.try_upgrade().await {
            Ok(pid) => tracing::info!(target: "switchboard", pid, "upgraded"),
            Err(error) => tracing::warn!(target: "switchboard", error, "upgrade rejected"),
        }
        self.service_manager.has_handed_over()
    }

    async fn try_upgrade(&self) -> Result<u32, String> {
        if self.running.is_stopping() {
            return Err("the server is draining".to_owned());
        }
        let (listeners, admin) = (self.running.sockets(), self.admin.running().sockets());
        let new_process = handover::start_new_process(self.executable, &self.systemd, listeners, admin).await?;
        let pid = new_process.pid();
        // Before the commit, because systemd ignores notifications of a process that is not the main process.
        self.service_manager.set_main_process(pid);
        new_process.commit().await.map_err(|error| {
            self.service_manager.set_main_process(std::process::id());
            format!("the new process exited right after it became ready: {error}")
        })?;
        Ok(pid)
    }

    /// Stops accepting. The admin endpoint stops at once, so that operators reach the new process.
    async fn hand_over(&self) {
        let admin = async {
            self.admin.running().hand_over().await;
            self.admin.stop().await;
        };
        join(self.running.hand_over(), admin).await;
    }
}

/// The first request to drain. Further ones must not count as the second signal, which aborts connections.
async fn first(mut requests: Receiver<()>) {
    if requests.recv().await.is_none() {
        std::future::pending().await
    }
}
