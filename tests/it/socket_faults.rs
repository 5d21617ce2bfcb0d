//! Sockets in hostile or changing surroundings: replaced paths, several addresses, lost paths and addresses.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use harness::{
    Client, Program, Running as Process, Signal, TEST_TIMEOUT, free_port, target, tool, uninterrupted, unique,
};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{ListenerSpec, ReloadError};
use switchboard::settings::SocketOptions;
use switchboard::transport::Transports;
use switchboard_handlers::Echo;

use crate::support::socket;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// A directory in which everyone can replace files.
fn shared_directory() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    place
}

/// Waits until a condition holds.
async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(TEST_TIMEOUT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

/// A set of listeners that reply with their names.
fn named(listeners: &[(&str, &str, SocketOptions)]) -> ListenerSet {
    let mut set = ListenerSet::new(Transports::default());
    for (name, endpoint, options) in listeners {
        let own: Bytes = Bytes::from((*name).to_owned());
        let handler = HandlerInstance::new(handler_fn(move |_: Context, _: Bytes| {
            let own = own.clone();
            async move { Ok(Reply::send(own)) }
        }));
        let mut spec = ListenerSpec::new(*name, endpoint.parse().unwrap());
        spec.socket = options.clone();
        set.listen(spec, &handler);
    }
    set
}

fn plain() -> SocketOptions {
    SocketOptions::default()
}

/// Replaces the path of a socket as soon as it appears, like another user who can write to its directory.
struct Attacker {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Attacker {
    /// `replace` puts something at the path of the server.
    fn start(path: PathBuf, replace: impl Fn(&Path) + Send + 'static) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (stop, swaps) = (stop.clone(), swaps.clone());
            let aside = path.with_extension("aside");
            move || {
                while !stop.load(SeqCst) {
                    let is_socket = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
                    if is_socket && fs::rename(&path, &aside).is_ok() {
                        replace(&path);
                        swaps.fetch_add(1, SeqCst);
                        let _ = fs::remove_file(&aside);
                    }
                }
            }
        });
        Self { stop, swaps, thread: Some(thread) }
    }

    fn swaps(&self) -> usize {
        self.swaps.load(SeqCst)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Starts this many servers. A start may fail; the victim keeps its mode and group.
async fn start_under_attack(scheme: &str, path: &Path, attacker: &Attacker, victim: &Path, attempts: usize) {
    let before = (mode(victim), victim.symlink_metadata().unwrap().gid());
    let mut won = Vec::new();
    let deadline = Instant::now() + TEST_TIMEOUT;
    // On a busy machine the attacker may not run during the first attempts.
    for start in (0..).take_while(|start| *start < attempts || (attacker.swaps() == 0 && Instant::now() < deadline)) {
        let group = geteuid().is_root().then(|| "12345".to_owned());
        let options = socket(|options| (options.mode, options.group) = (0o666, group));
        let running = Server::bind(format!("{scheme}:{}", path.display())).socket(options).start(Echo).await;
        drop(running);
        if (mode(victim), victim.symlink_metadata().unwrap().gid()) != before {
            won.push(start);
            fs::set_permissions(victim, fs::Permissions::from_mode(before.0)).unwrap();
            std::os::unix::fs::chown(victim, None, Some(before.1)).unwrap();
        }
        let _ = fs::remove_file(path);
    }
    assert!(won.is_empty(), "the attacker won {} of {attempts} times: {won:?}", won.len());
    assert!(attacker.swaps() > 0, "the attacker never replaced the path");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_replaced_during_a_start_never_changes_the_mode_or_group_of_another_file() {
    const STARTS: usize = 250; // for each of four attacks
    let place = shared_directory();
    let file = place.path().join("file");
    fs::write(&file, "secret").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    // A socket of the same user, as if another program of the user had bound it.
    let (stream, datagram) = (place.path().join("stream"), place.path().join("datagram"));
    let _victims = (UnixListener::bind(&stream).unwrap(), UnixDatagram::bind(&datagram).unwrap());
    for socket in [&stream, &datagram] {
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for scheme in ["unix", "unixgram"] {
        for (victim, is_link) in [(&file, true), (&directory, true), (&stream, false), (&datagram, false)] {
            let path = place.path().join(unique(scheme));
            let target = victim.clone();
            let attacker = Attacker::start(path.clone(), move |path| {
                let replaced = if is_link { symlink(&target, path) } else { fs::hard_link(&target, path) };
                replaced.unwrap_or_default(); // the server may be faster
            });
            start_under_attack(scheme, &path, &attacker, victim, STARTS).await;
        }
    }
}

#[tokio::test]
async fn a_socket_in_a_shared_directory_has_its_mode_its_group_and_its_own_name() {
    let place = shared_directory();
    let path = place.path().join("s");
    let group = geteuid().is_root().then(|| "12345".to_owned());
    for file_mode in [0o600, 0o660, 0o666, 0o020] {
        let options = socket(|options| (options.mode, options.group) = (file_mode, group.clone()));
        let endpoint = format!("unix:{}", path.display());
        let running = Server::bind(endpoint).socket(options.clone()).start(Echo).await.unwrap();
        assert_eq!(mode(&path), file_mode);
        if group.is_some() {
            assert_eq!(path.metadata().unwrap().gid(), 12345);
            let client = UnixStream::connect(&path).unwrap();
            assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        }
        running.drain().await;
        // A stale file of a server that was killed.
        drop(UnixDatagram::bind(&path).unwrap());
        let running = Server::bind(format!("unixgram:{}", path.display())).socket(options).start(Echo).await.unwrap();
        assert_eq!(mode(&path), file_mode);
        if geteuid().is_root() {
            let client = tokio::net::UnixDatagram::bind(place.path().join("client")).unwrap();
            client.send_to(b"ping", &path).await.unwrap();
            let mut reply = [0; 10];
            let (count, from) = client.recv_from(&mut reply).await.unwrap();
            assert_eq!((&reply[..count], from.as_pathname()), (&b"ping"[..], Some(&*path)));
            fs::remove_file(place.path().join("client")).unwrap();
        }
        running.drain().await;
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "no temporary file is left");
    }
}

#[tokio::test]
async fn a_reload_never_changes_the_mode_of_a_file_that_has_replaced_the_path() {
    for scheme in ["unix", "unixgram"] {
        let place = shared_directory();
        let (path, victim) = (place.path().join("s"), place.path().join("victim"));
        let endpoint = format!("{scheme}:{}", path.display());
        let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        let changed = socket(|options| options.mode = 0o666);
        let error = running.reload(named(&[("a", &endpoint, changed)])).await.unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        running.drain().await;
        assert_eq!(mode(&victim), 0o600);
        assert!(path.symlink_metadata().unwrap().is_symlink(), "the file of someone else stays");
    }
}

#[tokio::test]
async fn abstract_sockets_serve_without_a_file() {
    let name = unique("switchboard");
    let endpoint = format!("unix:@{name}");
    let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
    assert_eq!(running.address().unwrap().to_string(), endpoint);
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let connect = || {
        let stream = UnixStream::connect_addr(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Client(tokio::net::UnixStream::from_std(stream).unwrap())
    };
    connect().send("x").await.expect("a").await;
    assert!(!Path::new(&format!("@{name}")).exists());
    let error = Server::bind(&*endpoint).start(Echo).await.unwrap_err().to_string();
    assert!(error.contains(&endpoint) && error.contains("in use"), "{error}");
    assert!(running.readiness().is_ready());
    let changed = socket(|options| options.backlog = 7);
    running.reload(named(&[("a", &endpoint, changed)])).await.unwrap();
    connect().send("x").await.expect("a").await;
    running.drain().await;
    assert!(UnixStream::connect_addr(&address).is_err());

    // The names of datagram sockets are separate.
    let running = named(&[("a", &endpoint, plain()), ("b", &format!("unixgram:@{name}"), plain())]);
    let running = running.start().await.unwrap();
    let client_name = SocketAddr::from_abstract_name(unique("client")).unwrap();
    let client = UnixDatagram::bind_addr(&client_name).unwrap();
    client.send_to_addr(b"x", &address).unwrap();
    client.set_nonblocking(true).unwrap();
    let client = tokio::net::UnixDatagram::from_std(client).unwrap();
    let mut reply = [0; 10];
    let count = client.recv(&mut reply).await.unwrap();
    assert_eq!(&reply[..count], b"b");
    running.drain().await;
    for (text, part) in [("unix:@", "a name must follow"), ("unix:", "a path must follow"), ("unix:/a\0b", "NUL")] {
        let error = text.parse::<switchboard::Endpoint>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// The name of the listener that answers at an address.
async fn answer(scheme: &str, address: &str, port: u16) -> String {
    let to = format!("{address}:{port}");
    let mut reply = [0; 10];
    let count = if scheme == "udp" {
        let local = if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
        let client = tokio::net::UdpSocket::bind(local).await.unwrap();
        client.connect(&to).await.unwrap();
        client.send(b"x").await.unwrap();
        client.recv(&mut reply).await.unwrap()
    } else {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut client = tokio::net::TcpStream::connect(&to).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.read(&mut reply).await.unwrap()
    };
    String::from_utf8_lossy(&reply[..count]).into_owned()
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: this machine has no IPv6");
    }
    has
}

#[tokio::test]
async fn both_wildcard_addresses_can_have_the_same_port() {
    if !has_ipv6() {
        return;
    }
    for scheme in ["tcp", "udp"] {
        let port = free_port();
        let (four, six) = (format!("{scheme}://0.0.0.0:{port}"), format!("{scheme}://[::]:{port}"));
        for order in [[("four", &*four), ("six", &*six)], [("six", &*six), ("four", &*four)]] {
            let listeners = order.map(|(name, endpoint)| (name, endpoint, plain()));
            let running = named(&listeners).start().await.unwrap();
            assert_eq!(answer(scheme, "127.0.0.1", port).await, "four");
            assert_eq!(answer(scheme, "[::1]", port).await, "six");
            // A reload removes one and adds it again.
            for kept in &listeners {
                running.reload(named(std::slice::from_ref(kept))).await.unwrap();
                running.reload(named(&listeners)).await.unwrap();
                assert_eq!(answer(scheme, "127.0.0.1", port).await, "four");
                assert_eq!(answer(scheme, "[::1]", port).await, "six");
            }
            running.drain().await;
        }
    }
}

#[tokio::test]
async fn an_address_that_another_listener_uses_is_reported_with_its_name() {
    let place = tempfile::tempdir().unwrap();
    symlink(place.path(), place.path().join("link")).unwrap();
    let port = free_port();
    let path = |name: &str| format!("unix:{}", place.path().join(name).display());
    for (first, second) in [
        (format!("tcp://0.0.0.0:{port}"), format!("tcp://127.0.0.1:{port}")),
        (format!("tcp://127.0.0.1:{port}"), format!("tcp://localhost:{port}")),
        (format!("udp://127.0.0.1:{port}"), format!("udp://127.0.0.1:{port}")),
        (path("s"), path("link/s")),
        (path("s"), path("s").replace("unix:", "unixgram:")),
        ("unix:@switchboard-twice".to_owned(), "unix:@switchboard-twice".to_owned()),
    ] {
        let both = [("first", &*first, plain()), ("second", &*second, plain())];
        let error = named(&both).start().await.unwrap_err().to_string();
        assert!(error.contains("listener second") && error.contains("listener first of this server"), "{error}");
        let running = named(&both[..1]).start().await.unwrap();
        let error = running.reload(named(&both)).await.unwrap_err();
        assert!(matches!(error, ReloadError::Start(_)));
        assert!(error.to_string().contains("listener first of this server"), "{error}");
        running.drain().await;
    }
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = named(&[("a", &format!("tcp://127.0.0.1:{port}"), plain())]).start().await.unwrap_err().to_string();
    assert!(!error.contains("of this server"), "{error}");
}

#[tokio::test]
async fn a_removed_path_of_a_unix_socket_is_bound_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let endpoint = format!("unix:{}", path.display());
    let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
    let connect = async || Client(tokio::net::UnixStream::connect(&path).await.unwrap());
    let mut open = connect().await;
    open.send("x").await.expect("a").await;
    // Removed, renamed, replaced by a file that is not a socket, and with its directory.
    let aside = place.path().join("aside");
    let changes: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&path).unwrap(), &|| fs::rename(&path, &aside).unwrap(), &|| {
            fs::remove_file(&path).unwrap();
            drop(UnixListener::bind(&path).unwrap());
        }];
    for change in changes {
        change();
        let readiness = format!("{:?}", running.readiness());
        assert!(readiness.contains("listener a") && readiness.contains("path"), "{readiness}");
        wait_until("the path is bound again", || running.readiness().is_ready()).await;
        connect().await.send("x").await.expect("a").await;
        // A reload does not wait for the next check.
        change();
        running.reload(named(&[("a", &endpoint, plain())])).await.unwrap();
        assert!(running.readiness().is_ready());
        connect().await.send("x").await.expect("a").await;
        open.send("x").await.expect("a").await;
    }
    running.drain().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_another_server_has_taken_is_not_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let endpoint = format!("unix:{}", path.display());
    let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    assert!(!running.readiness().is_ready());
    let error = running.reload(named(&[("a", &endpoint, plain())])).await.unwrap_err().to_string();
    assert!(error.contains("in use") && !error.contains("of this server"), "{error}");
    // Several checks later the other server still has the path.
    tokio::time::sleep(Duration::from_secs(3)).await;
    other.set_nonblocking(true).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    while other.accept().is_ok() {}
    assert!(!running.readiness().is_ready());
    // The accept loop has closed its socket by now. A reload is rejected nevertheless.
    let error = running.reload(named(&[("a", &endpoint, plain())])).await.unwrap_err().to_string();
    assert!(error.contains("in use") && !error.contains("of this server"), "{error}");
    drop(other);
    wait_until("the path is bound again", || running.readiness().is_ready()).await;
    Client(tokio::net::UnixStream::connect(&path).await.unwrap()).send("x").await.expect("a").await;
}

#[tokio::test]
async fn a_reload_reports_a_path_that_still_cannot_be_bound() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let endpoint = format!("unix:{}", path.display());
    let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
    for is_directory in [false, true] {
        fs::remove_file(&path).unwrap();
        if is_directory { fs::create_dir(&path) } else { fs::write(&path, "a file") }.unwrap();
        wait_until("the listener is down", || {
            let readiness = format!("{:?}", running.readiness());
            readiness.contains("listener a") && !readiness.contains("path")
        })
        .await;
        let error = running.reload(named(&[("a", &endpoint, plain())])).await.unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        // The reload binds it, or the accept loop has done so in the meantime.
        running.reload(named(&[("a", &endpoint, plain())])).await.unwrap();
        assert!(running.readiness().is_ready());
        Client(tokio::net::UnixStream::connect(&path).await.unwrap()).send("x").await.expect("a").await;
    }
}

#[tokio::test]
async fn a_reload_binds_the_removed_path_of_a_datagram_socket_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let endpoint = format!("unixgram:{}", path.display());
    let running = named(&[("a", &endpoint, plain())]).start().await.unwrap();
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        assert!(!running.readiness().is_ready());
        running.reload(named(&[("a", &endpoint, plain())])).await.unwrap();
        assert!(running.readiness().is_ready());
        let client = tokio::net::UnixDatagram::bind(place.path().join("client")).unwrap();
        client.send_to(b"x", &path).await.unwrap();
        let mut reply = [0; 10];
        assert_eq!(client.recv(&mut reply).await.unwrap(), 1);
        fs::remove_file(place.path().join("client")).unwrap();
    }
    running.drain().await;
    assert!(!path.exists());
}

