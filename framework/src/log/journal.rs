//! Standard error that the systemd journal reads: each line begins with its priority, as sd-daemon(3) describes.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::LazyLock;

use nix::sys::stat::fstat;
use tracing::Level;

/// The priorities of syslog(3) for the levels error, warn, info, and debug and trace.
pub(super) const PRIORITIES: [&str; 4] = ["<3>", "<4>", "<6>", "<7>"];

/// What a line of this level on standard error begins with: `<3>` if the systemd journal reads standard error,
/// otherwise nothing.
///
/// The journal removes the prefix and stores it as `PRIORITY`, so that `journalctl --priority=warning` works.
pub fn journal_prefix(level: Level) -> &'static str {
    static IS_JOURNAL: LazyLock<bool> =
        LazyLock::new(|| is_journal(io::stderr().as_fd(), env::var_os("JOURNAL_STREAM").as_deref()));
    if *IS_JOURNAL { prefix(level) } else { "" }
}

/// The prefix of a line.
fn prefix(level: Level) -> &'static str {
    let [error, warning, info, debug] = PRIORITIES;
    match level {
        Level::ERROR => error,
        Level::WARN => warning,
        Level::INFO => info,
        _ => debug,
    }
}

/// Whether `JOURNAL_STREAM` has the device and inode number of this descriptor (systemd.exec(5)). The variable alone is
/// not enough: a program inherits it when its output is redirected to a file.
fn is_journal(descriptor: BorrowedFd<'_>, variable: Option<&OsStr>) -> bool {
    let numbers = variable.and_then(OsStr::to_str).and_then(|text| text.split_once(':'));
    let numbers = numbers.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    numbers.is_some_and(|numbers| fstat(descriptor).is_ok_and(|found| (found.st_dev, found.st_ino) == numbers))
}

#[cfg(test)]
mod tests;
