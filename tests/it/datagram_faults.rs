//! Datagrams under forged sources, broadcast requests and peers that do not read, with the built binary.
//!
//! Tests that forge sources or need interfaces run in their own network namespace (network_namespaces(7)).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use std::{env, fs, iter, thread};

use harness::{Program, Running, TEST_TIMEOUT, tool};
use nix::libc::ucred;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::{Uid, chdir, chroot, getpid};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Runs a test on a thread with its own network namespace, which the programs that it starts inherit. Skips the test if
/// this process may not create one.
fn in_own_network(test: impl FnOnce() + Send + 'static) {
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

fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(out.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Adds an interface with addresses, and returns its index.
fn add_interface() -> u32 {
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
    ip("route add default dev sw0");
    fs::read_to_string("/proc/thread-self/net/if_inet6")
        .unwrap()
        .lines()
        .find(|line| line.ends_with("sw0"))
        .map(|line| u32::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
        .unwrap()
}

fn echo(listeners: &[&str], settings: &[&str]) -> Running {
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
    let (bytes, from) = client.recv_from(&mut buffer)?;
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
        client.recv(&mut reply).unwrap_or_else(|error| panic!("{n}: {error}\n{}", server.stderr()));
        assert_eq!(u32::from_be_bytes(reply), n);
    }
}

/// The user of clients that the server does not trust.
const NOBODY: u32 = 65_534;

/// Starts a `unixgram` echo server that every user can send to. `None`, with a reason, if this process is not root.
fn open_unixgram(place: &Path) -> Option<Running> {
    if !Uid::effective().is_root() {
        assert!(env::var("CI").as_deref() != Ok("true"), "this test needs root, and CI skips no test");
        eprintln!("skipped: only root can run clients of other users");
        return None;
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
    let listen = format!("unixgram:{}", place.join("server").display());
    Some(echo(&[&listen], &["socket.mode=0666"]))
}

/// Sends a request as a process of another user would. Root may state any credentials (unix(7)).
fn send_as(user: u32, client: &UnixDatagram, at: &Path, also: &[ControlMessage<'_>]) {
    let credentials = ucred { pid: getpid().as_raw(), uid: user, gid: user }.into();
    let mut control = vec![ControlMessage::ScmCredentials(&credentials)];
    control.extend_from_slice(also);
    let to = UnixAddr::new(at).unwrap();
    sendmsg(client.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), Some(&to)).unwrap();
}

fn bind_unix(path: &Path, owner: u32) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    socket
}

fn expect_reply(client: &UnixDatagram, what: &str) {
    let mut reply = [0; 9];
    let bytes = client.recv(&mut reply).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(reply[..bytes].escape_ascii().to_string(), "x", "{what}");
}

fn expect_no_reply(socket: &UnixDatagram, what: &str) {
    socket.set_nonblocking(true).unwrap();
    let got = socket.recv(&mut [0; 9]);
    assert!(got.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "{what}: {got:?}");
}

/// A place with an open server, a client that is answered, and a socket of root that must receive nothing.
struct Unixgrams {
    place: tempfile::TempDir,
    server: Running,
    good: UnixDatagram,
    victim: UnixDatagram,
}

impl Unixgrams {
    fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let server = open_unixgram(place.path())?;
        let good = bind_unix(&place.path().join("good"), NOBODY);
        let victim = bind_unix(&place.path().join("victim"), 0);
        Some(Self { place, server, good, victim })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Checks that neither the victim nor the client has a reply, that the log has the reason, and that the server
    /// continues.
    fn expect_refused(&self, client: &UnixDatagram, reason: &str, what: &str) {
        send_as(NOBODY, &self.good, &self.at("server"), &[]);
        expect_reply(&self.good, what);
        expect_no_reply(&self.victim, what);
        expect_no_reply(client, what);
        let is_logged = |event: &harness::Event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().contains(reason);
            event["level"] == "WARN" && (text("error") || text("reason"))
        };
        self.server.wait_for_event(is_logged);
    }
}

#[test]
fn a_unix_client_is_answered_if_the_socket_at_its_path_is_its_own() {
    let Some(unix) = Unixgrams::new() else { return };
    let longest = unix.place.path().as_os_str().len() + 1;
    for (name, owner, user) in
        [("own", NOBODY, NOBODY), ("root", 0, 0), ("of-another", NOBODY, 0), (&*"n".repeat(107 - longest), 1234, 1234)]
    {
        let client = bind_unix(&unix.at(name), owner);
        send_as(user, &client, &unix.at("server"), &[]);
        expect_reply(&client, name);
    }
    let address = UnixAddress::from_abstract_name(harness::unique("root")).unwrap();
    let client = UnixDatagram::bind_addr(&address).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    send_as(0, &client, &unix.at("server"), &[]);
    expect_reply(&client, "abstract");
}

#[test]
fn a_real_process_of_another_user_is_answered() {
    let Some(unix) = Unixgrams::new() else { return };
    let Some(setpriv) = tool("setpriv") else { return };
    let user = NOBODY.to_string();
    let program = Program::at(&setpriv).args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    let program = program.arg(harness::target().join("switchboard")).arg("connect");
    let out = program.arg(format!("unixgram:{}", unix.at("server").display())).input("x\n").run();
    if out.stderr.contains("Permission denied") && out.stdout.is_empty() {
        eprintln!("skipped: the other user cannot execute the program: {}", out.stderr);
        return;
    }
    assert_eq!(out.stdout.trim_end(), "x", "{}", out.stderr);
}

/// Replaces the socket of a client at this path.
type Replace = fn(&Unixgrams, &Path);

#[test]
fn a_reply_never_goes_to_a_socket_of_another_user() {
    let cases: [(&str, &str, Replace); 6] = [
        ("a symbolic link", "is not a socket", |unix, path| {
            fs::remove_file(path).unwrap();
            symlink(unix.at("victim"), path).unwrap();
        }),
        ("another socket", "belongs to user 0", |unix, path| {
            fs::remove_file(path).unwrap();
            fs::hard_link(unix.at("victim"), path).unwrap();
        }),
        ("a file", "is not a socket", |_, path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "").unwrap();
        }),
        ("nothing", "No such file", |_, path| fs::remove_file(path).unwrap()),
        ("a loop of links", "is not a socket", |_, path| {
            fs::remove_file(path).unwrap();
            symlink(path, path).unwrap();
        }),
        ("a directory that was replaced", "belongs to user 0", |unix, path| {
            let directory = path.parent().unwrap();
            fs::rename(directory, unix.at("moved")).unwrap();
            symlink(unix.place.path(), directory).unwrap();
        }),
    ];
    for (what, reason, replace) in cases {
        let Some(unix) = Unixgrams::new() else { return };
        fs::create_dir(unix.at("directory")).unwrap();
        let path = unix.at("directory/victim");
        let client = bind_unix(&path, NOBODY);
        replace(&unix, &path);
        send_as(NOBODY, &client, &unix.at("server"), &[]);
        unix.expect_refused(&client, reason, what);
    }
}

