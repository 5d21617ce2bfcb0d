//! Measures the CPU time, memory and system calls of a server process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::CpuSet;
use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::server::spawn;

/// User and system time of a process in nanoseconds, also of threads that have ended (clock_getcpuclockid(3)).
///
/// Waits first, so that an idle server completes its work.
pub(crate) fn cpu_time(process: u32) -> io::Result<u64> {
    thread::park_timeout(Duration::from_millis(2));
    let time = clock_getcpuclockid(Pid::from_raw(process as i32))?.now()?;
    Ok(Duration::from(time).as_nanos() as u64)
}

/// Resident anonymous memory of a process in bytes (RssAnon, see proc(5)).
pub(crate) fn memory(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/PID/status has no RssAnon"))
}

/// Counts the system calls of a process with `strace`.
#[derive(Debug)]
pub(crate) struct SyscallCounter {
    child: Child,
    directory: tempfile::TempDir,
}

impl SyscallCounter {
    /// Attaches to a process. strace runs on the core of the load generator.
    pub(crate) fn attach(strace: &Path, process: u32, core: &CpuSet) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(strace);
        command.args(["-c", "-f", "-p", &process.to_string(), "-o"]).arg(directory.path().join("calls"));
        let mut child = spawn(command.stdin(Stdio::null()).stderr(Stdio::piped()), core)?;
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut line)?;
        if !line.contains("attached") {
            child.wait()?;
            return Err(io::Error::other(format!("strace cannot attach: {}", line.trim())));
        }
        Ok(Self { child, directory })
    }

    /// Detaches and returns the number of calls by name.
    pub(crate) fn stop(mut self) -> io::Result<Vec<(String, u64)>> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        self.child.wait()?;
        let table = fs::read_to_string(self.directory.path().join("calls"))?;
        // Columns: % time, seconds, usecs/call, calls, errors (may be empty), name.
        let rows = table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let calls = words.get(3)?.parse().ok()?;
            let name = words.last().filter(|name| **name != "total" && words.len() > 4)?;
            Some(((*name).to_owned(), calls))
        });
        Ok(rows.collect())
    }
}
