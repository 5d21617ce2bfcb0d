//! Notifies the service manager with the protocol of sd_notify(3). Does nothing if `NOTIFY_SOCKET` is not set.

use std::convert::Infallible;
use std::env;
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;
use switchboard::Running;
use tokio::time::timeout;
use tracing::error;

/// Interval of status notifications.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The service manager that started this process, if any.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// The service manager restarts the server after this time without a watchdog notification.
    watchdog_timeout: Option<Duration>,
    /// The new process is the main process and sends the notifications.
    has_handed_over: AtomicBool,
}

impl ServiceManager {
    /// Reads `WATCHDOG_USEC` and `WATCHDOG_PID`, see sd_watchdog_enabled(3).
    pub(crate) fn from_env() -> Self {
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let timeout = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_for_us).map(Duration::from_micros);
        Self { watchdog_timeout: timeout, has_handed_over: AtomicBool::new(false) }
    }

    /// The server accepts connections, after a start or a reload.
    pub(crate) fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// A reload starts; [`ready`](Self::ready) reports its end.
    pub(crate) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        self.notify(&iter::once(NotifyState::Reloading).chain(now).collect::<Vec<_>>());
    }

    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Sets the main process of the service. A new process then sends its own notifications.
    pub(crate) fn set_main_process(&self, pid: u32) {
        self.has_handed_over.store(false, Relaxed);
        self.notify(&[NotifyState::MainPid(pid)]);
        self.has_handed_over.store(pid != std::process::id(), Relaxed);
    }

    /// Sends status and watchdog notifications. A watchdog notification requires a heartbeat of every listener.
    pub(crate) async fn run(&self, running: &Running) -> Infallible {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return std::future::pending().await;
        }
        tokio::select! {
            never = self.watchdog(running) => never,
            never = self.status(running) => never,
        }
    }

    async fn watchdog(&self, running: &Running) -> Infallible {
        // sd_watchdog_enabled(3) recommends half of the timeout.
        let Some(interval) = self.watchdog_timeout.map(|timeout| timeout / 2) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            match timeout(interval, running.heartbeat()).await {
                Ok(()) => self.notify(&[NotifyState::Watchdog]),
                Err(_) => error!(target: "switchboard", "listener not responding; watchdog notification withheld"),
            }
        }
    }

    async fn status(&self, running: &Running) -> Infallible {
        loop {
            let (listeners, open) = (running.addresses().len(), running.open());
            self.notify(&[NotifyState::Status(&format!("{listeners} listeners, {open} connections open"))]);
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    /// A failed notification does not stop the server.
    fn notify(&self, states: &[NotifyState<'_>]) {
        if self.has_handed_over.load(Relaxed) {
            return;
        }
        if let Err(error) = sd_notify::notify(false, states) {
            tracing::warn!(target: "switchboard", %error, "cannot notify systemd");
        }
    }
}
