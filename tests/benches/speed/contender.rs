//! Who is compared: switchboard binaries, the baselines of this program, and the peers.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use tempfile::TempDir;

use crate::server::{Server, free_addresses};

/// One of the servers that are compared.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) sort: Sort,
}

/// How a contender is started.
#[derive(Debug, Clone)]
pub(crate) enum Sort {
    /// A switchboard binary.
    Switchboard(PathBuf),
    /// This very program.
    Baseline,
    /// The program of the peers.
    Peer(PathBuf),
}

/// What a server is to serve.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// raw, lines, length, hello, udp or tls
    pub(crate) protocol: &'static str,
    /// Bytes of a read buffer, of the baselines.
    pub(crate) buffer: usize,
    pub(crate) listeners: usize,
    /// How many networks are turned away.
    pub(crate) deny: usize,
    /// What is logged.
    pub(crate) level: &'static str,
}

/// How a server tells that it is ready.
#[derive(Debug)]
pub(crate) enum Ready {
    /// By a first line of `listening ADDRESS…`.
    Says,
    /// It accepts connections there.
    Accepting(Vec<SocketAddr>),
    /// It receives datagrams there.
    Bound(SocketAddr),
}

impl Contender {
    /// Starts it on that core, and waits until it answers.
    pub(crate) fn start(&self, service: &Service, certificate: &Path, core: usize) -> io::Result<Server> {
        let directory = tempfile::tempdir()?;
        let mut command = match &self.sort {
            Sort::Switchboard(binary) => {
                // It can say which port it was given, but not at the level at which it is measured: a port may be lost.
                let once = |directory: TempDir| {
                    let addresses = free_addresses(service.listeners);
                    let command = switchboard(binary, service, &addresses, certificate, directory.path())?;
                    let ready = match (service.protocol, &addresses[..]) {
                        ("udp", [address, ..]) => Ready::Bound(*address),
                        _ => Ready::Accepting(addresses),
                    };
                    Server::start(command, directory, ready, core)
                };
                return once(directory).or_else(|_| once(tempfile::tempdir()?));
            }
            Sort::Baseline => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["serve", &self.name, service.protocol]);
                command.args(["--buffer", &service.buffer.to_string()]);
                command.args(["--listeners", &service.listeners.to_string()]);
                command.arg("--certificate").arg(certificate);
                command
            }
            Sort::Peer(binary) => {
                let mut command = Command::new(binary);
                command.args([&*self.name, service.protocol]);
                command
            }
        };
        command.env_remove("RUST_LOG");
        Server::start(command, directory, Ready::Says, core)
    }

    /// The peers that can serve this: all that are built speak streams and datagrams without anything around them.
    pub(crate) fn peers(binary: &Path) -> io::Result<Vec<(Self, String)>> {
        let out = Command::new(binary).arg("--list").output()?;
        let list = String::from_utf8_lossy(&out.stdout).into_owned();
        let peers = list.lines().filter_map(|line| line.split_once(' ')).map(|(name, protocol)| {
            (Self { name: name.to_owned(), sort: Sort::Peer(binary.to_owned()) }, protocol.to_owned())
        });
        Ok(peers.collect())
    }
}

/// The real binary with its defaults, but for what the service is.
fn switchboard(
    binary: &Path,
    service: &Service,
    addresses: &[SocketAddr],
    certificate: &Path,
    directory: &Path,
) -> io::Result<Command> {
    let (scheme, handler, framing) = match service.protocol {
        "hello" => ("tcp", "hello", "raw"),
        "udp" => ("udp", "echo", "raw"),
        "tls" => ("tls", "echo", "raw"),
        framing => ("tcp", "echo", framing),
    };
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os() {
        if name == "RUST_LOG" || name.to_string_lossy().starts_with("SWITCHBOARD") {
            command.env_remove(name);
        }
    }
    command.args(["--log-level", service.level]);
    if let [address] = addresses
        && service.deny == 0
    {
        command.args(["--listen", &format!("{scheme}://{address}"), "--handler", handler, "--framing", framing]);
        if service.protocol == "tls" {
            for file in ["certificate=cert.pem", "key=key.pem"] {
                let (key, name) = file.split_once('=').expect("written above");
                let path = certificate.join(name);
                command.args(["--set", &format!("listeners.main.tls.{key}={}", path.display())]);
            }
        }
        return Ok(command);
    }
    let deny: Vec<String> = (0..service.deny).map(|nth| format!("\"10.{}.{}.0/24\"", nth / 200, nth % 200)).collect();
    let mut text = String::new();
    for (nth, address) in addresses.iter().enumerate() {
        let _ = writeln!(text, "[listeners.l{nth}]\nlisten = \"{scheme}://{address}\"");
        let _ = writeln!(text, "handler = \"{handler}\"\nframing = \"{framing}\"");
        let _ = writeln!(text, "[listeners.l{nth}.access]\ndeny = [{}]", deny.join(", "));
    }
    fs::write(directory.join("switchboard.toml"), text)?;
    Ok(command)
}
