//! A program under test, started as a child process.

use std::ffi::{OsStr, OsString};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::build;
use crate::running::{Output, Running};

/// A program and its start parameters.
///
/// ```no_run
/// use harness::{Program, Signal};
/// let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--handler", "echo"]).start();
/// let address = server.socket("main");
/// server.signal(Signal::SIGTERM);
/// assert!(server.wait().status.success());
/// ```
#[derive(Debug)]
pub struct Program {
    command: Command,
    name: String,
    input: Vec<u8>,
    logs: bool,
    ready_addresses: Vec<String>,
}

impl Program {
    /// The `switchboard` binary. It is ready after its first `listening` event.
    pub fn switchboard() -> Self {
        build::program();
        Self { logs: true, ..Self::at(&build::target().join("switchboard")) }
    }

    /// An example. Examples log nothing, so it is ready when it listens on every address in its arguments (`tcp://…`,
    /// `udp://…`, `unix:…`, `unixgram:…`). Use [`ready_at`](Self::ready_at) for other addresses and
    /// [`free_port`](crate::free_port) for ports.
    pub fn example(name: &str) -> Self {
        Self::at(&build::example(name))
    }

    /// A program of `tests/extension`. Like an example, it is ready when it listens; see [`logs`](Self::logs).
    pub fn extension(name: &str) -> Self {
        Self::at(&build::binary(name))
    }

    /// The program at this path.
    pub fn at(path: &Path) -> Self {
        let mut command = Command::new(path);
        for (name, _) in env::vars_os() {
            let is_setting = name.to_str().is_some_and(|name| name.starts_with("SWITCHBOARD"));
            if is_setting || name == *"RUST_LOG" || name == *"NOTIFY_SOCKET" || name == *"LISTEN_FDS" {
                command.env_remove(name);
            }
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { command, name, input: Vec::new(), logs: false, ready_addresses: Vec::new() }
    }

    /// The program logs like the `switchboard` binary: it is ready after its first `listening` event.
    #[must_use]
    pub fn logs(self) -> Self {
        Self { logs: true, ..self }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let arg = arg.as_ref();
        self.command.arg(arg);
        if let Some(text) = arg.to_str()
            && ["tcp://", "udp://", "unix:", "unixgram:"].iter().any(|scheme| text.starts_with(scheme))
        {
            self.ready_addresses.push(text.to_owned());
        }
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable. `SWITCHBOARD*` and `RUST_LOG` are not inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name.into(), value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Sets the bytes of standard input. The default is an empty input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Adds an address that the program listens on when it is ready.
    #[must_use]
    pub fn ready_at(mut self, address: impl Into<String>) -> Self {
        self.ready_addresses.push(address.into());
        self
    }

    /// The underlying command, for settings without a method here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts the program and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Running {
        let (logs, addresses) = (self.logs, self.ready_addresses.clone());
        let mut running = self.spawn();
        if logs {
            running.wait_for_event(|event| event["message"] == "listening");
        } else {
            running.wait_until("it is ready", || addresses.iter().all(|address| is_listening(address)));
        }
        running
    }

    /// Starts the program and does not wait.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{} failed to start: {error}", self.name));
        Running::new(self.name, child, self.input)
    }

    /// Runs the program until it exits on its own.
    #[track_caller]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

/// Whether a socket listens on this address.
fn is_listening(address: &str) -> bool {
    let (scheme, rest) = address.split_once(':').unwrap_or(("tcp", address));
    let rest = rest.trim_start_matches("//");
    match scheme {
        "unix" => UnixStream::connect(rest).is_ok(),
        "unixgram" => PathBuf::from(rest).exists(),
        // A UDP socket cannot be probed by connecting; the kernel's socket table lists it. See proc(5).
        "udp" => {
            let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).expect("host:port");
            let ends_with_port = format!(":{port:04X}");
            ["/proc/net/udp", "/proc/net/udp6"].iter().any(|table| {
                let table = fs::read_to_string(table).unwrap_or_default();
                table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|at| at.ends_with(&ends_with_port))
            })
        }
        _ => TcpStream::connect(rest).is_ok(),
    }
}
