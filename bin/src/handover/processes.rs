//! Ends the processes of an upgrade that failed.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};

/// A process can fork while the list of processes is read, so it is read several times.
const PASSES: usize = 3;

/// Kills a process group, and every other process that holds the socket with this inode: a child of the new process can
/// move to another process group, and would keep the listening sockets open.
pub(super) fn kill_group(group: Pid, socket: u64) {
    let _ = killpg(group, Signal::SIGKILL); // the group may be empty
    let link = format!("socket:[{socket}]");
    for _ in 0..PASSES {
        for pid in holders(Path::new(&link)) {
            let _ = kill(pid, Signal::SIGKILL); // it may have exited
        }
    }
}

/// The other processes with a descriptor that links to `link`, see proc_pid_fd(5).
fn holders(link: &Path) -> impl Iterator<Item = Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(move |process| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?);
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let is_holder = descriptors.any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == link));
        (is_holder && pid != getpid()).then_some(pid)
    })
}