#[test]
fn a_name_that_another_user_can_have_is_not_answered() {
    let Some(unix) = Unixgrams::new() else { return };
    let name = UnixAddress::from_abstract_name(harness::unique("claimed")).unwrap();
    let client = UnixDatagram::bind_addr(&name).unwrap();
    send_as(NOBODY, &client, &unix.at("server"), &[]);
    unix.expect_refused(&client, "abstract name", "an abstract name");

    let Some(unix) = Unixgrams::new() else { return };
    let client = UnixDatagram::unbound().unwrap();
    send_as(NOBODY, &client, &unix.at("server"), &[]);
    unix.expect_refused(&client, "has not bound", "an unbound socket");

    let Some(unix) = Unixgrams::new() else { return };
    let client = bind_unix(&unix.at("passes-a-file"), NOBODY);
    let descriptors = [client.as_raw_fd(); 200];
    for _ in 0..200 {
        send_as(NOBODY, &client, &unix.at("server"), &[ControlMessage::ScmRights(&descriptors)]);
    }
    unix.expect_refused(&client, "is unknown", "passed descriptors");
    let open = fs::read_dir(format!("/proc/{}/fd", unix.server.id())).unwrap().count();
    assert!(open < 100, "{open} open descriptors");
}

/// Runs on a thread with its own root and working directory.
fn with_own_root<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_FS).unwrap();
            action()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn a_name_that_means_another_socket_to_the_server_is_not_answered() {
    let Some(unix) = Unixgrams::new() else { return };
    // A client in a chroot: its name is the path of the victim outside.
    let jail = unix.at("jail");
    let inside = jail.join(unix.place.path().strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let name = unix.at("victim");
    let client = with_own_root(|| {
        chroot(&jail).unwrap();
        UnixDatagram::bind(&name).unwrap()
    });
    send_as(NOBODY, &client, &unix.at("server"), &[]);
    unix.expect_refused(&client, "belongs to user 0", "a chroot");

    // A relative name: in the working directory of the server it is another socket of the same user.
    let Some(unix) = Unixgrams::new() else { return };
    let other = unix.at("other");
    fs::create_dir(&other).unwrap();
    let directory = fs::read_link(format!("/proc/{}/cwd", unix.server.id())).unwrap();
    let name = PathBuf::from(harness::unique("relative"));
    let victim = bind_unix(&directory.join(&name), NOBODY);
    let client = with_own_root(|| {
        chdir(&other).unwrap();
        UnixDatagram::bind(&name).unwrap()
    });
    send_as(NOBODY, &client, &unix.at("server"), &[]);
    unix.expect_refused(&client, "relative_path", "a relative name");
    expect_no_reply(&victim, "the same relative name");
    fs::remove_file(directory.join(&name)).unwrap();
}

#[test]
fn a_path_that_is_replaced_while_the_server_replies_never_leads_to_another_user() {
    let Some(unix) = Unixgrams::new() else { return };
    let (path, own, link) = (unix.at("swapped"), unix.at("own"), unix.at("link"));
    let client = bind_unix(&path, NOBODY);
    client.set_nonblocking(true).unwrap();
    fs::hard_link(&path, &own).unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(SeqCst) {
                for target in [&unix.at("victim"), &own] {
                    let _ = fs::remove_file(&link);
                    // Alternately a symbolic link to the victim, and a hard link to the own socket.
                    if target == &own {
                        fs::hard_link(target, &link).unwrap()
                    } else {
                        symlink(target, &link).unwrap()
                    }
                    fs::rename(&link, &path).unwrap();
                    let _ = fs::remove_file(&link); // rename does nothing if both names are the same file
                }
            }
        });
        let mut answered = 0;
        for _ in 0..1000 {
            send_as(NOBODY, &client, &unix.at("server"), &[]);
            send_as(NOBODY, &unix.good, &unix.at("server"), &[]);
            expect_reply(&unix.good, "the next client");
            answered += usize::from(client.recv(&mut [0; 9]).is_ok());
            assert!(answered <= 1000);
        }
        is_done.store(true, SeqCst);
    });
    expect_no_reply(&unix.victim, "the victim");
}

