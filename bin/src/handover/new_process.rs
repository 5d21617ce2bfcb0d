//! The next process: started with the sockets of this one, and trusted with them when it says that it is ready.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use switchboard::server::Inherited;
use switchboard::transport::Systemd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{FIRST, Item, Listener, READY, STREAM, SocketList, YOURS};

/// How long the next process has to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of this process, as it can be started again: another one may be there by then.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// How this process was started. Asked at the start, since the directory may change and the file be replaced.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut words = env::args_os();
        let name = PathBuf::from(words.next().unwrap_or_default());
        let is_file = |path: &PathBuf| path.is_file();
        // By the name that was used, so that a link which leads elsewhere by then is followed.
        let found = if name.components().count() > 1 {
            Some(std::path::absolute(&name)?).filter(is_file)
        } else {
            let directories = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&directories).map(|directory| directory.join(&name)).find(is_file)
        };
        let path = found.map_or_else(env::current_exe, Ok)?;
        Ok(Self { path, args: words.collect() })
    }
}

/// A process that waits for the word that the sockets are its own. It does not outlive an upgrade that is given up.
pub(crate) struct NewProcess {
    child: Child,
    id: u32,
    stream: BufReader<UnixStream>,
    is_trusted: bool,
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.is_trusted {
            let _ = self.child.start_kill(); // it may have ended
        }
    }
}

/// Starts the program with these sockets and waits until it is ready. Whatever goes wrong is told as a sentence, and then no next
/// process is left.
pub(crate) async fn upgrade(
    program: &Program,
    systemd: &Systemd,
    listeners: Vec<Inherited>,
    admin: Vec<Inherited>,
) -> Result<NewProcess, String> {
    let mut inventory = SocketList(Vec::new());
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let mut add = |item: Item, socket: OwnedFd| {
        inventory.0.push(item);
        sockets.push(socket);
    };
    for (name, socket) in systemd.sockets() {
        let again = socket.try_clone().ok_or("no descriptor is left for another handle to a socket")?;
        add(Item::Systemd(name.to_owned()), again.into_fd());
    }
    listeners.into_iter().for_each(|one| add(Item::Listener(Listener::of(&one)), one.socket.into_fd()));
    admin.into_iter().for_each(|one| add(Item::Admin(Listener::of(&one)), one.socket.into_fd()));
    let path = program.path.display();
    let (child, stream) = start(program, sockets).map_err(|error| format!("{path} cannot be started: {error}"))?;
    let id = child.id().ok_or("it ended at once")?;
    let mut next = NewProcess { child, id, stream: BufReader::new(stream), is_trusted: false };
    let ended = match timeout(PATIENCE, next.becomes_ready(&inventory)).await {
        Ok(Ok(())) => return Ok(next),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
        // It has closed its end, so it ends, or it is of no use.
        Ok(Err(_)) => match timeout(Duration::from_secs(1), next.child.wait()).await {
            Ok(Ok(status)) => format!("it ended with {}", in_words(status)),
            _ => "it does not answer as a server of this kind does".to_owned(),
        },
        Err(_) => format!("it was not ready within {} seconds", PATIENCE.as_secs()),
    };
    Err(format!("{path}: {ended}; what it said is on standard error"))
}

fn start(program: &Program, sockets: Vec<OwnedFd>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let passed: Vec<OwnedFd> = std::iter::once(theirs.into()).chain(sockets).collect();
    let mut command = Command::new(&program.path);
    command.args(&program.args).env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", STREAM);
    // These name the process that they are meant for, and it is not the next one.
    command.env_remove("LISTEN_PID").env_remove("WATCHDOG_PID");
    let mappings = passed.into_iter().zip(FIRST..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

impl NewProcess {
    async fn becomes_ready(&mut self, inventory: &SocketList) -> io::Result<()> {
        let mut said = serde_json::to_vec(inventory)?;
        said.push(b'\n');
        self.stream.get_mut().write_all(&said).await?;
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.trim_end() {
            READY => Ok(()),
            "" => Err(io::ErrorKind::UnexpectedEof.into()),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it says {other:?}"))),
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Tells it that the sockets are its own. From here on it lives by itself.
    pub(crate) async fn trust(mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{YOURS}\n").as_bytes()).await?;
        self.is_trusted = true;
        Ok(())
    }
}

fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_again() {
        let program = Program::of_this_process().unwrap();
        assert!(program.path.is_absolute() && program.path.is_file(), "{program:?}");
    }
}