#[test]
fn the_service_manager_can_listen_on_an_abstract_socket() {
    let name = unique("notify");
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let server = Program::switchboard().args(["serve", "--listen", "tcp://127.0.0.1:0"]);
    let server = server.env("NOTIFY_SOCKET", format!("@{name}")).start();
    let mut buffer = [0; 100];
    let count = uninterrupted(|| socket.recv(&mut buffer)).unwrap();
    assert_eq!(&buffer[..count], b"READY=1\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_invalid_notification_socket_is_one_warning() {
    let long = format!("/{}", "x".repeat(200));
    for value in ["relative", "vsock:2:1234", "@", &long, "", "/no/such/socket"] {
        let server = Program::switchboard().args(["serve", "--listen", "tcp://127.0.0.1:0"]);
        let server = server.env("NOTIFY_SOCKET", value).start();
        server.socket("main");
        server.signal(Signal::SIGHUP);
        server.wait_for_event(|event| event["message"] == "reloaded");
        server.signal(Signal::SIGTERM);
        let output = server.wait();
        assert_eq!(output.code(), Some(0), "{value}");
        let warnings = output.stderr.lines().filter(|line| line.contains("WARN")).count();
        assert_eq!(warnings, usize::from(!value.is_empty()), "{value}: {}", output.stderr);
    }
}

/// Runs a shell command in new namespaces, then the server. `None` if this machine does not allow that.
pub(crate) fn in_namespaces(flags: &[&str], setup: &str, place: &Path, args: &[&str]) -> Option<Program> {
    let unshare = tool("unshare")?;
    if !Command::new(&unshare).args(flags).arg("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must be able to create namespaces");
        eprintln!("skipped: no privilege to create namespaces");
        return None;
    }
    drop(Program::switchboard()); // builds the binary
    let script = format!("{setup} && exec \"$0\" \"$@\"");
    let server = target().join("switchboard");
    let program = Program::at(&unshare).args(flags).args(["sh", "-c", &script]).arg(server);
    Some(program.args(args).current_dir(place))
}

