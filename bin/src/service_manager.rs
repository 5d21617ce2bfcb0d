//! The service manager: told when the server is ready, reloads and stops, how it does, and that it is alive.
//!
//! The protocol is that of sd_notify(3). Without a manager (no `NOTIFY_SOCKET`) nothing is told.

use std::convert::Infallible;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;
use switchboard::Running;
use tokio::time::timeout;

/// How often the manager is told how many are there.
const STATUS: Duration = Duration::from_secs(10);

/// Whoever started this process and looks after it, if anybody does.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// After so long without a beat it takes the server for dead.
    patience: Option<Duration>,
    /// It listens to another process from here on.
    has_handed_over: AtomicBool,
}

impl ServiceManager {
    /// As the environment says.
    pub(crate) fn new() -> Self {
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_ours).map(Duration::from_micros);
        Self { patience, has_handed_over: AtomicBool::new(false) }
    }

    /// The server accepts, again or for the first time.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// It reloads; [`ready`](Self::ready) says that it has.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// This process is the one to look after: the next one, which tells the manager by itself from here on, or again this one.
    pub(crate) fn hand_over(&self, id: u32) {
        tell(&[NotifyState::MainPid(id)]);
        self.has_handed_over.store(id != std::process::id(), Relaxed);
    }

    /// Whether this process is not the one to look after any more.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.has_handed_over.load(Relaxed)
    }

    /// It stops.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Beats twice in the manager's patience, as long as every listener shows that it still does its work, and says now and then
    /// how many are there.
    pub(crate) async fn accompany(&self, running: &Running) -> Infallible {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return std::future::pending().await;
        }
        let beats = async {
            let Some(patience) = self.patience else { return std::future::pending().await };
            loop {
                match timeout(patience / 2, running.heartbeat()).await {
                    Ok(()) => self.tell(&[NotifyState::Watchdog]),
                    Err(_) => {
                        tracing::error!(target: "switchboard", "a listener does not answer: no beat for the watchdog")
                    }
                }
                tokio::time::sleep(patience / 2).await;
            }
        };
        let status = async {
            loop {
                let (listeners, open) = (running.addresses().len(), running.open());
                self.tell(&[NotifyState::Status(&format!("{listeners} listeners, {open} connections open"))]);
                tokio::time::sleep(STATUS).await;
            }
        };
        tokio::select! {
            never = beats => never,
            never = status => never,
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if !self.has_handed_over() {
            tell(states);
        }
    }
}

/// A manager that does not listen is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(target: "switchboard", %error, "the service manager cannot be told");
    }
}
