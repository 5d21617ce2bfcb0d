//! What this process inherits from the one that started it: corrects it, or reports what cannot be corrected.

use std::env;
use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::libc::SIGXFSZ;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use crate::descriptors;

/// The first descriptor that is not a standard stream.
const FIRST_DESCRIPTOR: i32 = 3;
/// File mode creation mask instead of one that lets others write.
const DEFAULT_UMASK: Mode = Mode::from_bits_truncate(0o022);
/// Threads besides the workers: the log, its reports, its flush, and calls that block.
const OTHER_THREADS: usize = 5;
/// File descriptors that the runtime needs before the first listener.
const RUNTIME_FILES: usize = 16;

/// An inherited attribute that an operator should know of.
#[derive(Debug)]
pub(crate) struct Finding {
    attribute: &'static str,
    found: String,
    effect: &'static str,
}

/// Corrects the inherited attributes. Must be called before any thread is started, because threads inherit the signal
/// mask.
pub(crate) fn correct_inherited() -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |attribute, found, effect| findings.push(Finding { attribute, found, effect });
    let blocked = SigSet::thread_get_mask().map(|mask| mask.iter().map(|signal| signal.as_str()).collect::<Vec<_>>());
    if let Ok(blocked) = blocked
        && !blocked.is_empty()
        && SigSet::all().thread_unblock().is_ok()
    {
        add("blocked signals", blocked.join(","), "they are unblocked");
    }
    // The new program of an upgrade, and programs that a handler starts, must not inherit them.
    close_fds::set_fds_cloexec(FIRST_DESCRIPTOR, &[]);
    let inherited = umask(DEFAULT_UMASK);
    let corrected = corrected_umask(inherited);
    umask(corrected);
    if corrected != inherited {
        let effect = "it is corrected, so that files are readable for the server and not writable for others";
        add("umask", format!("{:04o}", inherited.bits()), effect);
    }
    if let Err(error) = env::current_dir() {
        let effect = "relative paths cannot be used; start the server in a directory that exists";
        add("working directory", error.to_string(), effect);
    }
    let _ = descriptors::raise_limit(); // an error is reported when the listeners are known
    for (resource, attribute, effect) in [
        (Resource::RLIMIT_CPU, "limit of CPU seconds (RLIMIT_CPU)", "the kernel ends the server when it is reached"),
        (Resource::RLIMIT_FSIZE, "limit of file sizes (RLIMIT_FSIZE)", "lines of a log file are lost above it"),
    ] {
        if let Ok((soft, _)) = getrlimit(resource)
            && soft != RLIM_INFINITY
        {
            add(attribute, soft.to_string(), effect);
        }
    }
    findings
}

/// The owner can use new files, and others cannot write them.
fn corrected_umask(inherited: Mode) -> Mode {
    let usable = inherited - Mode::S_IRWXU;
    if usable.contains(Mode::S_IWOTH) { usable } else { usable | DEFAULT_UMASK }
}

/// Installs handlers for signals whose inherited or default action would harm the server. Must be called inside a tokio
/// runtime.
pub(crate) fn install_signal_handlers() -> io::Result<()> {
    // If SIGCHLD is ignored, the exit status of a child is lost, see waitpid(2).
    let _ = signal(SignalKind::child())?;
    // By default it ends a process whose log file reaches RLIMIT_FSIZE, see setrlimit(2).
    let _ = signal(SignalKind::from_raw(SIGXFSZ))?;
    Ok(())
}

/// Fails if the limits of this process do not allow the threads and descriptors that the runtime needs. The runtime
/// itself would panic.
pub(crate) fn check_resources(workers: usize) -> Result<(), String> {
    let (gate, threads) = (Mutex::new(()), workers + OTHER_THREADS);
    let wait = || drop(gate.lock());
    let started = thread::scope(|scope| {
        let _closed = gate.lock();
        (0..threads).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, wait).map(drop))
    });
    started.map_err(|error| {
        format!(
            "cannot start {threads} threads: {error}; raise the limits of threads and memory (ulimit -u, ulimit -v, \
             TasksMax=), or lower runtime.workers"
        )
    })?;
    let stderr = io::stderr();
    let files: io::Result<Vec<_>> = (0..RUNTIME_FILES).map(|_| stderr.as_fd().try_clone_to_owned()).collect();
    files.map(drop).map_err(|error| {
        format!("cannot open {RUNTIME_FILES} file descriptors: {error}; raise the limit (ulimit -n, LimitNOFILE=)")
    })
}

impl Finding {
    pub(crate) fn log(&self) {
        let Self { attribute, found, effect } = self;
        tracing::warn!(target: "switchboard", attribute, found, effect, "unusual process attribute");
    }
}

#[cfg(test)]
mod tests;
