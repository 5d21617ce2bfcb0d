//! Three instances behind HAProxy, with the shipped files: `haproxy.cfg`, `compose.yaml` and `compose.toml`.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, root, target, tool, uninterrupted};
use serde_json::Value;
use switchboard::settings::{Limits, Timeouts};

use crate::datagram_faults::{in_own_network, ip};
use crate::kubernetes::{seconds, stop_seconds};

const NAMES: [&str; 3] = ["switchboard-1", "switchboard-2", "switchboard-3"];

fn read(file: &str) -> String {
    fs::read_to_string(root().join("bin/packaging").join(file)).unwrap()
}

/// The words of the first line of the HAProxy configuration that begins with this word.
fn haproxy_line(start: &str) -> Vec<String> {
    let text = read("haproxy/haproxy.cfg");
    let line = text.lines().map(str::trim).find(|line| line.starts_with(&format!("{start} ")));
    line.unwrap_or_else(|| panic!("{start}")).split(' ').map(str::to_owned).collect()
}

/// The number after a word of a line; times are in seconds.
fn number(line: &[String], word: &str) -> u64 {
    let at = line.iter().position(|other| other == word).unwrap_or_else(|| panic!("{word}: {line:?}"));
    let text = &line[at + 1];
    let digits = text.trim_end_matches(['s', 'm']);
    digits.parse::<u64>().unwrap() * if text.ends_with('m') { 60 } else { 1 }
}

/// The address of an instance in the configuration of HAProxy.
fn address(name: &str) -> SocketAddr {
    haproxy_line(&format!("server {name}"))[2].parse().unwrap()
}

#[test]
fn the_compose_file_fits_the_configuration_and_haproxy() {
    let configuration = read("compose.toml");
    let table = serde_json::to_value(configuration.parse::<toml::Table>().unwrap()).unwrap();
    let compose: Value = serde_saphyr::from_str(&read("compose.yaml")).unwrap();
    let network_address =
        |name: &str| compose["services"][name]["networks"]["instances"]["ipv4_address"].as_str().unwrap();
    assert_eq!(table["listeners"]["main"]["proxy"]["trusted"], serde_json::json!([network_address("haproxy")]));
    for name in NAMES {
        assert_eq!(address(name).ip().to_string(), network_address(name));
        let service = &compose["services"][name];
        let stop = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
        assert!(stop >= stop_seconds(&configuration), "{stop}");
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{service}");
    }
    for (place, port) in [("listeners.main", address(NAMES[0]).port().into()), ("admin", number(&servers(), "port"))] {
        let listen = place.split('.').fold(&table, |table, key| &table[key])["listen"].as_str().unwrap();
        assert!(listen.ends_with(&format!(":{port}")), "{listen}");
    }
    let Some(docker_compose) = tool("docker-compose") else { return };
    let config = |token: &str| {
        let file = root().join("bin/packaging/compose.yaml");
        let program = Program::at(&docker_compose).env("SWITCHBOARD_ADMIN__TOKEN", token).arg("--file").arg(file);
        program.args(["config", "--quiet"]).run()
    };
    assert_eq!((config("secret").code(), config("").code()), (Some(0), Some(1)), "{}", config("secret").stderr);
}

fn servers() -> Vec<String> {
    haproxy_line("default-server")
}

#[test]
fn haproxy_accepts_its_configuration_and_its_times_fit_the_program() {
    let servers = servers();
    let client = number(&haproxy_line("timeout client"), "client");
    assert!(client > Timeouts::default().idle.as_secs() && number(&haproxy_line("timeout server"), "server") == client);
    assert_eq!(number(&servers, "maxconn"), Limits::default().connections as u64);
    // HAProxy sends no new clients to an instance that drains before its listeners close.
    let noticed = number(&servers, "inter") * number(&servers, "fall");
    for file in ["compose.toml", "examples/behind-haproxy.toml"] {
        assert!(seconds(&read(file).parse().unwrap(), "announce") > noticed + 1, "{file}");
    }
    let Some(haproxy) = tool("haproxy") else { return };
    let checked = Program::at(&haproxy).args(["-c", "-f"]).arg(root().join("bin/packaging/haproxy/haproxy.cfg")).run();
    let output = checked.stdout + &checked.stderr;
    assert!(checked.status.success() && !output.contains("WARNING"), "{output}");
}

