//! What the system says of a server: the time that it took.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

/// User and system time of all threads of a process, in nanoseconds.
///
/// From the scheduler, which counts precisely, and not in ticks. What a thread has used of the core that it is on is known
/// when it sleeps, which a server without work does after a moment.
pub(crate) fn cpu_time(process: u32) -> io::Result<u64> {
    thread::park_timeout(Duration::from_millis(2));
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let time = text.split(' ').next().and_then(|time| time.parse::<u64>().ok());
        sum += time.ok_or_else(|| io::Error::other("the system keeps no schedstat"))?;
    }
    Ok(sum)
}