/// A place with a `unixgram` echo server for clients of the same user.
struct OwnUnixgrams {
    place: tempfile::TempDir,
    server: Running,
}

impl OwnUnixgrams {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let server = echo(&[&format!("unixgram:{}", place.path().join("server").display())], &[]);
        Self { place, server }
    }

    fn connect(&self, name: &str) -> UnixDatagram {
        let client = self.bind(name);
        client.connect(self.place.path().join("server")).unwrap();
        client
    }

    fn bind(&self, name: &str) -> UnixDatagram {
        let client = UnixDatagram::bind(self.place.path().join(name)).unwrap();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client
    }

    /// Asks until the server stops to reply to a client that does not read.
    fn stall(&self, client: &UnixDatagram, payload: &[u8]) {
        let is_stalled = || self.server.stderr().contains("does not read its replies");
        let started = std::time::Instant::now();
        while !is_stalled() {
            for _ in 0..100 {
                client.send(payload).unwrap();
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "{}", self.server.stderr());
        }
    }
}

/// Sends requests and expects their replies. A starved client that reads too late may lose a few replies.
fn ask_unix(client: &UnixDatagram, requests: usize, server: &Running) {
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut lost = 0;
    for nth in 0..requests {
        let text = format!("request {nth}");
        let receive = || {
            let mut reply = [0; 100];
            client.recv(&mut reply).ok().map(|bytes| reply[..bytes] == *text.as_bytes())
        };
        let mut is_answered = false;
        while !is_answered {
            client.send(text.as_bytes()).unwrap();
            is_answered = iter::from_fn(receive).any(|is_own| is_own);
            lost += usize::from(!is_answered);
            assert!(lost <= 5, "{text}: {lost} replies are lost\n{}", server.stderr());
        }
    }
}

