//! Several instances share limits through a Redis server: exact within one slice per instance, and no neighbour is
//! disturbed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, free_port, tool};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::admin::AdminServer;

/// A Redis server on a Unix socket, with more arguments.
pub(crate) struct Redis {
    /// `None` while it is killed.
    program: Option<Running>,
    directory: TempDir,
    args: Vec<String>,
}

impl Redis {
    /// `None` without redis-server.
    pub(crate) fn start(args: &[&str]) -> Option<Self> {
        tool("redis-server")?;
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut redis = Self { program: None, directory: tempfile::tempdir().unwrap(), args };
        redis.revive();
        Some(redis)
    }

    /// Kills the server. The address stays.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Starts an empty server.
    pub(crate) fn revive(&mut self) {
        let socket = self.directory.path().join("redis.sock");
        let program = Program::at(&tool("redis-server").unwrap())
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .args([&socket])
            .args(&self.args)
            .current_dir(self.directory.path())
            .ready_at(format!("unix:{}", socket.display()));
        self.program = Some(program.start());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.as_ref().unwrap().signal(signal);
    }

    pub(crate) fn link(&self) -> String {
        format!("redis+unix:{}", self.directory.path().join("redis.sock").display())
    }

    /// Runs commands on one connection and returns the first line of each reply.
    pub(crate) fn run<const N: usize>(&self, commands: [&str; N]) -> [String; N] {
        let mut io = BufReader::new(UnixStream::connect(self.directory.path().join("redis.sock")).unwrap());
        io.get_ref().set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        commands.map(|command| {
            io.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
            let mut line = String::new();
            io.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        })
    }
}

/// An instance of the fleet of a Redis server, with more settings.
pub(crate) fn instance(redis: &Redis, settings: &[&str]) -> AdminServer {
    let link = format!("fleet.link={}", redis.link());
    let settings = [link.as_str(), "fleet.lease=200ms"].into_iter().chain(settings.iter().copied());
    let args: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
    let server = AdminServer::start(&[&["--handler", "echo"], &*args].concat());
    server.wait_until("the limits are shared", || fleet(&server)["state"] == "shared");
    server
}

pub(crate) fn fleet(server: &AdminServer) -> Value {
    server.get("/status").json()["fleet"].take()
}

fn instances(redis: &Redis, settings: &[&str]) -> Vec<AdminServer> {
    let servers: Vec<_> = (0..3).map(|_| instance(redis, settings)).collect();
    for server in &servers {
        server.wait_until("it sees three instances", || fleet(server)["instances"] == 3);
    }
    servers
}

/// A client with this source address.
pub(crate) fn connect(server: &AdminServer, source: [u8; 4]) -> TcpStream {
    connect_to(server.0.socket("main").parse().unwrap(), source)
}

fn connect_to(address: SocketAddr, source: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let io = TcpStream::from(socket);
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io
}

/// Sends one line and waits for the reply. `None` if the connection is closed.
pub(crate) fn exchange(io: &mut TcpStream) -> Option<()> {
    io.write_all(b"x\n").ok()?;
    let mut reply = [0; 2];
    io.read_exact(&mut reply).ok()?;
    assert_eq!(&reply, b"x\n");
    Some(())
}

/// A connection that the server has accepted and serves. `None` if it is rejected.
pub(crate) fn accepted(server: &AdminServer, source: [u8; 4]) -> Option<TcpStream> {
    let mut io = connect(server, source);
    exchange(&mut io).map(|()| io)
}

const HOT: [u8; 4] = [127, 0, 0, 1];
const RATE: [&str; 2] = ["rate.messages_per_source=100/s", "rate.burst=20"];

/// A source uses all these addresses as fast as it can, and 50 others send a few messages.
fn a_source_is_limited_and_others_are_not(addresses: &[SocketAddr]) {
    const MESSAGES: usize = 400;
    let replies = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for address in addresses {
            let replies = &replies;
            scope.spawn(move || {
                let mut io = connect_to(*address, HOT);
                while replies.load(Relaxed) < MESSAGES {
                    exchange(&mut io).unwrap();
                    replies.fetch_add(1, Relaxed);
                }
            });
        }
        for neighbour in 0..50 {
            let address = addresses[usize::from(neighbour) % addresses.len()];
            let mut io = connect_to(address, [127, 0, 1, neighbour + 1]);
            (0..4).for_each(|_| exchange(&mut io).unwrap());
        }
        assert!(replies.load(Relaxed) < MESSAGES, "no neighbour waits for the hot source");
    });
    // In 200 ms, the slice, the rate allows 20 messages.
    let (replies, seconds) = (replies.load(Relaxed), began.elapsed().as_secs_f64());
    let most = 100.0 * seconds + 20.0 + 3.0 * 20.0;
    assert!(replies as f64 <= most, "{replies} messages in {seconds} s, at most {most}");
}

