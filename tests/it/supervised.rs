//! The service manager receives every state change and the watchdog notifications (sd_notify(3)).

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, tool, uninterrupted};
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// The notification socket of a service manager.
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    pub(crate) place: tempfile::TempDir,
}

impl ServiceManager {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(place.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self { socket, place }
    }

    pub(crate) fn start(&self, watchdog: Option<Duration>) -> Running {
        let program = Program::switchboard()
            .args(["serve", "--listen", "tcp://127.0.0.1:0"])
            .current_dir(self.place.path())
            .env("NOTIFY_SOCKET", self.place.path().join("notify"));
        let program = match watchdog {
            Some(watchdog) => program.env("WATCHDOG_USEC", watchdog.as_micros().to_string()),
            None => program,
        };
        program.start()
    }

    /// Receives the next notification, if one arrives within this time.
    pub(crate) fn receive(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 1000];
        let count = uninterrupted(|| self.socket.recv(&mut buffer)).ok()?;
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    /// Whether a watchdog notification arrives within this time.
    fn receives_watchdog(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.receive(left).is_some_and(|text| text.contains("WATCHDOG=1")) {
                return true;
            }
        }
        false
    }

    /// Waits for a notification with this line and ignores the others.
    pub(crate) fn wait_for(&self, line: &str) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let left =
                deadline.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("no notification {line}"));
            match self.receive(left) {
                Some(text) if text.lines().any(|found| found == line) => return text,
                _ => {}
            }
        }
    }
}

#[test]
fn every_state_change_is_notified() {
    let manager = ServiceManager::new();
    let server = manager.start(None);
    let first = manager.receive(TEST_TIMEOUT).unwrap();
    assert_eq!(first, "READY=1\n");
    TcpStream::connect(server.socket("main")).unwrap();
    manager.wait_for("STATUS=1 listener, 0 connections open");
    server.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    manager.wait_for("READY=1");
    // A rejected reload also ends with READY=1.
    std::fs::write(manager.place.path().join("switchboard.toml"), "handler = 'nobody'\n").unwrap();
    server.signal(Signal::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    server.signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_upgrade_notifies_the_new_main_process() {
    let manager = ServiceManager::new();
    let server = manager.start(None);
    manager.wait_for("READY=1");
    server.signal(Signal::SIGUSR2);
    let next = server.wait_for_event(|event| event["message"] == "upgraded")["pid"].as_i64().unwrap();
    manager.wait_for(&format!("MAINPID={next}"));
    let then = manager.wait_for("READY=1");
    assert_eq!(then, "READY=1\n"); // from the new process
    kill(Pid::from_raw(i32::try_from(next).unwrap()), Signal::SIGTERM).unwrap();
    // The old process sends no further notification.
    manager.wait_for("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(manager.receive(Duration::from_millis(1)), None);
}

#[test]
fn the_watchdog_is_notified_only_while_every_listener_responds() {
    let manager = ServiceManager::new();
    let server = manager.start(Some(Duration::from_millis(300)));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    let Some(strace) = tool("strace") else { return };
    // strace delays every further accept4 by an hour.
    let stall = StalledAccept::new(&strace, &server, "inject=accept4:delay_enter=3600s");
    let deadline = Instant::now() + TEST_TIMEOUT;
    // No notification within several watchdog intervals.
    while manager.receives_watchdog(Duration::from_millis(1500)) {
        assert!(Instant::now() < deadline, "the watchdog notifications do not stop");
        drop(TcpStream::connect(server.socket("main")));
    }
    drop(stall);
    manager.wait_for("WATCHDOG=1");
}

/// Stalls a program in a system call until drop.
struct StalledAccept(Child);

impl StalledAccept {
    fn new(strace: &Path, server: &Running, how: &str) -> Self {
        let args = ["-f", "-qq", "-e", "trace=accept4", "-e", how, "-p", &server.id().to_string()];
        let quiet = Stdio::null;
        Self(Command::new(strace).args(args).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap())
    }
}

impl Drop for StalledAccept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_runs_with_an_unreachable_service_manager() {
    let manager = ServiceManager::new();
    let path = manager.place.path().join("notify");
    std::fs::remove_file(&path).unwrap();
    let server = manager.start(Some(Duration::from_millis(100)));
    server.wait_for_event(|event| event["message"] == "cannot notify systemd");
    TcpStream::connect(server.socket("main")).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
