//! Three instances behind HAProxy, each on its own machine: a network namespace with the address that the shipped
//! `haproxy.cfg` knows. The namespace of the test has HAProxy, the clients and, if a test needs it, Redis. The kernel
//! removes a namespace with its last process.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, binary, root, tool, uninterrupted};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::admin::{Response, ask};
use crate::datagram_faults::{in_own_network, ip};

/// The instances, with their names in `haproxy.cfg`.
pub(crate) const NAMES: [&str; 3] = ["switchboard-1", "switchboard-2", "switchboard-3"];
/// Where HAProxy listens.
const HAPROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9999);
/// The port of the admin endpoint in `compose.toml`.
const ADMIN_PORT: u16 = 9900;
/// The token of the admin endpoint.
const TOKEN: &str = "secret";

/// The words of the first line of the HAProxy configuration that begins with this word.
pub(crate) fn haproxy_line(start: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("bin/packaging/haproxy/haproxy.cfg")).unwrap();
    let line = text.lines().map(str::trim).find(|line| line.starts_with(&format!("{start} ")));
    line.unwrap_or_else(|| panic!("{start}")).split(' ').map(str::to_owned).collect()
}

/// The address of an instance in the configuration of HAProxy.
pub(crate) fn address(name: &str) -> SocketAddr {
    haproxy_line(&format!("server {name}"))[2].parse().unwrap()
}

/// The programs that the machines need.
#[derive(Clone)]
pub(crate) struct Tools {
    haproxy: PathBuf,
    unshare: PathBuf,
}

/// Runs a test on the machine of HAProxy. Skips it with a message if a program or a privilege is missing.
pub(crate) fn on_the_balancer(test: impl FnOnce(Tools) + Send + 'static) {
    let (Some(haproxy), Some(unshare)) = (tool("haproxy"), tool("unshare")) else { return };
    in_own_network(move || {
        ip("address add 10.77.0.2/32 dev lo");
        test(Tools { haproxy, unshare });
    });
}

/// An instance on its own machine. An upgrade replaces its process.
pub(crate) struct Instance {
    /// The first process. All processes of the machine write the same log.
    pub(crate) log: Running,
    at: Ipv4Addr,
    upgraded: NewProcess,
}

impl Instance {
    /// `arguments` are those of `serve`, after the configuration file.
    pub(crate) fn start(name: &str, tools: &Tools, program: &str, arguments: &[&str]) -> Self {
        static INTERFACES: AtomicUsize = AtomicUsize::new(1);
        let SocketAddr::V4(at) = address(name) else { panic!("{name}") };
        let at = *at.ip();
        // The interface appears when the namespace exists.
        let script = format!(
            "until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done\n\
             ip link set lo up && ip link set eth0 up && ip address add {at}/24 dev eth0 && exec \"$0\" \"$@\""
        );
        let program = Program::at(&tools.unshare).args(["--net", "sh", "-c", &script]).arg(binary(program));
        let program = program.args(["serve", "--config"]).arg(root().join("bin/packaging/compose.toml"));
        let log = program.args(arguments).env("SWITCHBOARD_ADMIN__TOKEN", TOKEN).spawn();
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        wait_until("the namespace exists", || namespace(&log.id().to_string()) != namespace("thread-self"));
        // An interface with this name can still belong to a machine that has just ended.
        let interface = format!("machine{}", INTERFACES.fetch_add(1, SeqCst));
        ip(&format!("link add {interface} type veth peer name eth0 netns {}", log.id()));
        ip(&format!("link set {interface} up"));
        ip(&format!("route replace {at}/32 dev {interface} src 10.77.0.2"));
        log.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        Self { log, at, upgraded: NewProcess::default() }
    }

    /// Sends a request to the admin endpoint.
    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Response {
        let io = TcpStream::connect((self.at, ADMIN_PORT)).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        ask(io, method, path, &format!("authorization: Bearer {TOKEN}\r\n"), body)
    }

    pub(crate) fn status(&self) -> Value {
        self.send("GET", "/status", "").json()
    }

