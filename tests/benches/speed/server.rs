//! Servers as children: started on a core of their own, ready when they answer, ended by their id.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// How long a server has until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of the servers that are compared.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) sort: Sort,
}

/// How a contender is started.
#[derive(Debug, Clone)]
pub(crate) enum Sort {
    /// A switchboard binary.
    Switchboard(PathBuf),
    /// This very program.
    Baseline,
}

/// What a server is to serve.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// raw, lines, length, hello or churn
    pub(crate) protocol: &'static str,
    pub(crate) buffer: usize,
    pub(crate) listeners: usize,
}

/// A server that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The working directory of the server, with its configuration.
    _directory: tempfile::TempDir,
}

impl Contender {
    /// Starts it on that core, and waits until it answers.
    pub(crate) fn start(&self, service: &Service, core: usize) -> io::Result<Server> {
        match &self.sort {
            // It can say which port it was given, but not at the level at which it is measured; a port may be lost to others.
            Sort::Switchboard(binary) => {
                switchboard(binary, service, core).or_else(|_| switchboard(binary, service, core))
            }
            Sort::Baseline => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["serve", &self.name, service.protocol]);
                command.args(["--buffer", &service.buffer.to_string()]);
                command.args(["--listeners", &service.listeners.to_string()]);
                telling(command, core)
            }
        }
    }
}

/// A server that says `listening ADDRESS…` first.
fn telling(mut command: Command, core: usize) -> io::Result<Server> {
    let directory = tempfile::tempdir()?;
    let child = spawn(command.stdout(Stdio::piped()).current_dir(&directory), core)?;
    let mut server = Server { child, addresses: Vec::new(), _directory: directory };
    let mut line = String::new();
    BufReader::new(server.child.stdout.take().expect("piped")).read_line(&mut line)?;
    let addresses = line.trim().strip_prefix("listening ").unwrap_or_default();
    server.addresses.extend(addresses.split(' ').filter_map(|address| address.parse::<SocketAddr>().ok()));
    if server.addresses.is_empty() {
        return Err(io::Error::other(format!("{command:?} does not say where it listens")));
    }
    Ok(server)
}

/// The real binary with its defaults, but for what the service is.
fn switchboard(binary: &Path, service: &Service, core: usize) -> io::Result<Server> {
    let directory = tempfile::tempdir()?;
    let addresses: Vec<_> =
        (0..service.listeners).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, harness::free_port()))).collect();
    let (handler, framing) = match service.protocol {
        "hello" | "churn" => ("hello", "raw"),
        framing => ("echo", framing),
    };
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os() {
        if name == "RUST_LOG" || name.to_string_lossy().starts_with("SWITCHBOARD") {
            command.env_remove(name);
        }
    }
    command.args(["--log-level", "warn"]);
    if let [address] = &addresses[..] {
        command.args(["--listen", &format!("tcp://{address}"), "--handler", handler, "--framing", framing]);
    } else {
        let mut text = String::new();
        for (nth, address) in addresses.iter().enumerate() {
            let options = format!("listen = \"tcp://{address}\"\nhandler = \"{handler}\"\nframing = \"{framing}\"\n");
            text += &format!("[listeners.l{nth}]\n{options}");
        }
        fs::write(directory.path().join("switchboard.toml"), text)?;
    }
    let child = spawn(command.stdout(Stdio::null()).current_dir(&directory), core)?;
    let mut server = Server { child, addresses, _directory: directory };
    server.wait_until_it_answers()?;
    Ok(server)
}

/// Starts a command on a core, which all its threads inherit.
fn spawn(command: &mut Command, core: usize) -> io::Result<Child> {
    command.stdin(Stdio::null());
    // A child begins where the thread that starts it is allowed to run.
    let started = thread::scope(|scope| {
        let starter = scope.spawn(|| {
            pin(core)?;
            command.spawn()
        });
        starter.join().expect("no panic")
    });
    started.map_err(|error| io::Error::new(error.kind(), format!("{command:?} does not start: {error}")))
}

/// Keeps this thread, and whatever it starts, on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The first two cores that this process may use: for the server, and for the load.
pub(crate) fn cores() -> io::Result<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    match (cores.next(), cores.next()) {
        (Some(server), Some(load)) => Ok((server, load)),
        _ => Err(io::Error::other("server and load need a core each, and this process may use only one")),
    }
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the server does not answer"));
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
