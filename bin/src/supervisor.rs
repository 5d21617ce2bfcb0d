//! The service manager: told when the server is ready, reloads and stops, how it does, and that it is alive.
//!
//! The protocol is that of sd_notify(3). Without a manager (no `NOTIFY_SOCKET`) nothing is told.

use std::convert::Infallible;
use std::env;
use std::time::Duration;

use sd_notify::NotifyState;
use switchboard::Running;
use tokio::time::timeout;

/// How often the manager is told how many are there.
const STATUS: Duration = Duration::from_secs(10);

/// Whoever started this process and looks after it, if anybody does.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// After so long without a beat it takes the server for dead.
    patience: Option<Duration>,
}

impl Supervisor {
    /// As the environment says.
    pub(crate) fn new() -> Self {
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_ours).map(Duration::from_micros);
        Self { patience }
    }

    /// The server accepts, again or for the first time.
    pub(crate) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// It reloads; [`ready`](Self::ready) says that it has.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// It stops.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
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
                match timeout(patience / 2, running.answers()).await {
                    Ok(()) => tell(&[NotifyState::Watchdog]),
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
                tell(&[NotifyState::Status(&format!("{listeners} listeners, {open} connections open"))]);
                tokio::time::sleep(STATUS).await;
            }
        };
        tokio::select! {
            never = beats => never,
            never = status => never,
        }
    }
}

/// A manager that does not listen is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(target: "switchboard", %error, "the service manager cannot be told");
    }
}
