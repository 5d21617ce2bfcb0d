//! A listener at its limits stays within the memory that the limits allow.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use harness::{Program, Running, uninterrupted};
use rcgen::generate_simple_self_signed;
use socket2::{Domain, Socket, Type};
use switchboard::server::ListenerSpec;
use switchboard::{Kind, TlsSettings};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Connections per test: enough for a measurable effect, few enough for a fast test.
const CONNECTIONS: usize = 200;

/// The memory of a process in bytes: `VmRSS` (current) or `VmHWM` (peak). See proc(5).
fn memory(process: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn echo(address: &str, framing: &str) -> Program {
    let connections = format!("limits.connections={CONNECTIONS}");
    let program = Program::switchboard().args(["--handler", "echo", "--listen", address, "--framing", framing]);
    // On a loaded machine, the clients of a test can stay blocked for longer than the default timeouts.
    let timeouts = ["frame", "idle", "write"].map(|timeout| format!("timeouts.{timeout}=0s"));
    timeouts.iter().chain([&connections]).fold(program, |program, set| program.args(["--set", set]))
}

/// The settings of the listener under test.
fn spec() -> ListenerSpec {
    let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:0".parse().unwrap());
    spec.limits.connections = CONNECTIONS;
    spec
}

/// Waits until the memory has grown by at least this much. Calls `send` again and again meanwhile: while the server is
/// starved, the buffers of the kernel hold all that the clients send first, and later all replies.
fn wait_for_growth(server: &mut Running, before: u64, at_least: u64, mut send: impl FnMut()) {
    let id = server.id();
    server.wait_until("its memory has grown", || {
        send();
        memory(id, "VmRSS") >= before + at_least
    });
}

/// Checks that the peak memory never exceeded the allowed growth.
fn assert_peak_growth(server: &Running, before: u64, at_most: u64) {
    let most = memory(server.id(), "VmHWM") - before;
    assert!(most <= at_most, "{} KiB used, {} KiB allowed", most / 1024, at_most / 1024);
}

/// Connects with small buffers. 200 clients with buffers of several megabytes would use up the memory that the kernel
/// has for TCP (`tcp_mem` in tcp(7)), and the kernel would then shrink the buffers of all connections.
fn connect(address: &str) -> TcpStream {
    const BUFFER: usize = 64 * 1024;
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket.set_send_buffer_size(BUFFER).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// A client that writes the same line again and again, and does not read.
struct Writer<C> {
    client: C,
    written: usize,
}

impl<C: Write> Writer<C> {
    fn new(client: C) -> Self {
        Self { client, written: 0 }
    }

    /// Writes until the socket buffers are full.
    fn write_until_it_blocks(&mut self, line: &[u8]) {
        loop {
            match uninterrupted(|| self.client.write(&line[self.written % line.len()..])) {
                Ok(more) => self.written += more,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn memory_of_connections_with_partial_messages_stays_within_the_limits() {
    let mut server = echo("tcp://127.0.0.1:0", "lines").start();
    let (before, spec) = (memory(server.id(), "VmRSS"), spec());
    let address = server.socket("main");
    let line = vec![b'x'; spec.limits.frame];
    let clients = (0..CONNECTIONS).map(|_| {
        let mut client = connect(&address);
        client.write_all(&line).unwrap();
        client
    });
    let clients: Vec<_> = clients.collect();
    let unfinished = (CONNECTIONS * spec.limits.frame) as u64;
    wait_for_growth(&mut server, before, unfinished * 9 / 10, || {});
    // No byte was lost: each message can be completed and is answered.
    for mut client in clients {
        client.write_all(b"\n").unwrap();
        let mut reply = vec![0; line.len() + 1];
        client.read_exact(&mut reply).unwrap();
        assert!(reply.starts_with(&line) && reply.ends_with(b"\n"));
    }
    assert_peak_growth(&server, before, spec.max_memory(Kind::Stream));
}

#[test]
fn memory_of_connections_that_never_read_stays_within_the_limits() {
    let mut server = echo("tcp://127.0.0.1:0", "lines").start();
    let (before, spec) = (memory(server.id(), "VmRSS"), spec());
    let address = server.socket("main");
    let lines = [vec![b'x'; 40_000], vec![b'\n']].concat();
    let clients = (0..CONNECTIONS).map(|_| {
        let client = connect(&address);
        client.set_nonblocking(true).unwrap();
        Writer::new(client)
    });
    let mut clients: Vec<_> = clients.collect();
    wait_for_growth(&mut server, before, (CONNECTIONS * 64 * 1024) as u64, || {
        clients.iter_mut().for_each(|client| client.write_until_it_blocks(&lines));
    });
    // A client that finally reads gets every reply.
    for Writer { mut client, .. } in clients {
        client.set_nonblocking(false).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut replies = Vec::new();
        client.read_to_end(&mut replies).unwrap();
        assert!(replies.len() > 2 * lines.len() && replies.chunks_exact(lines.len()).all(|reply| reply == lines));
    }
    assert_peak_growth(&server, before, spec.max_memory(Kind::Stream));
}

#[test]
fn memory_of_tls_connections_stays_within_the_limits() {
    let certified = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (certificate, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut spec = spec();
    spec.tls = Some(TlsSettings::new(&certificate, &key));
    let mut server = echo("tls://127.0.0.1:0", "lines")
        .args(["--set", &format!("listeners.main.tls.certificate={}", certificate.display())])
        .args(["--set", &format!("listeners.main.tls.key={}", key.display())])
        .start();
    let before = memory(server.id(), "VmRSS");
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let address = server.socket("main");
    let lines = [vec![b'x'; 40_000], vec![b'\n']].concat();
    let clients = (0..CONNECTIONS).map(|_| {
        let session = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut client = StreamOwned::new(session, connect(&address));
        client.write_all(b"hi\n").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        client.sock.set_nonblocking(true).unwrap();
        Writer::new(client)
    });
    let mut clients: Vec<_> = clients.collect();
    wait_for_growth(&mut server, before, (CONNECTIONS * 64 * 1024) as u64, || {
        clients.iter_mut().for_each(|client| client.write_until_it_blocks(&lines));
    });
    drop(clients);
    assert_peak_growth(&server, before, spec.max_memory(Kind::Stream));
}

#[test]
fn memory_stays_within_the_limits_with_a_thousand_times_more_peers_than_sessions() {
    const SESSIONS: usize = 20;
    const PEERS: u32 = 20_000;
    let sessions = format!("limits.sessions={SESSIONS}");
    let server =
        Program::switchboard().args(["--handler", "echo", "--listen", "udp://127.0.0.1:0", "--set", &sessions]);
    let server = server.start();
    let before = memory(server.id(), "VmRSS");
    let (_, port) = server.socket("main").rsplit_once(':').map(|(ip, port)| (ip.to_owned(), port.to_owned())).unwrap();
    let port: u16 = port.parse().unwrap();
    let mut buffer = vec![0; 100];
    for n in 0..PEERS {
        let from = Ipv4Addr::from(0x7f01_0000 + n);
        let peer = UdpSocket::bind((from, 0)).unwrap();
        peer.send_to(b"hi", ("127.0.0.1", port)).unwrap();
        if n % 16 == 0 {
            // Waits for the server, so that the kernel drops no datagram.
            assert_eq!(uninterrupted(|| peer.recv(&mut buffer)).unwrap(), 2);
        }
    }
    let mut spec = spec();
    spec.limits.sessions = SESSIONS;
    assert_peak_growth(&server, before, spec.max_memory(Kind::Datagram));
    // The memory is also far less than this many peers would need.
    assert_peak_growth(&server, before, u64::from(PEERS) * 512);
}
