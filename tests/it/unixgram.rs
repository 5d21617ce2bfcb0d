//! Unix datagrams: a reply reaches only the client that sent the request, and no client stops the replies to others.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{env, fs, iter, thread};

use harness::{Program, Running, TEST_TIMEOUT, tool, uninterrupted};
use nix::libc::ucred;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::{Uid, chdir, chroot, getpid};
use switchboard::Server;
use switchboard_handlers::Echo;

use crate::datagram_faults::echo;

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
    let bytes = uninterrupted(|| client.recv(&mut reply)).unwrap_or_else(|error| panic!("{what}: {error}"));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_as_soon_as_the_path_exists_is_answered() {
    for nth in 0..200 {
        let place = tempfile::tempdir().unwrap();
        let (path, own) = (place.path().join("server"), place.path().join("client"));
        let at = path.clone();
        let asking = thread::spawn(move || {
            let client = UnixDatagram::bind(own).unwrap();
            client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            let deadline = Instant::now() + TEST_TIMEOUT;
            while client.send_to(b"x", &at).is_err() {
                assert!(Instant::now() < deadline, "the server does not start");
            }
            expect_reply(&client, &format!("start {nth}"));
        });
        let _running = Server::bind(format!("unixgram:{}", path.display())).start(Echo).await.unwrap();
        tokio::task::spawn_blocking(|| asking.join().unwrap()).await.unwrap();
    }
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
            answered += usize::from(uninterrupted(|| client.recv(&mut [0; 9])).is_ok());
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
        let started = Instant::now();
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
            uninterrupted(|| client.recv(&mut reply)).ok().map(|bytes| reply[..bytes] == *text.as_bytes())
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
            uninterrupted(|| slow.recv(&mut reply)).is_ok_and(|bytes| &reply[..bytes] == b"again")
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