#[test]
fn unix_clients_that_ask_and_never_read_do_not_stop_the_replies_to_another() {
    // The clients that do not read, the requests of each, and their size. The send buffer has at most 2 MiB.
    for (stalled, requests, bytes) in [(1, 300, 1), (1, 6000, 1), (10, 600, 1), (10, 60, 4096), (3, 60, 30_000)] {
        let unix = OwnUnixgrams::new();
        let payload = vec![b'x'; bytes];
        let clients: Vec<_> = (0..stalled).map(|nth| unix.connect(&format!("stalled{nth}"))).collect();
        let reads = unix.connect("reads");
        let ask_all = || {
            for client in &clients {
                client.send(&payload).unwrap();
            }
        };
        (0..requests).for_each(|_| ask_all());
        for _ in 0..100 {
            ask_all();
            ask_unix(&reads, 3, &unix.server);
        }
    }
}

#[test]
fn unix_clients_that_ask_without_a_pause_and_never_read_do_not_stop_the_replies_to_another() {
    let unix = OwnUnixgrams::new();
    for nth in 0..4 {
        let client = unix.connect(&format!("stalled{nth}"));
        thread::spawn(move || while client.send(b"x").is_ok() {}); // until the server exits
    }
    unix.server.wait_for_event(|event| event["error"].as_str().is_some_and(|error| error.contains("does not read")));
    ask_unix(&unix.connect("reads"), 300, &unix.server);
}

#[test]
fn unconnected_unix_clients_that_never_read_do_not_stop_the_replies_to_another() {
    let unix = OwnUnixgrams::new();
    let reads = unix.connect("reads");
    for nth in 0..20 {
        let client = unix.bind(&format!("stalled{nth}"));
        for _ in 0..50 {
            client.send_to(b"x", unix.place.path().join("server")).unwrap();
            ask_unix(&reads, 1, &unix.server);
        }
    }
}

#[test]
fn a_unix_client_that_has_not_read_gets_replies_again_after_it_reads() {
    for others in [0, 2] {
        let unix = OwnUnixgrams::new();
        let others: Vec<_> = (0..others).map(|nth| unix.connect(&format!("stalled{nth}"))).collect();
        let slow = unix.connect("slow");
        for client in &others {
            (0..3000).for_each(|_| assert_eq!(client.send(b"x").unwrap(), 1));
        }
        unix.stall(&slow, b"x");
        // It reads slowly, one reply per request, and then everything. It can have fewer than 100 unread replies.
        slow.set_nonblocking(true).unwrap();
        for _ in 0..100 {
            let _ = slow.send(b"x"); // the queue of the server may be full
            let _ = slow.recv(&mut [0; 9]);
        }
        while slow.recv(&mut [0; 9]).is_ok() {}
        slow.set_nonblocking(false).unwrap();
        slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let is_answered = || {
            slow.send(b"again").unwrap();
            let mut reply = [0; 9];
            slow.recv(&mut reply).is_ok_and(|bytes| &reply[..bytes] == b"again")
        };
        let mut server = unix.server;
        server.wait_until("the client that reads is answered", is_answered);
    }
}

#[test]
fn unix_clients_that_exit_without_reading_leave_no_trace() {
    let unix = OwnUnixgrams::new();
    for nth in 0..5 {
        let stalled = unix.connect(&format!("stalled{nth}"));
        unix.stall(&stalled, &[b'x'; 1000]);
        drop(stalled);
        let reads = unix.connect(&format!("reads{nth}"));
        // Several requests before the first reply is read.
        (0..8).for_each(|_| assert_eq!(reads.send(b"x").unwrap(), 1));
        (0..8).for_each(|_| expect_reply(&reads, "after an exit"));
    }
}
