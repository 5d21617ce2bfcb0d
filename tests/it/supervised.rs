//! A service manager is told when the server is ready, reloads and stops, and hears its heart beat while it really does its work.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use harness::{Program, Running, Signal, TEST_TIMEOUT, tool};

/// Where a service manager listens.
struct Manager {
    socket: UnixDatagram,
    place: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(place.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self { socket, place }
    }

    fn start(&self, patience: Option<Duration>) -> Running {
        let program = Program::switchboard()
            .args(["serve", "--listen", "tcp://127.0.0.1:0"])
            .current_dir(self.place.path())
            .env("NOTIFY_SOCKET", self.place.path().join("notify"));
        let program = match patience {
            Some(patience) => program.env("WATCHDOG_USEC", patience.as_micros().to_string()),
            None => program,
        };
        program.start()
    }

    /// The next thing that is said, if anything is within that time.
    fn hears(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 1000];
        let count = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    /// Whether the heart beats within that time.
    fn hears_a_beat(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.hears(left).is_some_and(|said| said.contains("WATCHDOG=1")) {
                return true;
            }
        }
        false
    }

    /// Waits for a line; whatever else is said meanwhile is no concern.
    fn waits_for(&self, line: &str) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let left =
                deadline.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("{line} was never said"));
            match self.hears(left) {
                Some(said) if said.lines().any(|said| said == line) => return said,
                _ => {}
            }
        }
    }
}

#[test]
fn it_is_told_of_every_stage() {
    let manager = Manager::new();
    let server = manager.start(None);
    let first = manager.hears(TEST_TIMEOUT).unwrap();
    assert_eq!(first, "READY=1\n"); // and nothing before it
    TcpStream::connect(server.socket("main")).unwrap();
    manager.waits_for("STATUS=1 listeners, 0 connections open");
    server.signal(Signal::SIGHUP);
    let reloading = manager.waits_for("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    manager.waits_for("READY=1");
    // One that is refused is over, too.
    std::fs::write(manager.place.path().join("switchboard.toml"), "handler = 'nobody'\n").unwrap();
    server.signal(Signal::SIGHUP);
    manager.waits_for("RELOADING=1");
    manager.waits_for("READY=1");
    server.signal(Signal::SIGTERM);
    manager.waits_for("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_next_process_is_the_one_to_look_after() {
    let manager = Manager::new();
    let server = manager.start(None);
    manager.waits_for("READY=1");
    server.signal(Signal::SIGUSR2);
    let next = server.wait_for_event(|event| event["message"] == "upgraded")["pid"].as_i64().unwrap();
    manager.waits_for(&format!("MAINPID={next}"));
    let then = manager.waits_for("READY=1");
    assert_eq!(then, "READY=1\n"); // by the next one
    kill(Pid::from_raw(i32::try_from(next).unwrap()), Signal::SIGTERM).unwrap();
    // The one before has said nothing any more.
    manager.waits_for("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(manager.hears(Duration::from_millis(1)), None);
}

#[test]
fn the_heart_beats_while_every_listener_does_its_work_and_stops_when_one_hangs() {
    let manager = Manager::new();
    let server = manager.start(Some(Duration::from_millis(300)));
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    let Some(strace) = tool("strace") else { return };
    // From the next client on, accept takes an hour.
    let hang = Hang::new(&strace, &server, "inject=accept4:delay_enter=3600s");
    let deadline = Instant::now() + TEST_TIMEOUT;
    // Several times its patience, and not a beat.
    while manager.hears_a_beat(Duration::from_millis(1500)) {
        assert!(Instant::now() < deadline, "it beats for ever");
        drop(TcpStream::connect(server.socket("main")));
    }
    drop(hang);
    manager.waits_for("WATCHDOG=1");
}

/// Holds a program up in a system call until it is dropped.
struct Hang(Child);

impl Hang {
    fn new(strace: &Path, server: &Running, how: &str) -> Self {
        let args = ["-f", "-qq", "-e", "trace=accept4", "-e", how, "-p", &server.id().to_string()];
        let quiet = Stdio::null;
        Self(Command::new(strace).args(args).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap())
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_manager_nothing_is_said_and_with_one_that_is_gone_it_serves() {
    let manager = Manager::new();
    let path = manager.place.path().join("notify");
    std::fs::remove_file(&path).unwrap();
    let server = manager.start(Some(Duration::from_millis(100)));
    server.wait_for_event(|event| event["message"] == "the service manager cannot be told");
    TcpStream::connect(server.socket("main")).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