/// The status of `GET /readyz` on a Unix socket, and the body.
fn readyz(admin: &Path) -> String {
    let Ok(mut io) = UnixStream::connect(admin) else { return String::new() };
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    io.read_to_string(&mut response).unwrap();
    response
}

fn listening(server: &Process, address: &str) -> u16 {
    let prefix = format!("{address}:");
    let event = server.wait_for_event(|event| {
        event["message"] == "listening" && event["address"].as_str().is_some_and(|at| at.starts_with(&prefix))
    });
    event["address"].as_str().unwrap()[prefix.len()..].parse().unwrap()
}

#[test]
fn a_host_name_is_bound_on_all_its_addresses() {
    let place = tempfile::tempdir().unwrap();
    let admin = place.path().join("admin");
    fs::write(place.path().join("hosts"), "127.0.0.1 several\n127.0.0.2 several\n127.0.0.2 several\n").unwrap();
    let config = format!(
        "admin.listen = 'unix:{}'\n[listeners.t]\nlisten = 'tcp://several:0'\nhandler = 'echo'\n\
         [listeners.u]\nlisten = 'udp://several:0'\nhandler = 'echo'\n",
        admin.display()
    );
    fs::write(place.path().join("switchboard.toml"), config).unwrap();
    let setup = "mount --bind hosts /etc/hosts";
    let Some(program) = in_namespaces(&["--mount"], setup, place.path(), &["serve"]) else { return };
    let mut server = program.spawn();
    let addresses = ["127.0.0.1", "127.0.0.2"];
    let [tcp, udp] = ["tcp", "udp"].map(|scheme| {
        let ports = addresses.map(|address| listening(&server, &format!("{scheme}://{address}")));
        assert_eq!(ports[0], ports[1], "all addresses have the same port");
        ports[0]
    });
    let all_are_served = || {
        for address in addresses {
            let mut client = TcpStream::connect((address, tcp)).unwrap();
            client.write_all(b"ping").unwrap();
            let mut reply = [0; 4];
            client.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"ping");
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            client.connect((address, udp)).unwrap(); // accepts a reply from this address only
            client.send(b"ping").unwrap();
            assert_eq!(uninterrupted(|| client.recv(&mut reply)).unwrap(), 4);
        }
    };
    all_are_served();
    server.wait_until("it is ready", || readyz(&admin).contains(" 200 "));
    let config = fs::read_to_string(place.path().join("switchboard.toml")).unwrap();
    fs::write(place.path().join("switchboard.toml"), format!("socket.backlog = 99\n{config}")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_event(|event| event["message"] == "reloaded");
    all_are_served();
    server.signal(Signal::SIGUSR2);
    let upgraded = server.wait_for_event(|event| event["message"] == "upgraded");
    all_are_served();
    let pid = Pid::from_raw(upgraded["pid"].as_i64().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap(); // not a child of this test
}

#[test]
fn a_port_in_use_on_one_address_of_a_host_name_is_reported_with_the_address() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("hosts"), "127.0.0.1 several\n127.0.0.2 several\n").unwrap();
    let other = TcpListener::bind("127.0.0.2:0").unwrap();
    let listen = format!("tcp://several:{}", other.local_addr().unwrap().port());
    let setup = "mount --bind hosts /etc/hosts";
    let args = ["serve", "--listen", &listen];
    let Some(program) = in_namespaces(&["--mount"], setup, place.path(), &args) else { return };
    let output = program.run();
    assert_eq!(output.code(), Some(1));
    assert!(output.stderr.contains("127.0.0.2"), "{}", output.stderr);
}

