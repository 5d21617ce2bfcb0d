//! A running program: its output, its log events and its exit.

use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::TEST_TIMEOUT;

/// The interval for polling a condition that has no notification.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// One line of the JSON log.
pub type Event = Value;

/// A running program. It is killed on drop.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Option<Child>,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
    readers: Vec<JoinHandle<()>>,
}

/// The status and output of a program that has exited.
#[derive(Debug)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The exit code; `None` if a signal terminated the program.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Running {
    /// Collects the output of a child with piped standard streams, and writes its input.
    pub(crate) fn new(name: String, mut child: Child, input: Vec<u8>) -> Self {
        let (stdout, out) = Captured::of(child.stdout.take().expect("piped"));
        let (stderr, err) = Captured::of(child.stderr.take().expect("piped"));
        let mut readers = vec![out, err];
        let mut stdin = child.stdin.take().expect("piped");
        readers.push(thread::spawn(move || {
            let _ = stdin.write_all(&input); // a program may close its standard input
        }));
        Self { name, child: Some(child), stdout, stderr, readers }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the child is present until `wait`").id()
    }

    /// The JSON lines of standard error, one event per line.
    pub fn log(&self) -> Vec<Event> {
        self.stderr.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits for the first event that matches `wanted`.
    #[track_caller]
    pub fn wait_for_event(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let mut captured = self.stderr.lock();
        loop {
            let text = String::from_utf8_lossy(&captured.bytes);
            let mut events = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
            if let Some(event) = events.find(&wanted) {
                return event;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = captured.ended;
            assert!(!ended && !left.is_zero(), "{} did not log the event ({}):\n{text}", self.name, {
                if ended { "end of log" } else { "timeout" }
            });
            captured = self.stderr.changed.wait_timeout(captured, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until standard error contains a text, in a log of any format.
    #[track_caller]
    pub fn wait_until_logged(&mut self, text: &str) {
        let stderr = self.stderr.clone();
        self.wait_until(&format!("it logs {text:?}"), || stderr.text().contains(text));
    }

    /// The address that a listener logged, with the actual port: `tcp://127.0.0.1:40123`.
    #[track_caller]
    pub fn address(&self, listener: &str) -> String {
        let event = self.wait_for_event(|event| event["message"] == "listening" && event["listener"] == listener);
        event["address"].as_str().expect("a listening event has an address").to_owned()
    }

    /// The address without the scheme: `127.0.0.1:40123`, or a path.
    #[track_caller]
    pub fn socket(&self, listener: &str) -> String {
        let address = self.address(listener);
        let rest = address.split_once(':').expect("an address has a scheme").1;
        rest.trim_start_matches("//").to_owned()
    }

    /// Sends a signal to the process.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("a process id fits into i32");
        kill(Pid::from_raw(id), signal).expect("the process is running");
    }

    /// Polls until a condition holds.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !holds() {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let (name, stderr) = (&self.name, self.stderr.text());
            assert!(exited.is_none(), "{name} exited ({exited:?}) while waiting until {what}:\n{stderr}");
            assert!(Instant::now() < deadline, "{name}: timeout while waiting until {what}:\n{stderr}");
            thread::park_timeout(POLL_INTERVAL);
        }
    }

    /// Waits until the program exits, on its own or because of an earlier signal.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let mut child = self.child.take().expect("`wait` consumes the child");
        let deadline = Instant::now() + TEST_TIMEOUT;
        let status = loop {
            if let Some(status) = child.try_wait().expect("try_wait succeeds") {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{} does not exit:\n{}", self.name, self.stderr.text());
            }
            thread::park_timeout(POLL_INTERVAL);
        };
        // A grandchild may keep the pipes open, so the wait for their end is short.
        self.stdout.wait_for_end(Duration::from_secs(5));
        self.stderr.wait_for_end(Duration::from_secs(5));
        Output { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The reader threads are not joined, because a grandchild may keep the pipes open.
        self.readers.clear();
    }
}

/// The bytes read from a pipe so far.
#[derive(Debug, Default)]
struct Captured {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> (Arc<Self>, JoinHandle<()>) {
        let captured = Arc::new(Self::default());
        let shared = captured.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = shared.lock();
                state.bytes.extend_from_slice(&buffer[..read]);
                state.ended = read == 0;
                shared.changed.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        (captured, reader)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn wait_for_end(&self, time: Duration) {
        let state = self.changed.wait_timeout_while(self.lock(), time, |state| !state.ended);
        drop(state);
    }
}
