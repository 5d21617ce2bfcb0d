//! What this process was passed when it was started.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use listenfd::ListenFd;
use nix::libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM};
use switchboard::server::Inherited;
use switchboard::transport::SharedSocket;
use switchboard::transport::Systemd;

use super::{FIRST, Item, READY, STREAM, SocketList, YOURS};

/// How long the process before this one has for each word.
const WORD: Duration = Duration::from_secs(10);

/// The sockets that are open already.
#[derive(Default)]
pub(crate) struct InheritedSockets {
    /// From the service manager, by name.
    pub(crate) systemd: Systemd,
    /// Those of the listeners of the process before this one.
    pub(crate) listeners: Vec<Inherited>,
    /// Those of its endpoint for operators.
    pub(crate) admin: Vec<Inherited>,
    /// The process before this one, if it is an upgrade.
    pub(crate) old_process: Option<OldProcess>,
}

impl InheritedSockets {
    /// Takes them, as the environment says (`LISTEN_FDS` and `LISTEN_FDNAMES`, sd_listen_fds(3)). Only the first call gets them,
    /// and it must come before there are other threads, since it changes the environment.
    pub(crate) fn take() -> Result<Self, String> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..passed.len() {
            let name = names.split(':').nth(place).filter(|name| !name.is_empty()).unwrap_or("unknown");
            match socket(&mut passed, place) {
                Some(fd) => sockets.push((name.to_owned(), fd)),
                None => {
                    let fd = FIRST as usize + place;
                    return Err(format!(
                        "descriptor {fd}, which was passed as {name:?} (LISTEN_FDS), is no socket to listen on"
                    ));
                }
            }
        }
        if sockets.first().is_some_and(|(name, _)| name == STREAM) {
            let mut sockets = sockets.into_iter().map(|(_, fd)| fd);
            return sockets.next().map_or_else(|| Ok(Self::default()), |stream| Self::inherit(stream, sockets));
        }
        Ok(Self { systemd: Systemd::new(sockets), ..Self::default() })
    }

    fn inherit(stream: OwnedFd, sockets: impl Iterator<Item = OwnedFd>) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the process before this one does not say what it passes: {error}");
        let mut old_process = OldProcess(BufReader::new(UnixStream::from(stream)));
        let SocketList(items) = old_process.inventory().map_err(failed)?;
        let mut passed = Self::default();
        let mut systemd = Vec::new();
        for (item, fd) in items.into_iter().zip(sockets) {
            match item {
                Item::Systemd(name) => systemd.push((name, fd)),
                Item::Listener(listener) => passed.listeners.extend(listener.inherited(SharedSocket::new(fd))),
                Item::Admin(listener) => passed.admin.extend(listener.inherited(SharedSocket::new(fd))),
            }
        }
        Ok(Self { systemd: Systemd::new(systemd), old_process: Some(old_process), ..passed })
    }
}

/// Whatever kind of socket it is.
fn socket(passed: &mut ListenFd, place: usize) -> Option<OwnedFd> {
    let kinds = [AF_INET, AF_UNIX].into_iter().flat_map(|family| [SOCK_STREAM, SOCK_DGRAM].map(|kind| (family, kind)));
    kinds.into_iter().find_map(|(family, kind)| passed.take_custom(place, family, kind, "socket").ok().flatten())
}

/// The process before this one, which drains as soon as this one is ready.
pub(crate) struct OldProcess(BufReader<UnixStream>);

impl OldProcess {
    fn inventory(&mut self) -> io::Result<SocketList> {
        self.0.get_ref().set_read_timeout(Some(WORD))?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Says that this process accepts. An error: the one before has gone, and what it was asked to stop must not go on.
    pub(crate) fn take_over(mut self) -> io::Result<()> {
        writeln!(self.0.get_mut(), "{READY}")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        if line.trim_end() == YOURS { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