#[test]
fn an_address_that_an_interface_loses_is_reported_until_it_returns() {
    let (Some(_), Some(nsenter)) = (tool("ip"), tool("nsenter")) else { return };
    let place = tempfile::tempdir().unwrap();
    let admin = place.path().join("admin");
    let set = format!("admin.listen=unix:{}", admin.display());
    let setup = "ip link set lo up && ip addr add 10.99.0.1/24 dev lo";
    let args = ["serve", "--listen", "tcp://10.99.0.1:0", "--set", &set];
    let Some(program) = in_namespaces(&["--net"], setup, place.path(), &args) else { return };
    let mut server = program.spawn();
    server.wait_until("it is ready", || readyz(&admin).contains(" 200 "));
    let address = |change: &str| {
        let pid = server.id().to_string();
        let run = [&format!("--target={pid}"), "--net", "ip", "addr", change, "10.99.0.1/24", "dev", "lo"];
        assert!(Command::new(&nsenter).args(run).status().unwrap().success());
    };
    for _ in 0..2 {
        address("del");
        let body = readyz(&admin);
        assert!(body.contains(" 503 ") && body.contains("listener main") && body.contains("10.99.0.1"), "{body}");
        server.wait_for_event(|event| event["message"] == "listener unreachable");
        address("add");
        assert!(readyz(&admin).contains(" 200 "));
    }
}

