//! Datagrams with forged sources, and broadcast and multicast requests, with the built binary.
//!
//! Tests that forge sources or need interfaces run in their own network namespace (network_namespaces(7)).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use harness::{Program, Running, TEST_TIMEOUT, tool, uninterrupted};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Runs a test on a thread with its own network namespace, which the programs that it starts inherit. Skips the test if
/// this process may not create one.
pub(crate) fn in_own_network(test: impl FnOnce() + Send + 'static) {
    if tool("ip").is_none() {
        return;
    }
    let run = move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {
            ip("link set lo up");
            test();
        }
        Err(error) => {
            assert!(env::var("CI").as_deref() != Ok("true"), "no network namespace ({error}), and CI skips no test");
            eprintln!("skipped: this user cannot create a network namespace ({error})");
        }
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs ip(8), and returns its output.
pub(crate) fn ip(arguments: &str) -> String {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(out.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Adds an interface with addresses, and returns its index.
pub(crate) fn add_interface() -> u32 {
    ip("link add sw0 type veth peer name sw1");
    for name in ["sw0", "sw1"] {
        ip(&format!("link set {name} addrgenmode none")); // no link-local address that is checked for duplicates first
        ip(&format!("link set {name} up"));
    }
    for address in ["10.77.0.1/24 broadcast 10.77.0.255", "10.77.0.2/24 broadcast 10.77.0.255"] {
        ip(&format!("address add {address} dev sw0"));
    }
    for address in ["fe80::77/64", "fd77::1/64"] {
        ip(&format!("address add {address} dev sw0 nodad"));
    }
    // The kernel reports the state of a link asynchronously. Until then it drops datagrams.
    let is_up = |name: &str| ip(&format!("-oneline link show dev {name}")).contains("state UP");
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !(is_up("sw0") && is_up("sw1")) {
        assert!(Instant::now() < deadline, "the link is not up");
    }
    ip("route add default dev sw0");
    fs::read_to_string("/proc/thread-self/net/if_inet6")
        .unwrap()
        .lines()
        .find(|line| line.ends_with("sw0"))
        .map(|line| u32::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
        .unwrap()
}

pub(crate) fn echo(listeners: &[&str], settings: &[&str]) -> Running {
    let mut program = Program::switchboard();
    for (nth, listen) in listeners.iter().enumerate() {
        program = program.args(["--set", &format!("listeners.l{nth}.listen={listen}")]);
        program = program.args(["--set", &format!("listeners.l{nth}.handler=echo")]);
    }
    let program = settings.iter().fold(program, |program, setting| program.args(["--set", setting]));
    program.args(["--log-format", "json"]).start()
}

fn port(server: &Running, listener: &str) -> u16 {
    server.socket(listener).rsplit_once(':').unwrap().1.parse().unwrap()
}

fn client(bind: impl Into<SocketAddr>) -> UdpSocket {
    let socket = UdpSocket::bind(bind.into()).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    socket
}

/// Sends a request, and returns where the reply comes from.
fn ask(client: &UdpSocket, to: SocketAddr, text: &str) -> io::Result<IpAddr> {
    client.send_to(text.as_bytes(), to)?;
    let mut buffer = [0; 100];
    let (bytes, from) = uninterrupted(|| client.recv_from(&mut buffer))?;
    assert_eq!(buffer[..bytes].escape_ascii().to_string(), text);
    assert_eq!(from.port(), to.port());
    Ok(from.ip())
}

#[test]
fn a_reply_to_a_broadcast_or_multicast_request_comes_from_the_address_of_the_interface() {
    in_own_network(|| {
        add_interface();
        let own = IpAddr::from([10, 77, 0, 1]);
        // The address of the request, and the address that the reply comes from.
        let requests = [
            ([10, 77, 0, 255], own),
            ([255, 255, 255, 255], own),
            ([224, 0, 0, 1], own),
            ([127, 255, 255, 255], Ipv4Addr::LOCALHOST.into()),
            ([10, 77, 0, 1], own),
            ([10, 77, 0, 2], IpAddr::from([10, 77, 0, 2])),
            ([127, 0, 0, 2], IpAddr::from([127, 0, 0, 2])),
        ];
        for listen in ["udp://0.0.0.0:0", "udp://[::]:0"] {
            let server = echo(&[listen], &[]);
            for (to, from) in requests {
                if listen.contains("[::]") && to[0] == 224 {
                    continue; // Linux delivers no IPv4 multicast to a socket of IPv6 that has not joined a group
                }
                let client = client(([0, 0, 0, 0], 0));
                client.set_broadcast(true).unwrap();
                let socket = socket2::SockRef::from(&client);
                socket.set_multicast_if_v4(&Ipv4Addr::new(10, 77, 0, 1)).unwrap();
                let got = ask(&client, (to, port(&server, "l0")).into(), "x");
                let got = got.unwrap_or_else(|error| panic!("{listen} {to:?}: {error}\n{}", server.stderr()));
                assert_eq!(got, from, "{listen} {to:?}");
            }
        }
    });
}

#[test]
fn a_broadcast_request_to_a_socket_with_a_specific_address_is_answered() {
    in_own_network(|| {
        add_interface();
        for listen in ["10.77.0.255", "10.77.0.1", "10.77.0.2", "224.0.0.1"] {
            let server = echo(&[&format!("udp://{listen}:0")], &[]);
            let client = client(([10, 77, 0, 1], 0));
            client.set_broadcast(true).unwrap();
            let from = ask(&client, (listen.parse::<IpAddr>().unwrap(), port(&server, "l0")).into(), "x").unwrap();
            let own: IpAddr = if listen == "10.77.0.2" { listen } else { "10.77.0.1" }.parse().unwrap();
            assert_eq!(from, own, "{listen}");
        }
    });
}

#[test]
fn ipv6_requests_to_multicast_and_link_local_addresses_are_answered_through_their_interface() {
    in_own_network(|| {
        let interface = add_interface();
        let server = echo(&["udp://[::]:0"], &[]);
        let (link_local, global): (Ipv6Addr, Ipv6Addr) = ("fe80::77".parse().unwrap(), "fd77::1".parse().unwrap());
        for (client_ip, to, from) in [
            (Ipv6Addr::UNSPECIFIED, "ff02::1", link_local),
            (link_local, "ff02::1", link_local),
            (global, "ff02::1", global),
            (global, "fe80::77", link_local), // the source has no scope, so only the request names the interface
            (link_local, "fe80::77", link_local),
            (global, "fd77::1", global),
        ] {
            let to: Ipv6Addr = to.parse().unwrap();
            let scope = |ip: Ipv6Addr| if ip.is_unicast_link_local() || ip.is_multicast() { interface } else { 0 };
            let client = client(SocketAddrV6::new(client_ip, 0, 0, scope(client_ip)));
            let got = ask(&client, SocketAddrV6::new(to, port(&server, "l0"), 0, scope(to)).into(), "x");
            let got = got.unwrap_or_else(|error| panic!("{client_ip} {to}: {error}\n{}", server.stderr()));
            assert_eq!(got, IpAddr::from(from), "{client_ip} {to}");
        }
    });
}

/// Sends a datagram with a forged source (raw(7)).
fn forge(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) {
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let mut udp = [from.1.to_be_bytes(), to.1.to_be_bytes(), length(8 + payload.len()), [0, 0]].concat();
    udp.extend_from_slice(payload);
    let mut packet = vec![0x45, 0];
    packet.extend(length(20 + udp.len()));
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    packet.extend(udp);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
    socket.send_to_vectored(&[IoSlice::new(&packet)], &SockAddr::from(SocketAddr::from((to.0, 0)))).unwrap();
}

/// The UDP datagrams that sockets of this network namespace have received.
fn received() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let line = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Waits until a server has dropped a datagram for this reason.
fn dropped(server: &Running, reason: &str) {
    server.wait_for_event(|event| event["message"] == "datagram dropped" && event["reason"] == reason);
}

#[test]
fn two_listeners_of_one_server_do_not_answer_each_other() {
    in_own_network(|| {
        add_interface();
        let (one, two) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 5));
        let interface = Ipv4Addr::new(10, 77, 0, 2);
        for (listeners, source, to) in [
            (["udp://127.0.0.1:0", "udp://127.0.0.1:0"], one, one),
            (["udp://127.0.0.5:0", "udp://127.0.0.1:0"], two, one),
            (["udp://0.0.0.0:0", "udp://127.0.0.1:0"], one, one),
            (["udp://0.0.0.0:0", "udp://127.0.0.1:0"], two, one),
            (["udp://0.0.0.0:0", "udp://0.0.0.0:0"], interface, one),
            (["udp://[::]:0", "udp://127.0.0.1:0"], two, one),
            (["udp://[::]:0", "udp://[::]:0"], interface, interface),
            (["udp://10.77.0.2:0", "udp://0.0.0.0:0"], interface, interface),
        ] {
            let server = echo(&listeners, &[]);
            let before = received();
            forge((source, port(&server, "l0")), (to, port(&server, "l1")), b"x");
            dropped(&server, "own_address");
            // Each listener still answers a client, and received nothing but the forged datagram.
            for listener in ["l0", "l1"] {
                let to = server.socket(listener).replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1");
                let at = if to.starts_with("127.0.0.1") { one } else { to.split_once(':').unwrap().0.parse().unwrap() };
                ask(&client(([0, 0, 0, 0], 0)), (at, port(&server, listener)).into(), "y").unwrap();
            }
            assert_eq!(received() - before, 1 + 2 * 2, "{listeners:?} {source}");
        }
    });
}

#[test]
fn a_remote_peer_with_the_port_of_a_wildcard_listener_is_answered() {
    in_own_network(|| {
        add_interface();
        let mut server = echo(&["udp://0.0.0.0:0"], &[]);
        let (port, before) = (port(&server, "l0"), sent());
        ip("neighbour add 10.77.0.9 lladdr 02:00:00:00:00:09 dev sw0");
        forge((Ipv4Addr::new(10, 77, 0, 9), port), (Ipv4Addr::new(10, 77, 0, 1), port), b"x");
        server.wait_until("the reply is sent", || sent() > before);
    });
}

/// The UDP datagrams sent from this network namespace.
fn sent() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let line = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn a_listener_that_a_reload_adds_and_one_that_it_removes_are_known_as_own_sockets() {
    in_own_network(|| {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("switchboard.toml");
        let listener = |name: &str| format!("[listeners.{name}]\nlisten = 'udp://127.0.0.1:0'\nhandler = 'echo'\n");
        fs::write(&file, listener("one")).unwrap();
        let server = Program::switchboard().arg("--config").arg(&file).args(["--log-format", "json"]).start();
        let one = port(&server, "one");
        fs::write(&file, listener("one") + &listener("two")).unwrap();
        server.signal(harness::Signal::SIGHUP);
        let two = port(&server, "two");
        forge((Ipv4Addr::LOCALHOST, one), (Ipv4Addr::LOCALHOST, two), b"x");
        dropped(&server, "own_address");
        fs::write(&file, listener("two")).unwrap();
        server.signal(harness::Signal::SIGHUP);
        // After the removal, another program may use the port.
        let mut server = server;
        server.wait_until("the port is free", || UdpSocket::bind(("127.0.0.1", one)).is_ok());
        ask(&client(([127, 0, 0, 1], one)), (Ipv4Addr::LOCALHOST, two).into(), "y").unwrap();
    });
}

#[test]
fn two_servers_stop_to_answer_each_other() {
    in_own_network(|| {
        for datagrams in [1, 40] {
            let rate = "rate.replies_per_peer=100/s";
            let (one, two) = (echo(&["udp://127.0.0.1:0"], &[rate]), echo(&["udp://127.0.0.1:0"], &[rate]));
            let before = received();
            for _ in 0..datagrams {
                forge((Ipv4Addr::LOCALHOST, port(&one, "l0")), (Ipv4Addr::LOCALHOST, port(&two, "l0")), b"x");
            }
            let mut one = one;
            let (mut last, mut same) = (before, 0);
            one.wait_until("the exchange has ended", || {
                let now = received();
                same = if now > before && now == last { same + 1 } else { 0 };
                last = now;
                same > 40
            });
            assert!(last - before < 10_000, "{}", last - before);
            assert!([&one, &two].iter().any(|server| server.stderr().contains("\"reply_rate\"")), "{}", one.stderr());
            // Other peers are answered.
            ask(&client(([127, 0, 0, 1], 0)), (Ipv4Addr::LOCALHOST, port(&two, "l0")).into(), "y").unwrap();
        }
    });
}

#[test]
fn a_remote_peer_is_answered_where_any_address_can_be_bound() {
    in_own_network(|| {
        add_interface();
        // The file of the calling thread's namespace.
        fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
        ip("neighbour add 10.77.0.9 lladdr 02:00:00:00:00:09 dev sw0");
        let mut server = echo(&["udp://0.0.0.0:0"], &[]);
        let (port, before) = (port(&server, "l0"), sent());
        forge((Ipv4Addr::new(10, 77, 0, 9), port), (Ipv4Addr::new(10, 77, 0, 1), port), b"x");
        server.wait_until("the reply is sent", || sent() > before);
        forge((Ipv4Addr::new(10, 77, 0, 1), port), (Ipv4Addr::new(127, 0, 0, 1), port), b"x");
        dropped(&server, "own_address");
    });
}

#[test]
fn a_client_that_asks_ten_thousand_times_per_second_gets_its_replies() {
    let server = echo(&["udp://127.0.0.1:0"], &[]);
    let client = client(([127, 0, 0, 1], 0));
    client.connect(server.socket("l0")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for n in 0..12_000_u32 {
        client.send(&n.to_be_bytes()).unwrap();
        let mut reply = [0; 4];
        uninterrupted(|| client.recv(&mut reply)).unwrap_or_else(|error| panic!("{n}: {error}\n{}", server.stderr()));
        assert_eq!(u32::from_be_bytes(reply), n);
    }
}

#[test]
fn a_reply_that_the_system_does_not_send_is_dropped_and_its_message_is_handled() {
    let program = Program::switchboard().args(["--listen", "udp://127.0.0.1:0"]);
    let server = program.args(["--set", "admin.listen=tcp://127.0.0.1:0"]).spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let client = client((Ipv4Addr::LOCALHOST, 0));
    // The reply is larger than the largest datagram.
    client.send_to(&[b'x'; 65_505], server.socket("main")).unwrap();
    let event = server.wait_for_event(|event| event["message"] == "datagram failed");
    assert!(event["error"].as_str().unwrap().contains("too long"), "{event}");
    let counts = || {
        let socket = std::net::TcpStream::connect(server.socket("admin")).unwrap();
        let page = crate::admin::ask(socket, "GET", "/metrics", "", "").body;
        ["ok", "error", "dropped"].map(|outcome| {
            let line = format!("switchboard_messages_total{{listener=\"main\",outcome=\"{outcome}\"}} ");
            page.split_once(&line).unwrap().1.lines().next().unwrap().to_owned()
        })
    };
    let deadline = Instant::now() + TEST_TIMEOUT;
    // The counts of a batch are published at its end.
    while counts() != ["1", "0", "1"] {
        assert!(Instant::now() < deadline, "{:?}", counts());
    }
}
