//! Notifies the service manager with the protocol of sd_notify(3). Does nothing if `NOTIFY_SOCKET` is not set.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::iter;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;
use switchboard::Running;
use switchboard::settings::text::quoted;
use tokio::time::timeout;
use tracing::error;

/// Interval of status notifications.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest timeout of a watchdog: a shorter one would leave no time for anything but notifications.
const MIN_WATCHDOG: Duration = Duration::from_millis(10);
/// The longest timeout of a watchdog.
const MAX_WATCHDOG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a notification may wait for a service manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The service manager that started this process, if any.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// The address in `NOTIFY_SOCKET`.
    socket: Option<SocketAddr>,
    /// The last notification failed, which is logged once.
    has_failed: AtomicBool,
    /// The service manager restarts the server after this time without a watchdog notification.
    watchdog_timeout: Option<Duration>,
    /// The new process is the main process and sends the notifications.
    has_handed_over: AtomicBool,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, see sd_notify(3), and `WATCHDOG_USEC` and `WATCHDOG_PID`, see sd_watchdog_enabled(3).
    pub(crate) fn from_env() -> Self {
        let watchdog_timeout = watchdog_timeout(|name| env::var_os(name), std::process::id()).unwrap_or_else(|error| {
            tracing::warn!(target: "switchboard", error, "no watchdog notifications are sent");
            None
        });
        let socket = env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty());
        let socket = socket.and_then(|value| {
            let invalid = |reason| {
                let value = value.to_string_lossy();
                let hint = "no notification is sent; use an absolute path or @name";
                tracing::warn!(target: "switchboard", %value, reason, "NOTIFY_SOCKET is not supported: {hint}");
            };
            socket_address(&value).map_err(|error| invalid(error.to_string())).ok()
        });
        let (has_failed, has_handed_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { socket, has_failed, watchdog_timeout, has_handed_over }
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
        if self.socket.is_none() {
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
            let count = |count, name| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
            let (listeners, open) = (count(running.addresses().len(), "listener"), count(running.open(), "connection"));
            self.notify(&[NotifyState::Status(&format!("{listeners}, {open} open"))]);
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    /// A failed notification does not stop the server.
    fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.has_handed_over.load(Relaxed)) else { return };
        let sent = send(socket, states);
        let has_failed = self.has_failed.swap(sent.is_err(), Relaxed);
        if let Err(error) = sent
            && !has_failed
        {
            tracing::warn!(target: "switchboard", %error, "cannot notify systemd");
        }
    }
}

/// The address of a notification socket: an absolute path, or `@` and a name in the abstract namespace (unix(7)).
fn socket_address(value: &OsStr) -> io::Result<SocketAddr> {
    match value.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(value),
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'v', b's', b'o', b'c', b'k', ..] => Err(io::Error::other("vsock sockets are not supported")),
        _ => Err(io::Error::other("it is not an absolute path and does not begin with @")),
    }
}

/// Not with `sd_notify::notify`, which does not support abstract sockets.
fn send(socket: &SocketAddr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let mut message = String::new();
    states.iter().for_each(|state| writeln!(message, "{state}").unwrap_or_default());
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(SEND_TIMEOUT))?;
    sender.send_to_addr(message.as_bytes(), socket)?;
    Ok(())
}

/// The timeout of the watchdog; `None` if there is none for this process. A variable without a value counts as not set.
fn watchdog_timeout(variable: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Result<Option<Duration>, String> {
    let number = |name: &str| match variable(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => {
            let number = value.to_str().and_then(|text| text.parse::<u64>().ok());
            let error = || format!("{name} is {}, which is not a number", quoted(&value.to_string_lossy()));
            number.map(Some).ok_or_else(error)
        }
    };
    let Some(microseconds) = number("WATCHDOG_USEC")? else { return Ok(None) };
    if number("WATCHDOG_PID")?.is_some_and(|pid| pid != u64::from(own_pid)) {
        return Ok(None);
    }
    let timeout = Duration::from_micros(microseconds);
    if timeout < MIN_WATCHDOG {
        let min = MIN_WATCHDOG.as_micros();
        return Err(format!("WATCHDOG_USEC is {microseconds}; the shortest supported timeout is {min} microseconds"));
    }
    Ok(Some(timeout.min(MAX_WATCHDOG)))
}

#[cfg(test)]
mod tests;