/// An instance on its own machine: a network namespace with the address that HAProxy knows, as in the compose file.
fn instance(name: &str, tools: &Tools) -> Running {
    static INTERFACES: AtomicUsize = AtomicUsize::new(1);
    let at = address(name).ip();
    // The interface appears when the namespace exists.
    let script = format!(
        "until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done\n\
         ip link set lo up && ip link set eth0 up && ip address add {at}/24 dev eth0 && exec \"$0\" \"$@\""
    );
    drop(Program::switchboard()); // builds the binary
    let program = Program::at(&tools.unshare).args(["--net", "sh", "-c", &script]).arg(target().join("switchboard"));
    let program = program.args(["serve", "--config"]).arg(root().join("bin/packaging/compose.toml"));
    let instance = program.env("SWITCHBOARD_ADMIN__TOKEN", "secret").spawn();
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    wait_until("the namespace exists", || namespace(&instance.id().to_string()) != namespace("thread-self"));
    // An interface with this name can still belong to a machine that has just ended.
    let interface = format!("machine{}", INTERFACES.fetch_add(1, SeqCst));
    ip(&format!("link add {interface} type veth peer name eth0 netns {}", instance.id()));
    ip(&format!("link set {interface} up"));
    ip(&format!("route replace {at}/32 dev {interface} src 10.77.0.2"));
    instance.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    instance
}

struct Tools {
    haproxy: PathBuf,
    unshare: PathBuf,
}

#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timeout while waiting until {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Connects to HAProxy from this address, and sends two messages.
fn exchange(from: Ipv4Addr, nth: usize) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], 9999)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    for part in ["first", "second"] {
        let message = format!("{from} {nth} {part}\n");
        stream.write_all(message.as_bytes())?;
        let mut reply = String::new();
        uninterrupted(|| replies.read_line(&mut reply))?;
        if reply != message {
            return Err(io::Error::other(format!("{reply:?} instead of {message:?}")));
        }
    }
    Ok(())
}

/// Clients that connect one after another, each from its own address, until they are stopped.
struct Clients {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start() -> Self {
        let (stop, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |nth: u8| {
            let (stop, exchanges) = (stop.clone(), exchanges.clone());
            thread::spawn(move || {
                let mut errors = Vec::new();
                for count in 0.. {
                    if let Err(error) = exchange(Ipv4Addr::new(127, 0, 1, nth), count) {
                        errors.push(format!("client {nth}, connection {count}: {error}"));
                    }
                    exchanges.fetch_add(1, SeqCst);
                    if stop.load(SeqCst) {
                        break;
                    }
                    thread::park_timeout(Duration::from_millis(5));
                }
                errors
            })
        };
        let threads = (1..=4).map(client).collect();
        Self { stop, exchanges, threads }
    }

    #[track_caller]
    fn wait_for_more(&self, count: usize) {
        let before = self.exchanges.load(SeqCst);
        wait_until("the clients go on", || self.exchanges.load(SeqCst) >= before + count);
    }

    fn errors(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn a_rolling_restart_of_three_instances_and_the_loss_of_one_refuse_no_client() {
    let (Some(haproxy), Some(unshare)) = (tool("haproxy"), tool("unshare")) else { return };
    let tools = Tools { haproxy, unshare };
    in_own_network(move || {
        ip("address add 10.77.0.2/32 dev lo");
        let mut instances: Vec<_> = NAMES.iter().map(|name| instance(name, &tools)).collect();
        let config = root().join("bin/packaging/haproxy/haproxy.cfg");
        let haproxy = Program::at(&tools.haproxy).args(["-db", "-f"]).arg(config);
        let haproxy = haproxy.ready_at("tcp://127.0.0.1:9999").start();
        let clients = Clients::start();
        clients.wait_for_more(50);
        for (nth, name) in NAMES.into_iter().enumerate() {
            let old = instances.remove(nth);
            old.signal(Signal::SIGTERM);
            let ended = old.wait();
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
            instances.insert(nth, instance(name, &tools));
            // HAProxy knows the new process when it sends clients to it.
            let opened = instances[nth].wait_for_event(|event| {
                event["message"] == "connection opened" && event["peer"].as_str().unwrap().starts_with("127.0.1.")
            });
            assert!(opened["proxy"].as_str().unwrap().starts_with("10.77.0.2:"), "{opened}");
            clients.wait_for_more(50);
        }
        assert_eq!(clients.errors(), [] as [String; 0], "{}", haproxy.stdout());
        assert!(haproxy.stdout().contains("is DOWN, reason: Layer7 wrong status, code: 503"), "{}", haproxy.stdout());

        // An instance disappears with its network, and HAProxy does not know it yet.
        drop(instances.remove(0));
        for nth in 0..20 {
            exchange(Ipv4Addr::new(127, 0, 1, 9), nth).unwrap_or_else(|error| panic!("{error}: {}", haproxy.stdout()));
        }
    });
}
