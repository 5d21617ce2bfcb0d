//! Starts the new process of an upgrade with the sockets of this one.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::unistd::Pid;
use switchboard::deadline_timer::timeout;
use switchboard::metrics::Counts;
use switchboard::server::Inherited;
use switchboard::transport::Systemd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::handover::processes;
use crate::handover::protocol::{
    COMMIT, FIRST_DESCRIPTOR, ListenerSocket, MAX_REPLY, PassedSocket, READY, STREAM, SocketList,
};
use crate::handover::successor::Successor;

/// Timeout for the new process to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a ready new process must keep running before the handover is committed.
const TRIAL: Duration = Duration::from_secs(5);
/// How long it must keep running after the commit before this process stops accepting.
const TRIAL_AFTER_COMMIT: Duration = Duration::from_secs(1);
/// Timeout for the exit status of a new process that closed its stream.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The path and arguments that start this program again. Another version may be at the path by then.
#[derive(Debug)]
pub(crate) struct Executable {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Executable {
    /// Must be called at the start, because the working directory and the file may change later.
    pub(crate) fn current() -> io::Result<Self> {
        let mut args = env::args_os();
        let name = PathBuf::from(args.next().unwrap_or_default());
        let is_file = |path: &PathBuf| path.is_file();
        // Keep the path as it was given, so that a symbolic link is resolved again at the upgrade.
        let found = if name.components().count() > 1 {
            Some(std::path::absolute(&name)?).filter(is_file)
        } else {
            let directories = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&directories).map(|directory| directory.join(&name)).find(is_file)
        };
        Ok(Self { path: found.map_or_else(env::current_exe, Ok)?, args: args.collect() })
    }
}

/// A new process before the handover is committed. Dropping it kills the process and its children.
pub(crate) struct NewProcess {
    child: Child,
    pub(crate) pid: u32,
    /// `None` after the commit.
    stream: Option<BufReader<UnixStream>>,
    /// The inode of the other end of the stream. Every process of the upgrade inherits it.
    their_stream: u64,
    is_committed: bool,
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = self.child.start_kill(); // it may have exited
            processes::kill_group(Pid::from_raw(self.pid.cast_signed()), self.their_stream);
        }
    }
}

/// Starts the executable with these sockets, and waits until it is ready and has run for a few seconds. After an error
/// no new process is left.
pub(crate) async fn start_new_process(
    executable: &Executable,
    systemd: &Systemd,
    listeners: Vec<Inherited>,
    admin: Vec<Inherited>,
) -> Result<NewProcess, String> {
    let (mut list, mut sockets) = (SocketList::new(), Vec::new());
    let mut add = |passed: PassedSocket, socket: OwnedFd| {
        list.push(passed);
        sockets.push(socket);
    };
    for (name, socket) in systemd.sockets() {
        let clone = socket.try_clone().ok_or("cannot duplicate a socket: out of file descriptors")?;
        add(PassedSocket::Systemd(name.to_owned()), clone.into_fd());
    }
    for inherited in listeners {
        add(PassedSocket::Listener(ListenerSocket::new(&inherited)), inherited.socket.into_fd());
    }
    for inherited in admin {
        add(PassedSocket::Admin(ListenerSocket::new(&inherited)), inherited.socket.into_fd());
    }
    let path = executable.path.display();
    let mut new_process = spawn(executable, sockets).map_err(|error| format!("cannot start {path}: {error}"))?;
    let started = match new_process.wait_until_ready(&list).await {
        Ok(()) => new_process.keeps_running(TRIAL).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(()) => Ok(new_process),
        Err(error) => {
            new_process.end().await;
            Err(format!("{path}: {error}; see its output on standard error"))
        }
    }
}

fn spawn(executable: &Executable, sockets: Vec<OwnedFd>) -> io::Result<NewProcess> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    let their_stream = File::from(theirs.try_clone()?).metadata()?.ino();
    let passed: Vec<OwnedFd> = std::iter::once(theirs).chain(sockets).collect();
    let mut command = Command::new(&executable.path);
    command.args(&executable.args).env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", STREAM);
    // These contain the process ID of this process, and the new process would ignore the sockets and the watchdog.
    command.env_remove("LISTEN_PID").env_remove("WATCHDOG_PID");
    // A separate process group, so that a failed upgrade can end its children.
    command.process_group(0);
    let descriptors = passed.into_iter().zip(FIRST_DESCRIPTOR..);
    let mappings = descriptors.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    let child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("it exited immediately"))?;
    let stream = Some(BufReader::new(UnixStream::from_std(ours)?));
    Ok(NewProcess { child, pid, stream, their_stream, is_committed: false })
}

impl NewProcess {
    async fn wait_until_ready(&mut self, list: &SocketList) -> Result<(), String> {
        let Self { child, stream: Some(stream), .. } = self else { return Ok(()) };
        // The reply is empty if the new process closes the stream.
        let exchange = async {
            stream.get_mut().write_all((serde_json::to_string(list)? + "\n").as_bytes()).await?;
            let mut reply = Vec::new();
            stream.take(MAX_REPLY as u64).read_until(b'\n', &mut reply).await?;
            io::Result::Ok(String::from_utf8_lossy(&reply).trim_end().to_owned())
        };
        // A child of the new process can keep the stream open after the new process has exited.
        let reply = tokio::select! {
            biased;
            reply = timeout(READY_TIMEOUT, exchange) => reply,
            status = child.wait() => return Err(ended(status)),
        };
        let reply = reply.map_err(|_| format!("it was not ready within {} seconds", READY_TIMEOUT.as_secs()))?;
        match reply.as_deref() {
            Ok(READY) => Ok(()),
            Ok("") | Err(_) => match timeout(EXIT_TIMEOUT, self.child.wait()).await {
                Ok(status) => Err(ended(status)),
                Err(_) => Err("it is not a compatible switchboard binary".to_owned()),
            },
            Ok(other) => Err(format!("it is not a compatible switchboard binary: it replied {other:?}")),
        }
    }

    /// Fails if the new process exits within this time.
    async fn keeps_running(&mut self, time: Duration) -> Result<(), String> {
        match timeout(time, self.child.wait()).await {
            Ok(status) => Err(format!("it became ready, and within seconds {}", ended(status))),
            Err(_) => Ok(()),
        }
    }

    /// Hands the sockets over: the new process accepts connections from now on, and continues these counts. After an
    /// error it has ended.
    pub(crate) async fn commit(mut self, counts: Vec<Counts>) -> Result<Successor, String> {
        let stream = self.stream.take().map(BufReader::into_inner);
        let committed = match stream {
            Some(mut stream) => stream.write_all(format!("{COMMIT}\n").as_bytes()).await.ok().map(|()| stream),
            None => None,
        };
        // A stop signal for this process does not stop the new one from now on.
        self.is_committed = true;
        let result = match committed {
            Some(stream) => {
                let successor = Successor::new(stream, counts).await;
                self.keeps_running(TRIAL_AFTER_COMMIT).await.map(|()| successor)
            }
            None => Err("it became ready, and then closed its stream to this process".to_owned()),
        };
        if result.is_err() {
            self.is_committed = false;
            self.end().await;
        }
        result
    }

    /// Kills the process and its children, on a thread that may block.
    async fn end(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

fn ended(status: io::Result<ExitStatus>) -> String {
    match status.map(|status| (status, status.code())) {
        Ok((_, Some(code))) => format!("it ended with exit status {code}"),
        Ok((status, None)) => format!("it ended with {status}"),
        Err(error) => format!("it cannot be watched: {error}"),
    }
}

#[cfg(test)]
mod tests;