#[test]
fn a_source_gets_its_rate_and_one_slice_per_instance_and_disturbs_no_other() {
    let Some(redis) = Redis::start(&[]) else { return };
    let servers = instances(&redis, &RATE);
    let addresses: Vec<_> = servers.iter().map(|server| server.0.socket("main").parse().unwrap()).collect();
    a_source_is_limited_and_others_are_not(&addresses);
}

#[test]
fn behind_a_balancer_the_source_is_the_client_of_the_proxy_header() {
    let (Some(redis), Some(haproxy)) = (Redis::start(&[]), tool("haproxy")) else { return };
    let trusted = ["listeners.main.proxy.trusted=127.0.0.9"];
    let servers = instances(&redis, &[&RATE[..], &trusted[..]].concat());
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut file = format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
         listen front\n bind {at}\n balance roundrobin\n"
    );
    for (n, server) in servers.iter().enumerate() {
        file += &format!(" server s{n} {} source 127.0.0.9 send-proxy-v2\n", server.0.socket("main"));
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("haproxy.cfg"), file).unwrap();
    let haproxy = Program::at(&haproxy).args(["-db", "-f"]).arg(place.path().join("haproxy.cfg"));
    let _haproxy = haproxy.ready_at(format!("tcp://{at}")).start();
    a_source_is_limited_and_others_are_not(&[at; 6]);
}

#[test]
fn a_source_gets_the_whole_rate_at_one_instance() {
    let Some(redis) = Redis::start(&[]) else { return };
    let servers = instances(&redis, &RATE);
    let mut io = connect(&servers[1], HOT);
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let began = Instant::now();
        (0..60).for_each(|_| exchange(&mut io).unwrap());
        // A third of the rate takes three times as long.
        if began.elapsed() < Duration::from_millis(1200) {
            break;
        }
        assert!(Instant::now() < deadline, "60 messages take {:?}", began.elapsed());
    }
    let fleet = fleet(&servers[1]);
    assert!(fleet["renewals"].as_u64().unwrap() > 0 && fleet["error"].is_null(), "{fleet}");
}

/// Opens connections until the server holds as many for the source as wanted.
fn fill(server: &AdminServer, open: &mut Vec<TcpStream>, wanted: usize) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while open.len() < wanted {
        open.extend(accepted(server, HOT));
        assert!(Instant::now() < deadline, "{} of {wanted}", open.len());
    }
}

fn connections_are_shared(settings: &[&str]) {
    let Some(redis) = Redis::start(&[]) else { return };
    let servers = instances(&redis, settings);
    // The whole limit at one instance, and no more.
    let mut first = Vec::new();
    fill(&servers[0], &mut first, 30);
    assert!((0..20).all(|_| accepted(&servers[0], HOT).is_none()));
    // The others accept one slice each: 30 / 3 / 2.
    let mut more: Vec<_> = (0..60).filter_map(|n| accepted(&servers[1 + n % 2], HOT)).collect();
    assert!((8..=10).contains(&more.len()), "{}", more.len());
    // Connections that close make room at any instance.
    first.truncate(5);
    more.clear();
    let mut second = Vec::new();
    fill(&servers[1], &mut second, 20);
}

#[test]
fn connections_per_source_are_shared() {
    connections_are_shared(&["limits.connections_per_source=30"]);
}

#[test]
fn connections_of_all_sources_are_shared_if_the_operator_says_so() {
    connections_are_shared(&["limits.connections=30", "fleet.limits=connections"]);
}

#[test]
fn an_instance_that_ends_is_counted_no_more_and_its_connections_neither() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut servers = instances(&redis, &["limits.connections_per_source=30"]);
    let mut open = Vec::new();
    fill(&servers[0], &mut open, 30);
    drop(servers.remove(0));
    for server in &servers {
        server.wait_until("two instances are left", || fleet(server)["instances"] == 2);
    }
    fill(&servers[0], &mut Vec::new(), 30);
}

#[test]
fn names_separate_fleets_and_a_reload_changes_the_fleet() {
    let Some(redis) = Redis::start(&[]) else { return };
    let _other = instance(&redis, &["fleet.name=other"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("switchboard.toml");
    let write = |text: &str| std::fs::write(&file, format!("listen = 'tcp://127.0.0.1:0'\n{text}")).unwrap();
    write(&format!("admin.listen = 'tcp://127.0.0.1:0'\nfleet.link = '{}'\n", redis.link()));
    let running = Program::switchboard().args(["--config"]).args([&file]).spawn();
    running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let server = AdminServer(running);
    server.wait_until("it is connected", || fleet(&server)["state"] == "shared");
    assert_eq!(fleet(&server)["instances"], 1);
    let admin = format!("admin.listen = '{}'\n", server.0.address("admin"));
    write(&format!("{admin}fleet = {{ link = '{}', name = 'other' }}\n", redis.link()));
    assert_eq!(server.send("POST", "/reload", "").status, 200);
    server.wait_until("it is in the other fleet", || fleet(&server)["instances"] == 2);
    write(&admin);
    assert_eq!(server.send("POST", "/reload", "").status, 200);
    assert!(fleet(&server).is_null());
}
