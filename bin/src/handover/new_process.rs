//! Starts the new process of an upgrade with the sockets of this one.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use switchboard::server::Inherited;
use switchboard::transport::Systemd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::handover::protocol::{COMMIT, FIRST_DESCRIPTOR, ListenerSocket, PassedSocket, READY, STREAM, SocketList};

/// Timeout for the new process to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
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

/// A new process before the handover is committed. Dropping it kills the process.
pub(crate) struct NewProcess {
    child: Child,
    pub(crate) pid: u32,
    stream: BufReader<UnixStream>,
    is_committed: bool,
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = self.child.start_kill(); // it may have exited
        }
    }
}

/// Starts the executable with these sockets and waits until it is ready. After an error no new process is left.
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
    let (child, stream) = spawn(executable, sockets).map_err(|error| format!("cannot start {path}: {error}"))?;
    let pid = child.id().ok_or("the new process exited immediately")?;
    let mut new_process = NewProcess { child, pid, stream: BufReader::new(stream), is_committed: false };
    let ready = new_process.wait_until_ready(&list).await;
    ready.map_err(|error| format!("{path}: {error}; see its output on standard error"))?;
    Ok(new_process)
}

fn spawn(executable: &Executable, sockets: Vec<OwnedFd>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let passed: Vec<OwnedFd> = std::iter::once(theirs.into()).chain(sockets).collect();
    let mut command = Command::new(&executable.path);
    command.args(&executable.args).env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", STREAM);
    // These contain the process ID of this process, and the new process would ignore the sockets and the watchdog.
    command.env_remove("LISTEN_PID").env_remove("WATCHDOG_PID");
    let descriptors = passed.into_iter().zip(FIRST_DESCRIPTOR..);
    let mappings = descriptors.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

impl NewProcess {
    async fn wait_until_ready(&mut self, list: &SocketList) -> Result<(), String> {
        // The reply is empty if the new process closes the stream.
        let exchange = async {
            self.stream.get_mut().write_all((serde_json::to_string(list)? + "\n").as_bytes()).await?;
            let mut reply = String::new();
            self.stream.read_line(&mut reply).await?;
            io::Result::Ok(reply)
        };
        let reply = timeout(READY_TIMEOUT, exchange).await;
        let reply = reply.map_err(|_| format!("it was not ready within {} seconds", READY_TIMEOUT.as_secs()))?;
        match reply.as_deref().map(str::trim_end) {
            Ok(READY) => Ok(()),
            Ok("") | Err(_) => match timeout(EXIT_TIMEOUT, self.child.wait()).await {
                Ok(Ok(status)) => {
                    let code = status.code().map(|code| format!("exit status {code}"));
                    Err(format!("it ended with {}", code.unwrap_or_else(|| status.to_string())))
                }
                _ => Err("it is not a compatible switchboard binary".to_owned()),
            },
            Ok(other) => Err(format!("it is not a compatible switchboard binary: it replied {other:?}")),
        }
    }

    /// Hands the sockets over. From now on the new process runs independently.
    pub(crate) async fn commit(mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{COMMIT}\n").as_bytes()).await?;
        self.is_committed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
