//! TCP and Unix sockets, and the errors for addresses that cannot be bound.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::FutureExt;
use harness::{Client, TEST_TIMEOUT};
use socket2::SockRef;
use switchboard::prelude::*;
use switchboard_handlers::Echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::support::{Probe, Spy, connect, limits, millis, serve_spied, serve_with, socket};

async fn tcp(probe: &Probe, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> (Running, String) {
    let server = set(Server::bind("tcp://127.0.0.1:0").framing(Lines::default()));
    let running = server.start(probe.clone()).await.unwrap();
    let address = running.address().unwrap().to_string().replace("tcp://", "");
    (running, address)
}

async fn dial(address: &str) -> Client<TcpStream> {
    Client(TcpStream::connect(address).await.unwrap())
}

/// Polls until a condition holds.
async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(millis(2)).await;
        }
    };
    timeout(TEST_TIMEOUT, waiting).await.expect("the condition holds");
}

#[tokio::test]
async fn a_reset_closes_with_io_error_and_the_next_client_is_served() {
    let probe = Probe::default();
    let (_running, address) = tcp(&probe, |server| server).await;
    for message in ["beg", "hang\n", "x\nbig 10000000\n"] {
        let mut client = dial(&address).await;
        client.send(message).await;
        if message != "beg" {
            probe.called(&format!("message {}", message.trim().lines().last().unwrap()), 1).await;
        }
        SockRef::from(&client.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
    }
    assert_eq!(probe.reasons(3).await, ["io_error"; 3]);
    dial(&address).await.send("x\n").await.expect("x\n").await;
}

#[tokio::test]
async fn a_client_that_disconnects_before_accept_affects_no_other_client() {
    let probe = Probe::default();
    let (_running, address) = tcp(&probe, |server| server).await;
    for _ in 0..200 {
        let client = std::net::TcpStream::connect(&address).unwrap(); // not yet accepted: the runtime has one thread
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
    dial(&address).await.send("x\n").await.expect("x\n").await;
}

#[tokio::test]
async fn many_simultaneous_clients_are_all_served() {
    let probe = Probe::default();
    let (running, address) = tcp(&probe, |server| server).await;
    let mut clients = Vec::new();
    for n in 0..500 {
        let mut client = std::net::TcpStream::connect(&address).unwrap();
        client.write_all(format!("{n}\n").as_bytes()).unwrap();
        client.set_nonblocking(true).unwrap();
        clients.push(Client(TcpStream::from_std(client).unwrap()));
    }
    for (n, client) in clients.iter_mut().enumerate().rev() {
        client.expect(format!("{n}\n")).await;
    }
    assert_eq!(running.open(), 500);
    drop(clients);
    wait_until(async || running.open() == 0).await;
}

#[tokio::test]
async fn data_written_before_a_close_arrives_even_if_the_peer_sends_more() {
    let probe = Probe::default();
    let (_running, address) = tcp(&probe, |server| server).await;
    for _ in 0..20 {
        let mut client = dial(&address).await;
        client.send(format!("big 100000\nfinish bye\n{}", "unread\n".repeat(1000))).await;
        client.expect(format!("{}\nbye\n", "x".repeat(100_000))).await.expect_end().await;
    }
}

#[tokio::test]
async fn nodelay_and_keepalive_are_on_by_default() {
    let probe = Probe::default();
    let (running, address) = tcp(&probe, |server| server).await;
    dial(&address).await.send("x\n").await.expect("x\n").await;
    assert!(running.address().unwrap().port().unwrap() > 0, "the address has the actual port");
    let connection = probe.connection(0);
    assert_eq!(connection.local().to_string(), address);
    assert!(connection.peer().to_string().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_listener_and_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = Server::bind(format!("tcp://127.0.0.1:{port}")).name("front");
    let error = server.start(Echo).await.unwrap_err().to_string();
    assert!(error.contains("front") && error.contains(&format!("tcp://127.0.0.1:{port}")), "{error}");
    assert!(error.to_lowercase().contains("address already in use"), "{error}");
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Server::bind(format!("udp://127.0.0.1:{port}")).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains(&format!("udp://127.0.0.1:{port}")) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn addresses_that_cannot_be_bound_are_reported() {
    for (endpoint, said) in [
        ("tcp://192.0.2.1:9", "192.0.2.1:9"),
        ("nonsense:x", "there is no transport \"nonsense\"; available:"),
        ("127.0.0.1:9", "tcp://127.0.0.1:9"),
        ("unix:/nonexistent/directory/s", "/nonexistent/directory/s"),
    ] {
        let error = Server::bind(endpoint).start(Echo).await.unwrap_err().to_string();
        assert!(error.contains(said), "{endpoint}: {error}");
    }
    struct Bytes;
    impl StreamHandler for Bytes {
        async fn serve(&self, _: Connection, _: ByteStream) -> Result<()> {
            Ok(())
        }
    }
    let error = Server::bind("udp://127.0.0.1:0").start_stream(Bytes).await.unwrap_err().to_string();
    assert!(error.contains("datagrams") && error.contains("connections"), "{error}");
}

#[tokio::test]
async fn a_port_can_be_bound_again_immediately_after_a_drain() {
    // No other test uses this address, so none gets the port meanwhile.
    let server = Server::bind("tcp://127.77.0.1:0").framing(Lines::default());
    let running = server.start(Probe::default()).await.unwrap();
    let address = running.address().unwrap().to_string().replace("tcp://", "");
    dial(&address).await.send("finish bye\n").await.expect("bye\n").await.expect_end().await;
    running.drain().await;
    assert!(TcpStream::connect(&address).await.is_err(), "refused");
    let again = Server::bind(format!("tcp://{address}")).framing(Lines::default()).start(Echo).await.unwrap();
    dial(&address).await.send("x\n").await.expect("x\n").await;
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn the_connection_limit_is_exact_and_slots_are_released() {
    let served = serve_with(Probe::default(), |server| server.limits(limits(|l| l.connections = 3))).await;
    for _ in 0..3 {
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = served.connect().await;
            client.send("x\n").await.expect("x\n").await;
            clients.push(client);
        }
        assert_eq!(served.running.open(), 3);
        for _ in 0..5 {
            served.connect().await.expect_end().await;
        }
        clients[1].send("finish bye\n").await.expect("bye\n").await.expect_end().await;
        clients.remove(1);
        wait_until(async || served.running.open() == 2).await;
        let mut next = served.connect().await;
        next.send("x\n").await.expect("x\n").await;
        drop((clients, next));
        wait_until(async || served.running.open() == 0).await;
    }
    assert_eq!(served.probe.calls().iter().filter(|call| *call == "open").count(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_released_after_a_panic_an_error_and_an_abort() {
    let served = serve_with(Probe::default(), |server| server.limits(limits(|l| l.connections = 1))).await;
    for message in ["panic\n", "error\n", "stream-panic\n", "close\n", "finish\n"] {
        let mut client = served.connect().await;
        client.send(message).await.rest().await;
        wait_until(async || served.running.open() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn accept_errors_do_not_stop_the_server_and_a_failed_listener_is_bound_again() {
    let spy = Spy::default();
    // ECONNABORTED, EMFILE, ENOBUFS, EPROTO and others, in reverse order.
    spy.accept_errors.lock().unwrap().extend([103, 24, 105, 71, 95, 5, 4, 11]);
    spy.accept_errors.lock().unwrap().extend([11; 200]); // EAGAIN, many times
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    served.connect().await.send("x\n").await.expect("x\n").await;
    assert_eq!(spy.binds.load(SeqCst), 1);
    spy.accept_errors.lock().unwrap().push(9); // EBADF
    served.connect().await.send("x\n").await.expect("x\n").await; // the pending accept succeeds; the next one fails
    wait_until(async || spy.binds.load(SeqCst) == 2).await;
    connect(&served.name).await.send("x\n").await.expect("x\n").await;
}

fn at(dir: &Path, name: &str) -> (std::path::PathBuf, String) {
    let path = dir.join(name);
    let endpoint = format!("unix:{}", path.display());
    (path, endpoint)
}

#[tokio::test]
async fn a_unix_socket_serves_with_its_mode_and_is_removed_on_exit() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o660, 0o666] {
        let (path, endpoint) = at(dir.path(), "s");
        let server = Server::bind(endpoint).framing(Lines::default());
        let running = server.socket(socket(|options| options.mode = mode)).start(Echo).await.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        let mut client = Client(UnixStream::connect(&path).await.unwrap());
        client.send("x\n").await.expect("x\n").await;
        running.drain().await;
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no temporary file is left");
    }
    let (path, endpoint) = at(dir.path(), "default");
    let _running = Server::bind(endpoint).start(Echo).await.unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_stale_socket_path_is_reused() {
    let dir = tempfile::tempdir().unwrap();
    for scheme in ["unix", "unixgram"] {
        let path = dir.path().join(scheme);
        if scheme == "unix" {
            drop(StdUnixListener::bind(&path).unwrap());
        } else {
            drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
        }
        assert!(path.exists());
        let running = Server::bind(format!("{scheme}:{}", path.display())).start(Echo).await.unwrap();
        running.drain().await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_path_in_use_is_rejected_and_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, endpoint) = at(dir.path(), "s");
    let _first = Server::bind(&*endpoint).framing(Lines::default()).start(Echo).await.unwrap();
    let error = Server::bind(&*endpoint).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains(&endpoint) && error.contains("in use"), "{error}");
    let error = Server::bind(format!("unixgram:{}", path.display())).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    Client(UnixStream::connect(&path).await.unwrap()).send("x\n").await.expect("x\n").await;
}

#[tokio::test]
async fn a_path_that_is_not_a_socket_is_rejected_and_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, endpoint) = at(dir.path(), "s");
    fs::write(&path, "precious").unwrap();
    let error = Server::bind(&*endpoint).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(Server::bind(&*endpoint).start(Echo).await.is_err());
    assert!(path.symlink_metadata().unwrap().is_symlink());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(Server::bind(&*endpoint).start(Echo).await.is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[tokio::test]
async fn a_path_that_another_server_has_rebound_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, endpoint) = at(dir.path(), "s");
    let first = Server::bind(&*endpoint).start(Echo).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _second = Server::bind(&*endpoint).framing(Lines::default()).start(Echo).await.unwrap();
    let inode = path.metadata().unwrap().ino();
    first.drain().await;
    assert_eq!(path.metadata().unwrap().ino(), inode);
    assert!(path.metadata().unwrap().file_type().is_socket());
    Client(UnixStream::connect(&path).await.unwrap()).send("x\n").await.expect("x\n").await;
}

#[tokio::test]
async fn any_path_that_the_system_accepts_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let room = 107 - dir.path().as_os_str().len() - "/".len() - "/s".len();
    let parent = dir.path().join("d".repeat(room));
    fs::create_dir(&parent).unwrap();
    let path = parent.join("s");
    assert_eq!(path.as_os_str().len(), 107, "the longest path that fits into sun_path (unix(7))");
    drop(StdUnixListener::bind(&path).unwrap());
    fs::remove_file(&path).unwrap();
    let _running =
        Server::bind(format!("unix:{}", path.display())).framing(Lines::default()).start(Echo).await.unwrap();
    Client(UnixStream::connect(&path).await.unwrap()).send("x\n").await.expect("x\n").await;
    let error = Server::bind(format!("unix:{}x", path.display())).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains("it has 108 bytes; at most 107 are possible"), "{error}");
}

#[tokio::test]
async fn an_unknown_group_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (path, endpoint) = at(dir.path(), "s");
    let options = socket(|options| options.group = Some("no-such-group".to_owned()));
    let error = Server::bind(endpoint).socket(options).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains("no-such-group"), "{error}");
    assert!(!path.exists());
}

/// A transport whose first listener panics in `accept`. The second listener works.
struct PanicsOnce(std::sync::atomic::AtomicUsize);

#[switchboard::async_trait]
impl switchboard::transport::Transport for PanicsOnce {
    fn schemes(&self) -> Vec<switchboard::transport::SchemeInfo> {
        vec![switchboard::transport::SchemeInfo::new("panics-once", "panics once", Kind::Stream)]
    }

    async fn bind(&self, bind: switchboard::transport::Bind) -> std::io::Result<switchboard::transport::Listener> {
        if self.0.fetch_add(1, SeqCst) == 0 {
            return Ok(switchboard::transport::Listener::Stream(Box::new(PanickingListener)));
        }
        let inner = "mem:panics-once-inner".parse().unwrap();
        let inner = switchboard::transport::Bind::new(inner, bind.options);
        switchboard::transport::memory::Memory.bind(inner).await
    }
}

struct PanickingListener;

#[switchboard::async_trait]
impl switchboard::transport::StreamListener for PanickingListener {
    async fn accept(&mut self) -> std::io::Result<Option<switchboard::transport::Accepted>> {
        panic!("accept panics")
    }

    fn endpoint(&self) -> switchboard::Endpoint {
        "panics-once:1a".parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_is_bound_again() {
    let transport = PanicsOnce(Default::default());
    let _running = Server::bind("panics-once:1a").transport(transport).start(Echo).await.unwrap();
    sleep(millis(10)).await;
    connect("panics-once-inner").await.send("x").await.expect("x").await;
}

#[tokio::test]
async fn the_last_reply_of_a_stream_handler_arrives_despite_unread_input() {
    /// Reads a part of the input, replies and closes.
    struct ReadsPart;
    impl StreamHandler for ReadsPart {
        async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
            stream.read_exact(&mut [0; 10]).await?;
            stream.write_all(b"enough").await?;
            Ok(())
        }
    }
    let server = Server::bind("tcp://127.0.0.1:0").start_stream(ReadsPart).await.unwrap();
    let address = server.address().unwrap().to_string().replace("tcp://", "");
    for _ in 0..50 {
        let mut client = dial(&address).await;
        client.send(vec![b'x'; 100_000]).await.expect("enough").await;
        // The connection ends without a reset, which could discard the reply.
        let end = AsyncReadExt::read(&mut client.0, &mut [0]).await;
        assert!(matches!(end, Ok(0)), "{end:?}");
    }
}

/// Writes until the kernel takes no more, and then one byte.
#[derive(Clone, Default)]
struct Fill {
    is_full: Arc<Notify>,
    has_progress: Arc<Notify>,
}

impl StreamHandler for Fill {
    async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
        let full = [0; 64 * 1024];
        while let Some(written) = stream.write(&full).now_or_never() {
            written?;
        }
        self.is_full.notify_one();
        stream.write_all(b"1").await?;
        self.has_progress.notify_one();
        Ok(())
    }
}

#[tokio::test]
async fn a_client_that_reads_a_little_is_seen_to_make_progress() {
    let fill = Fill::default();
    let running = Server::bind("tcp://127.0.0.1:0").start_stream(fill.clone()).await.unwrap();
    let address = running.address().unwrap().to_string().replace("tcp://", "").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    timeout(TEST_TIMEOUT, fill.is_full.notified()).await.expect("the kernel is full");
    client.read_exact(&mut vec![0; 400 * 1024]).await.unwrap();
    timeout(TEST_TIMEOUT, fill.has_progress.notified()).await.expect("the server can write again");
}