    /// The value of a line of the metrics.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let page = self.send("GET", "/metrics", "").body;
        let value = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{line}: {page}"))
    }

    /// Replaces the process by a new one, once.
    pub(crate) fn upgrade(&self) {
        self.log.signal(Signal::SIGUSR2);
        let upgraded = self.log.wait_for_event(|event| event["message"] == "upgraded");
        self.upgraded.0.set(upgraded["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()));
    }
}

/// The process after an upgrade. It is killed on drop.
#[derive(Default)]
struct NewProcess(Cell<Option<i32>>);

impl Drop for NewProcess {
    fn drop(&mut self) {
        if let Some(process) = self.0.get() {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

/// All instances and HAProxy, which knows that they are up.
pub(crate) struct Machines {
    pub(crate) instances: Vec<Instance>,
    pub(crate) haproxy: Running,
}

impl Machines {
    /// `arguments` are those of each instance.
    pub(crate) fn start(tools: &Tools, program: &str, arguments: &[&str]) -> Self {
        let instances = NAMES.iter().map(|name| Instance::start(name, tools, program, arguments)).collect();
        let config = root().join("bin/packaging/haproxy/haproxy.cfg");
        let haproxy = Program::at(&tools.haproxy).args(["-db", "-f"]).arg(config);
        let haproxy = haproxy.ready_at(format!("tcp://{HAPROXY}")).start();
        Self { instances, haproxy }
    }

    /// The sum of a line of the metrics of all instances.
    pub(crate) fn sum(&self, line: &str) -> f64 {
        self.instances.iter().map(|instance| instance.metric(line)).sum()
    }

    /// Waits until a condition holds for every instance.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Instance) -> bool) {
        wait_until(what, || self.instances.iter().all(&holds));
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timeout while waiting until {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A client of HAProxy, which connects from its own address and receives each line that it sends.
pub(crate) struct LineClient {
    io: BufReader<TcpStream>,
    sent: String,
}

impl LineClient {
    pub(crate) fn connect(from: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&HAPROXY.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        Ok(Self { io: BufReader::new(stream), sent: String::new() })
    }

    pub(crate) fn send(&mut self, message: &str) -> io::Result<()> {
        self.sent = format!("{message}\n");
        self.io.get_mut().write_all(self.sent.as_bytes())
    }

    /// Receives the reply to the last message.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut reply = String::new();
        uninterrupted(|| self.io.read_line(&mut reply))?;
        if reply == self.sent { Ok(()) } else { Err(io::Error::other(format!("{reply:?} instead of {:?}", self.sent))) }
    }

    pub(crate) fn exchange(&mut self, message: &str) -> io::Result<()> {
        self.send(message)?;
        self.receive()
    }

    /// What the server sends until it closes. Empty if it has closed before the last message arrived.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = uninterrupted(|| self.io.read_to_end(&mut rest)); // a reset is a close
        String::from_utf8(rest).unwrap()
    }
}

/// Connects to HAProxy from this address, and sends messages.
pub(crate) fn exchange(from: Ipv4Addr, nth: usize, messages: usize) -> io::Result<()> {
    let mut client = LineClient::connect(from)?;
    (0..messages).try_for_each(|message| client.exchange(&format!("{from} {nth} {message}")))
}

/// Clients that connect one after another, each from its own address, until they are stopped.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    messages: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    /// One client for each number of messages per connection.
    pub(crate) fn start(messages: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (connections, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let client = |(nth, messages): (u8, usize)| {
            let (stop, connections, sent) = (stop.clone(), connections.clone(), sent.clone());
            thread::spawn(move || {
                let mut errors = Vec::new();
                for count in 0.. {
                    match exchange(Ipv4Addr::new(127, 0, 1, nth), count, messages) {
                        Ok(()) => drop(sent.fetch_add(messages, SeqCst)),
                        Err(error) => errors.push(format!("client {nth}, connection {count}: {error}")),
                    }
                    connections.fetch_add(1, SeqCst);
                    if stop.load(SeqCst) {
                        break;
                    }
                    thread::park_timeout(Duration::from_millis(5));
                }
                errors
            })
        };
        let threads = (1..).zip(messages.iter().copied()).map(client).collect();
        Self { stop, connections, messages: sent, threads }
    }

    #[track_caller]
    pub(crate) fn wait_for_more(&self, count: usize) {
        let before = self.connections.load(SeqCst);
        wait_until("the clients go on", || self.connections.load(SeqCst) >= before + count);
    }

    /// Stops the clients. Returns their errors, and the number of messages that had a reply.
    pub(crate) fn stop(self) -> (Vec<String>, usize) {
        self.stop.store(true, SeqCst);
        let errors = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (errors, self.messages.load(SeqCst))
    }
}
