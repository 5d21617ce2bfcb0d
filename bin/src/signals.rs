//! The control loop: handles signals and admin requests while the server runs.

use std::convert::Infallible;
use std::io;
use std::task::Poll;

use futures_util::future::{join, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use switchboard::Running;
use switchboard::error::chain;
use switchboard::server::Inherited;
use switchboard::transport::Systemd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use crate::admin::{Admin, ReloadMode, ReloadRequest, Reloaded};
use crate::exit;
use crate::handover::{self, CounterHandover, Executable, Successor};
use crate::reload::Reload;
use crate::service_manager::ServiceManager;

/// Once created, none of these signals ends the process, and a signal that arrives before it is polled is kept.
pub(crate) struct Signals {
    /// SIGTERM and SIGINT: drain; the second one aborts the remaining connections.
    pub(crate) stop: BoxStream<'static, ()>,
    /// Reload the configuration.
    hangup: Signal,
    /// Start the new binary.
    user2: Signal,
}

impl Signals {
    /// Installs the signal handlers. Must be called inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = stream::poll_fn(move |cx| match terminate.poll_recv(cx) {
            Poll::Pending => interrupt.poll_recv(cx),
            stop => stop,
        });
        let (hangup, user2) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?);
        Ok(Self { stop: stop.boxed(), hangup, user2 })
    }
}

/// A server that accepts connections.
pub(crate) struct LiveServer<'s> {
    pub(crate) running: &'s Running,
    pub(crate) admin: &'s Admin,
    /// Sockets of the service manager, passed on to the new process of an upgrade.
    pub(crate) systemd: Systemd,
    /// The program of the new process.
    pub(crate) executable: &'s Executable,
    pub(crate) service_manager: ServiceManager,
    pub(crate) counters: CounterHandover,
}