#[test]
fn a_configuration_file_that_disappears_stops_neither_the_server_nor_its_listeners() {
    for removed in ["switchboard.toml", ""] {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("work");
        fs::create_dir(&directory).unwrap();
        let text = "[listeners.a]\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'echo'\n";
        fs::write(directory.join("switchboard.toml"), text).unwrap();
        let server = Program::switchboard().arg("serve").current_dir(&directory).start();
        let address = server.socket("a");
        // The file, or the whole working directory.
        if removed.is_empty() {
            fs::remove_dir_all(&directory).unwrap();
        } else {
            fs::remove_file(directory.join(removed)).unwrap();
        }
        for (signal, message) in [(Signal::SIGHUP, "reload rejected"), (Signal::SIGUSR2, "upgrade rejected")] {
            server.signal(signal);
            let event = server.wait_for_event(|event| event["message"] == message);
            assert!(event["error"].as_str().unwrap().contains("switchboard.toml no longer exists"), "{event:?}");
        }
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"ping").unwrap();
        let mut reply = [0; 4];
        client.read_exact(&mut reply).unwrap();
        server.signal(Signal::SIGTERM);
        drop(client);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_token_file_that_disappears_rejects_a_reload_and_changes_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let admin = place.path().join("admin");
    fs::write(place.path().join("token"), "secret\n").unwrap();
    let config = format!(
        "listen = 'tcp://127.0.0.1:0'\nadmin = {{ listen = 'unix:{}', token_file = 'token' }}\n",
        admin.display()
    );
    fs::write(place.path().join("switchboard.toml"), config).unwrap();
    let mut server = Program::switchboard().arg("serve").current_dir(place.path()).start();
    server.wait_until("it is ready", || readyz(&admin).contains(" 200 "));
    fs::remove_file(place.path().join("token")).unwrap();
    server.signal(Signal::SIGHUP);
    let event = server.wait_for_event(|event| event["message"] == "reload rejected");
    assert!(event["error"].as_str().unwrap().contains("token"), "{event:?}");
    assert!(readyz(&admin).contains(" 200 "));
    fs::write(place.path().join("token"), "secret\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_event(|event| event["message"] == "reloaded");
}
