//! Receives the sockets that were passed to this process at its start.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use nix::libc::{AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM};
use switchboard::Running;
use switchboard::server::Inherited;
use switchboard::transport::Systemd;

use crate::admin::History;
use crate::handover::environment;
use crate::handover::predecessor::Predecessor;
use crate::handover::protocol::{
    COMMIT, FIRST_DESCRIPTOR, MAX_LIST, MAX_REPLY, PassedSocket, READY, STREAM, SocketList,
};

/// Timeout for the list of sockets from the old process.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for the commit of the old process, which waits a few seconds after this process became ready.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

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
        // Before the crate allocates memory for as many descriptors as the variable names.
        let names = environment::passed_names(std::env::var_os, std::process::id())?;
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let Some(socket) = take_socket(&mut passed, index) else {
                let fd = FIRST_DESCRIPTOR as usize + index;
                return Err(format!("descriptor {fd}, passed as {name:?} (LISTEN_FDS), is not a listening socket"));
            };
            sockets.push((name, socket));
        }
        match sockets.first() {
            Some((name, _)) if name == STREAM => Self::from_old(sockets.remove(0).1, sockets),
            _ => Ok(Self { systemd: Systemd::new(sockets), ..Self::default() }),
        }
    }

    fn from_old(stream: OwnedFd, sockets: Vec<(String, OwnedFd)>) -> Result<Self, String> {
        let mut old_process = OldProcess(BufReader::new(UnixStream::from(stream)));
        let passed: SocketList = old_process
            .receive(MAX_LIST, LIST_TIMEOUT)
            .and_then(|line| Ok(serde_json::from_slice(&line)?))
            .map_err(|error| format!("cannot read the list of sockets from the old process: {error}"))?;
        if passed.len() != sockets.len() {
            let (listed, passed) = (passed.len(), sockets.len());
            return Err(format!("the old process lists {listed} sockets, but has passed {passed}"));
        }
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
    /// Receives one line of at most `max` bytes. The timeout applies to the whole line.
    fn receive(&mut self, max: usize, timeout: Duration) -> io::Result<Vec<u8>> {
        let (deadline, mut line) = (Instant::now() + timeout, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.get_ref().set_read_timeout(Some(left))?;
            let read = match self.0.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let (end, count) = match read.iter().position(|byte| *byte == b'\n') {
                Some(at) => (true, at + 1),
                None => (read.is_empty(), read.len()),
            };
            line.extend_from_slice(&read[..count]);
            self.0.consume(count);
            if line.len() > max {
                return Err(io::Error::other(format!("the line is longer than {max} bytes")));
            }
            if end {
                return Ok(line);
            }
        }
    }

    /// Reports that the listeners of this process are bound, and waits until the old process commits the upgrade. After
    /// an error this process must stop: the old process may have received a request to stop.
    pub(crate) fn complete_handover(mut self) -> io::Result<Committed> {
        writeln!(self.0.get_mut(), "{READY}")?;
        let reply = self.receive(MAX_REPLY, COMMIT_TIMEOUT)?;
        if reply.trim_ascii_end() == COMMIT.as_bytes() {
            Ok(Committed(self.0))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The connection to the old process after the commit.
pub(crate) struct Committed(BufReader<UnixStream>);

impl Committed {
    /// Adds the counters of the old process to those of this one until the old process ends, and continues its history.
    pub(crate) fn receive_counters(self, running: Arc<Running>, history: Arc<History>) -> io::Result<Predecessor> {
        let received = self.0.buffer().to_vec();
        Predecessor::new(self.0.into_inner(), received, running, history)
    }
}