impl LiveServer<'_> {
    /// Runs until the server has drained. Returns the exit status. `inherited_admin` are the sockets of the admin
    /// endpoint of the old process: it is not open yet.
    pub(crate) async fn run(
        &self,
        signals: Signals,
        reloads: Receiver<ReloadRequest>,
        reload: Reload<'_>,
        inherited_admin: Option<Vec<Inherited>>,
    ) -> u8 {
        self.service_manager.ready();
        let Signals { stop, hangup, user2 } = signals;
        // Independent of `handle`, so that a drain begins at once while a reload or an upgrade is in progress.
        let requested = stream::once(self.admin.drain_requested());
        // The first signal or request begins the drain. Only a second signal aborts connections: a service manager
        // sends the first one after a requested drain, too.
        let (mut has_begun, mut signals) = (false, 0);
        let counts = |is_signal: &bool| {
            signals += usize::from(*is_signal);
            ready(!std::mem::replace(&mut has_begun, true) || (*is_signal && signals > 1))
        };
        let stop = stream::select(stop.map(|()| true), requested.map(|()| false)).filter(counts).map(drop);
        let drained = tokio::select! {
            drained = self.running.serve_until(stop.inspect(|()| self.service_manager.stopping())) => drained,
            never = self.handle(hangup, user2, reloads, reload, inherited_admin) => match never {},
            never = self.service_manager.run(self.running) => match never {},
            never = self.counters.run() => match never {},
        };
        self.admin.set_drained(drained);
        self.admin.stop().await;
        self.counters.end().await;
        if drained.is_complete() { 0 } else { exit::INCOMPLETE }
    }

    /// Handles one reload or upgrade at a time; each has a deadline, and a drain cancels it. Signals that arrive
    /// meanwhile are merged into one.
    async fn handle(
        &self,
        mut hangup: Signal,
        mut user2: Signal,
        mut reloads: Receiver<ReloadRequest>,
        mut reload: Reload<'_>,
        inherited_admin: Option<Vec<Inherited>>,
    ) -> Infallible {
        if let Some(inherited) = inherited_admin {
            self.open_admin(&reload, inherited).await;
        }
        loop {
            tokio::select! {
                _ = hangup.recv() => drop(self.reload(&mut reload, ReloadMode::default()).await),
                _ = user2.recv() => {
                    let upgraded = tokio::select! {
                        upgraded = self.upgrade(&reload) => upgraded,
                        never = self.reject_reloads(&mut hangup, &mut reloads) => match never {},
                    };
                    match upgraded {
                        Ok((pid, successor)) => {
                            self.hand_over(successor).await;
                            tracing::info!(target: "switchboard", pid, "upgraded");
                            self.finish_handover().await;
                            self.admin.request_drain();
                        }
                        Err(error) => tracing::warn!(target: "switchboard", error, "upgrade rejected"),
                    }
                }
                // The reply fails if the client has disconnected.
                Some(ReloadRequest { mode, result }) = reloads.recv() => {
                    drop(result.send(self.reload(&mut reload, mode).await));
                }
            }
        }
    }

    /// Rejects reloads during an upgrade, which can take a minute: the new process has read the configuration.
    async fn reject_reloads(&self, hangup: &mut Signal, reloads: &mut Receiver<ReloadRequest>) -> Infallible {
        loop {
            let result = tokio::select! {
                _ = hangup.recv() => None,
                Some(ReloadRequest { result, .. }) = reloads.recv() => Some(result),
            };
            let error = "an upgrade is in progress; try again when it has ended".to_owned();
            let rejected = self.reloaded(async { Err(vec![error]) }).await;
            // The reply fails if the client has disconnected.
            drop(result.map(|result| result.send(rejected)));
        }
    }

    async fn reload(&self, reload: &mut Reload<'_>, mode: ReloadMode) -> Result<Reloaded, Vec<String>> {
        let reloading = Box::pin(reload.reload(self.running, self.admin, mode)); // large, and rare
        // A dry run is no event of the server.
        if mode.is_dry_run { reloading.await } else { self.reloaded(reloading).await }
    }

    /// Notifies the service manager of a reload, and logs why it is rejected.
    async fn reloaded(
        &self,
        reload: impl Future<Output = Result<Reloaded, Vec<String>>>,
    ) -> Result<Reloaded, Vec<String>> {
        self.service_manager.reloading();
        let reloaded = reload.await;
        if let Err(errors) = &reloaded {
            tracing::warn!(target: "switchboard", errors = errors.len(), error = errors.join("; "), "reload rejected");
        }
        // The notification would contradict the one about the drain.
        if !self.running.is_stopping() {
            self.service_manager.ready();
        }
        reloaded
    }

    /// Starts a new process and commits the handover. After an error this process continues.
    async fn upgrade(&self, reload: &Reload<'_>) -> Result<(u32, Successor), String> {
        if std::process::id() == 1 {
            // pid_namespaces(7): the kernel kills all processes of a PID namespace when its process 1 exits.
            return Err("this process is process 1, and a container stops with its process 1; \
                        start a new container instead"
                .to_owned());
        }
        reload.check_file()?;
        let (listeners, admin) = (self.running.sockets(), self.admin.running.sockets());
        let new_process = tokio::select! {
            biased;
            () = self.running.stopping() => return Err("the server is draining".to_owned()),
            started = handover::start_new_process(self.executable, &self.systemd, listeners, admin) => started?,
        };
        let pid = new_process.pid;
        // Before the commit, because systemd ignores notifications of a process that is not the main process.
        self.service_manager.set_main_process(pid);
        // The new process reads the bans after the commit.
        if let Err(error) = self.running.bans().suspend_saving().await {
            let error = error.to_string();
            tracing::warn!(target: "switchboard", error, "the new process does not know the last bans");
        }
        let committed = new_process.commit(self.counters.counts().await).await;
        let successor = committed.inspect_err(|_| {
            self.running.bans().resume_saving();
            self.service_manager.set_main_process(std::process::id());
        })?;
        Ok((pid, successor))
    }

    /// Opens the admin endpoint of a new process when the old one does not show counters any more, so that no client
    /// sees them decrease. Clients that connect meanwhile wait.
    async fn open_admin(&self, reload: &Reload<'_>, inherited: Vec<Inherited>) {
        self.counters.predecessor_handed_over().await;
        if let Err(error) = self.admin.open_after_handover(&reload.initial, inherited).await {
            let error = chain(&*error);
            tracing::error!(target: "switchboard", error, "cannot open the admin endpoint");
        }
    }

    /// Stops accepting, on the admin endpoint first, so that operators and health checks reach the new process.
    async fn hand_over(&self, successor: Successor) {
        self.admin.running.hand_over().await;
        self.admin.forward_requests();
        self.counters.hand_over(successor, self.admin.history()).await;
        self.running.hand_over().await;
    }

    /// Closes idle connections. The admin endpoint stops.
    async fn finish_handover(&self) {
        let admin = async {
            self.admin.running.close_idle().await;
            self.admin.stop().await;
        };
        join(self.running.close_idle(), admin).await;
    }
}
