//! Servers as children: started on a core of their own, ready when they answer, ended by their id.

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

use crate::contender::Ready;

/// How long a server has until it answers, or has ended.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where it was started, with its configuration and its log.
    directory: TempDir,
}

impl Server {
    /// Starts it on that core, and waits until it answers.
    pub(crate) fn start(mut command: Command, directory: TempDir, ready: Ready, core: usize) -> io::Result<Self> {
        let log = File::create(directory.path().join("log"))?;
        let out = if matches!(ready, Ready::Says) { Stdio::piped() } else { Stdio::null() };
        command.current_dir(&directory).stdin(Stdio::null()).stdout(out).stderr(log);
        let child = spawn(&mut command, core)?;
        let mut server = Self { child, addresses: Vec::new(), directory };
        let waited = match ready {
            Ready::Says => server.wait_until_it_says_where(),
            Ready::Accepting(addresses) => {
                server.addresses = addresses;
                server.wait_until(|server| server.addresses.iter().all(|address| TcpStream::connect(address).is_ok()))
            }
            Ready::Bound(address) => {
                server.addresses.push(address);
                server.wait_until(|_| is_bound(address.port()))
            }
        };
        waited.map_err(|error| server.told(&error))?;
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits.
    pub(crate) fn drain(&mut self) -> io::Result<ExitStatus> {
        kill(Pid::from_raw(self.id() as i32), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        Err(io::Error::other("it does not end"))
    }

    /// An error, with the last that the server has logged.
    pub(crate) fn told(&self, error: &io::Error) -> io::Error {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let last = log.lines().last().map(|line| format!("; it said: {line}"));
        io::Error::other(format!("{error}{}", last.unwrap_or_default()))
    }

    fn wait_until_it_says_where(&mut self) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().expect("piped")).read_line(&mut line)?;
        let addresses = line.trim().strip_prefix("listening ").unwrap_or_default();
        self.addresses = addresses.split(' ').filter_map(|address| address.parse().ok()).collect();
        if self.addresses.is_empty() { Err(io::Error::other("it does not say where it listens")) } else { Ok(()) }
    }

    fn wait_until(&mut self, holds: impl Fn(&Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("it does not answer"));
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

/// Starts a command on a core, which all its threads inherit.
pub(crate) fn spawn(command: &mut Command, core: usize) -> io::Result<Child> {
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

/// Whether somebody receives datagrams there; nobody can be asked, but the system's table tells.
fn is_bound(port: u16) -> bool {
    let ends_with_port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|at| at.ends_with(&ends_with_port))
}

/// Addresses that are free now, for servers that cannot say which they were given.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    (0..count).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, harness::free_port()))).collect()
}

/// A self-signed certificate for localhost: `cert.pem` and `key.pem` in a directory.
pub(crate) fn certificate(directory: &Path) -> io::Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    fs::write(directory.join("cert.pem"), made.cert.pem())?;
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(directory.to_owned())
}
