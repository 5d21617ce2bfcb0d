//! Receives the sockets that were passed to this process at its start.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use listenfd::ListenFd;
use nix::libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM};
use switchboard::server::Inherited;
use switchboard::transport::Systemd;

use crate::handover::protocol::{COMMIT, FIRST_DESCRIPTOR, PassedSocket, READY, STREAM, SocketList};

/// Timeout for each message of the old process.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets that were open when this process started.
#[derive(Default)]
pub(crate) struct InheritedSockets {
    pub(crate) systemd: Systemd,
    pub(crate) listeners: Vec<Inherited>,
    pub(crate) admin: Vec<Inherited>,
    pub(crate) old_process: Option<OldProcess>,
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` and `LISTEN_FDNAMES` describe, see sd_listen_fds(3). Call it once and before
    /// any thread is started, because it changes the environment.
    pub(crate) fn take() -> Result<Self, String> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.split(':').nth(index).filter(|name| !name.is_empty()).unwrap_or("unknown");
            let Some(socket) = take_socket(&mut passed, index) else {
                let fd = FIRST_DESCRIPTOR as usize + index;
                return Err(format!("descriptor {fd}, passed as {name:?} (LISTEN_FDS), is not a listening socket"));
            };
            sockets.push((name.to_owned(), socket));
        }
        match sockets.first() {
            Some((name, _)) if name == STREAM => Self::from_old(sockets.remove(0).1, sockets),
            _ => Ok(Self { systemd: Systemd::new(sockets), ..Self::default() }),
        }
    }

    fn from_old(stream: OwnedFd, sockets: Vec<(String, OwnedFd)>) -> Result<Self, String> {
        let mut old_process = OldProcess(BufReader::new(UnixStream::from(stream)));
        let passed: SocketList = old_process
            .receive()
            .and_then(|line| Ok(serde_json::from_str(&line)?))
            .map_err(|error| format!("cannot read the list of sockets from the old process: {error}"))?;
        let (mut inherited, mut systemd) = (Self::default(), Vec::new());
        for (socket, (_, fd)) in passed.into_iter().zip(sockets) {
            match socket {
                PassedSocket::Systemd(name) => systemd.push((name, fd)),
                PassedSocket::Listener(socket) => inherited.listeners.extend(socket.inherited(fd)),
                PassedSocket::Admin(socket) => inherited.admin.extend(socket.inherited(fd)),
            }
        }
        Ok(Self { systemd: Systemd::new(systemd), old_process: Some(old_process), ..inherited })
    }
}

fn take_socket(passed: &mut ListenFd, index: usize) -> Option<OwnedFd> {
    let types = [AF_INET, AF_UNIX].into_iter().flat_map(|family| [SOCK_STREAM, SOCK_DGRAM].map(|kind| (family, kind)));
    types.into_iter().find_map(|(family, kind)| passed.take_custom(index, family, kind, "socket").ok().flatten())
}

/// The connection to the old process, which drains after the handover.
pub(crate) struct OldProcess(BufReader<UnixStream>);

impl OldProcess {
    fn receive(&mut self) -> io::Result<String> {
        self.0.get_ref().set_read_timeout(Some(MESSAGE_TIMEOUT))?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }

    /// Reports that this process accepts connections, and waits until the old process commits the upgrade. After an
    /// error this process must stop: the old process may have received a request to stop.
    pub(crate) fn complete_handover(mut self) -> io::Result<()> {
        writeln!(self.0.get_mut(), "{READY}")?;
        if self.receive()?.trim_end() == COMMIT { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
