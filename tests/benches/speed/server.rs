//! Server processes: starts them on a given core, waits until they are ready, and ends them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::candidate::Ready;

/// Timeout for the start and for the exit of a server.
const TIMEOUT: Duration = Duration::from_secs(40);

/// The cores of the processes, each as a set for sched_setaffinity(2).
#[derive(Debug)]
pub(crate) struct Cores {
    pub(crate) server: CpuSet,
    pub(crate) load: CpuSet,
    /// Every core that this process may use.
    pub(crate) all: CpuSet,
}

/// A running server. `drop` stops it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Working directory, with the configuration and the log.
    directory: TempDir,
}

impl Server {
    /// Starts it on the given cores and waits until it is ready.
    pub(crate) fn start(mut command: Command, directory: TempDir, ready: Ready, cores: &CpuSet) -> io::Result<Self> {
        let log = File::create(directory.path().join("log"))?;
        let out = if matches!(ready, Ready::Prints) { Stdio::piped() } else { Stdio::null() };
        command.current_dir(&directory).stdin(Stdio::null()).stdout(out).stderr(log);
        let child = spawn(&mut command, cores)?;
        let mut server = Self { child, addresses: Vec::new(), directory };
        let waited = match ready {
            Ready::Prints => server.read_addresses(),
            Ready::Accepts(addresses) => {
                server.addresses = addresses;
                server.wait_until(|server| server.addresses.iter().all(|address| TcpStream::connect(address).is_ok()))
            }
            Ready::Bound(address) => {
                server.addresses.push(address);
                server.wait_until(|_| is_bound(address.port()))
            }
        };
        waited.map_err(|error| server.with_log(&error))?;
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits until the server exits.
    pub(crate) fn drain(&mut self) -> io::Result<ExitStatus> {
        kill(Pid::from_raw(self.id() as i32), Signal::SIGTERM)?;
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        Err(io::Error::other("the server does not exit"))
    }

    /// Adds the last line of the log to an error.
    pub(crate) fn with_log(&self, error: &io::Error) -> io::Error {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let last = log.lines().last().map(|line| format!("; last log line: {line}"));
        io::Error::other(format!("{error}{}", last.unwrap_or_default()))
    }

    fn read_addresses(&mut self) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().expect("piped")).read_line(&mut line)?;
        let addresses = line.trim().strip_prefix("listening ").unwrap_or_default();
        self.addresses = addresses.split(' ').filter_map(|address| address.parse().ok()).collect();
        if self.addresses.is_empty() { Err(io::Error::other("the server prints no address")) } else { Ok(()) }
    }

    fn wait_until(&mut self, holds: impl Fn(&Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !holds(self) {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server exited: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the server is not ready in time"));
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An instrumented build writes its profile at exit.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.drain();
        }
        let _ = self.child.kill(); // It may have exited.
        let _ = self.child.wait();
    }
}

/// Starts a command on the given cores. All its threads inherit the CPU affinity.
pub(crate) fn spawn(command: &mut Command, cores: &CpuSet) -> io::Result<Child> {
    // A child inherits the affinity of the thread that starts it (sched_setaffinity(2)).
    let started = thread::scope(|scope| {
        let starter = scope.spawn(|| {
            pin(cores)?;
            command.spawn()
        });
        starter.join().expect("no panic")
    });
    started.map_err(|error| io::Error::new(error.kind(), format!("cannot start {command:?}: {error}")))
}

/// Pins this thread, and its child threads and processes, to the given cores.
pub(crate) fn pin(cores: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), cores)?)
}

/// The first two cores that this process may use: one for the server, one for the load generator.
pub(crate) fn cores() -> io::Result<Cores> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let one = |core| {
        let mut set = CpuSet::new();
        set.set(core).map(|()| set)
    };
    let mut cores = (0..CpuSet::count()).filter(|core| all.is_set(*core).unwrap_or(false));
    match (cores.next(), cores.next()) {
        (Some(server), Some(load)) => Ok(Cores { server: one(server)?, load: one(load)?, all }),
        _ => Err(io::Error::other("this process may use only one core, but server and load generator need one each")),
    }
}

/// Whether a UDP port is bound, according to /proc/net/udp.
fn is_bound(port: u16) -> bool {
    let ends_with_port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|at| at.ends_with(&ends_with_port))
}

/// Currently free addresses, for servers that do not print their address.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    (0..count).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, harness::free_port()))).collect()
}

/// A self-signed certificate for localhost: `cert.pem` and `key.pem` in a directory.
pub(crate) fn certificate(directory: &Path) -> io::Result<PathBuf> {
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    fs::write(directory.join("cert.pem"), generated.cert.pem())?;
    fs::write(directory.join("key.pem"), generated.signing_key.serialize_pem())?;
    Ok(directory.to_owned())
}
