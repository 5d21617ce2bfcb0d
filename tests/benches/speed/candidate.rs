//! The servers to compare: switchboard binaries, the baselines of this program, and other frameworks (peers).

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use nix::sched::CpuSet;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, free_addresses};

/// A server to compare.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// How a candidate is started.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A switchboard binary.
    Switchboard(PathBuf),
    /// A switchboard binary, without the recorder of the service.
    Unrecorded(PathBuf),
    /// This program.
    Baseline,
    /// The program with the other frameworks.
    Peer(PathBuf),
    /// A build of the example `kv`, by default that of this program's profile.
    KeyValue(Option<PathBuf>),
    Redis,
}

/// The service that a server provides.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// raw, lines, length, hello, udp, tls or redis
    pub(crate) protocol: &'static str,
    /// Size of the read buffer of the baselines, in bytes.
    pub(crate) buffer: usize,
    pub(crate) listeners: usize,
    /// Number of denied networks.
    pub(crate) deny: usize,
    /// Number of banned clients.
    pub(crate) bans: usize,
    /// Whether connections are recorded.
    pub(crate) recorder: bool,
    /// Log level.
    pub(crate) level: &'static str,
    /// Worker threads. A server with more than one is not pinned to one core.
    pub(crate) workers: usize,
}

/// How to detect that a server is ready.
#[derive(Debug)]
pub(crate) enum Ready {
    /// It prints `listening ADDRESS…` as its first line.
    Prints,
    /// It accepts connections at these addresses.
    Accepts(Vec<SocketAddr>),
    /// It has bound this UDP address.
    Bound(SocketAddr),
}

impl Candidate {
    /// Starts it on the given cores and waits until it is ready.
    pub(crate) fn start(&self, service: &Service, certificate: &Path, cores: &CpuSet) -> io::Result<Server> {
        let directory = tempfile::tempdir()?;
        let mut command = match &self.kind {
            Kind::Unrecorded(binary) => {
                let plain = Self { name: self.name.clone(), kind: Kind::Switchboard(binary.clone()) };
                return plain.start(&Service { recorder: false, ..service.clone() }, certificate, cores);
            }
            Kind::Switchboard(binary) => {
                // The server does not log its port at the measured level, so the port is chosen here. Another process
                // may take it first; then a second attempt follows.
                let once = |directory: TempDir| {
                    let addresses = free_addresses(service.listeners);
                    let command = switchboard(binary, service, &addresses, certificate, directory.path())?;
                    let ready = match (service.protocol, &addresses[..]) {
                        ("udp", [address, ..]) => Ready::Bound(*address),
                        _ => Ready::Accepts(addresses),
                    };
                    Server::start(command, directory, ready, cores)
                };
                return once(directory).or_else(|_| once(tempfile::tempdir()?));
            }
            Kind::Baseline => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["serve", &self.name, service.protocol]);
                command.args(["--buffer", &service.buffer.to_string()]);
                command.args(["--listeners", &service.listeners.to_string()]);
                command.args(["--workers", &service.workers.to_string()]);
                command.arg("--certificate").arg(certificate);
                command
            }
            Kind::Peer(binary) => {
                let mut command = Command::new(binary);
                command.args([&*self.name, service.protocol]);
                command
            }
            Kind::KeyValue(_) | Kind::Redis => {
                let addresses = free_addresses(1);
                let command = self.key_value(addresses[0]);
                return Server::start(command, directory, Ready::Accepts(addresses), cores);
            }
        };
        command.env_remove("RUST_LOG");
        Server::start(command, directory, Ready::Prints, cores)
    }

    /// The command line of a server with the Redis protocol. The example is built on demand.
    fn key_value(&self, at: SocketAddr) -> Command {
        let mut command;
        if let Kind::KeyValue(binary) = &self.kind {
            command = Command::new(binary.clone().unwrap_or_else(|| {
                let _built = harness::Program::example("kv");
                harness::target().join("examples/kv")
            }));
            command.arg(format!("tcp://{at}")).env_remove("RUST_LOG");
        } else {
            command = Command::new("redis-server");
            let port = at.port().to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        }
        command
    }

    /// The peers and their protocols, as listed by their program.
    pub(crate) fn peers(binary: &Path) -> io::Result<Vec<(Self, String)>> {
        let out = Command::new(binary).arg("--list").output()?;
        let list = String::from_utf8_lossy(&out.stdout).into_owned();
        let peers = list.lines().filter_map(|line| line.split_once(' ')).map(|(name, protocol)| {
            (Self { name: name.to_owned(), kind: Kind::Peer(binary.to_owned()) }, protocol.to_owned())
        });
        Ok(peers.collect())
    }
}

/// The command line of a switchboard binary: its defaults plus the service.
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
    if service.workers > 1 {
        command.args(["--set", &format!("runtime.workers={}", service.workers)]);
    }
    if service.protocol == "udp" {
        // Each load socket is one peer at full speed, above the default rate. An older binary does not know the key.
        let schema = Command::new(binary).arg("schema").output()?.stdout;
        if String::from_utf8_lossy(&schema).contains("replies_per_peer") {
            command.args(["--set", "rate.replies_per_peer=0/s"]);
        }
    }
    if service.recorder {
        command.args(["--set", &format!("recorder.directory={}", directory.display())]);
    }
    if service.bans > 0 {
        let file = directory.join("bans.json");
        fs::write(&file, bans(service.bans))?;
        command.args(["--set", &format!("bans.file={}", file.display())]);
    }
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

/// A file of so many bans, which last for years.
fn bans(count: usize) -> String {
    let ban = |nth: usize| {
        let network = format!("10.{}.{}.{}", nth >> 16, (nth >> 8) & 255, nth & 255);
        json!({ "network": network, "began": 0, "until": 1_u64 << 33, "origin": "operator", "reason": "", "times": 0 })
    };
    json!({ "version": 1, "bans": (0..count).map(ban).collect::<Value>(), "repeats": [] }).to_string()
}
