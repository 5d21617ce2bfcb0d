//! Upgrade: the new process takes over the sockets under load, and a failed upgrade changes nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Client, Event, Program, Running, Signal, TEST_TIMEOUT, target, unique};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::timeout;

use crate::changes::{at, lines, listener_set, made, start};
use crate::support::{Probe, connect};

#[tokio::test(start_paused = true)]
async fn the_old_process_serves_open_connections_and_the_new_process_new_ones() {
    let (old, new) = (Probe::default(), Probe::default());
    let before = start(at("main", "tcp://127.0.0.1:0"), &old).await;
    let address = before.address().unwrap();
    let to = format!("127.0.0.1:{}", address.port().unwrap());
    let connect = async || Client(tokio::net::TcpStream::connect(&to).await.unwrap());
    let (mut busy, mut idle) = (connect().await, connect().await);
    busy.send("wait busy\n").await;
    old.called("message wait busy", 1).await;
    let mut next = listener_set();
    // Port 0 keeps its actual port only for the same listener.
    next.inherit(before.sockets());
    next.listen(lines(at("main", "tcp://127.0.0.1:0")), &made(&new));
    next.listen(lines(at("more", "tcp://127.0.0.1:0")), &made(&new));
    let next = next.start().await.unwrap();
    let addresses = next.addresses();
    assert_eq!(addresses[0].1, address);
    assert_ne!(addresses[1].1, address);
    let handing = tokio::spawn(async move {
        before.hand_over().await;
        before.close_idle().await;
        before.drain().await
    });
    idle.expect_end().await;
    let mut fresh = connect().await;
    fresh.send("hi\n").await.expect("hi\n").await;
    assert_eq!(new.calls().iter().filter(|call| *call == "message hi").count(), 1);
    old.gate.add_permits(1);
    busy.expect("waited\n").await.expect_end().await;
    assert_eq!(timeout(TEST_TIMEOUT, handing).await.unwrap().unwrap().cut, 0);
    next.take_socket_paths();
    assert_eq!(next.drain().await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_continuously_is_served_until_the_drain() {
    let probe = Probe::default();
    let name = unique("upgrade"); // paused time would pass while a socket waits for the kernel
    let before = Arc::new(start(at("main", &format!("mem:{name}")), &probe).await);
    let mut client = connect(&name).await;
    client.send("one\n").await.expect("one\n").await;
    let began = tokio::time::Instant::now();
    let handing = tokio::spawn({
        let before = before.clone();
        async move {
            before.hand_over().await;
            before.close_idle().await;
        }
    });
    while !handing.is_finished() {
        client.send("again\n").await.expect("again\n").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Two thirds of the drain deadline of 30 s.
    assert!((20..22).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(before.is_stopping());
    assert!(before.readiness().is_ready(), "another process accepts on the sockets");
    assert_eq!(before.drain().await.cut, 0);
    client.expect_end().await;
    assert_eq!(began.elapsed().as_secs() / 2, 10, "the drain has no announce phase and does not wait");
}

/// A server started from a path that can be replaced with another program.
pub(crate) struct Installed {
    pub(crate) running: Option<Running>,
    pub(crate) place: tempfile::TempDir,
    pub(crate) current: u32,
    /// The timestamp of the last event found by `next`.
    seen: String,
}

impl Installed {
    pub(crate) fn start(config: &str) -> Self {
        drop(Program::switchboard()); // builds the binary
        Self::start_program(&target().join("switchboard"), config)
    }

    pub(crate) fn start_program(program: &Path, config: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("switchboard.toml"), config).unwrap();
        let path = place.path().join("server");
        link(program, &path);
        let running = Program::at(&path).current_dir(place.path()).spawn();
        running.wait_for_event(|event| event["message"] == "listening");
        let current = running.id();
        Self { running: Some(running), place, current, seen: String::new() }
    }

    pub(crate) fn log(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn install(&self, program: &Path) {
        let path = self.place.path().join("next");
        link(program, &path);
        fs::rename(path, self.place.path().join("server")).unwrap();
    }

    /// Waits for the next event with this message.
    pub(crate) fn next(&mut self, message: &str) -> Event {
        let after = self.seen.clone();
        let is_later = |event: &Event| event["timestamp"].as_str() > Some(&after);
        let event = self.log().wait_for_event(|event| event["message"] == message && is_later(event));
        event["timestamp"].as_str().unwrap().clone_into(&mut self.seen);
        event
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.current.cast_signed()), signal).unwrap();
    }

    pub(crate) fn upgrade(&mut self) {
        self.signal(Signal::SIGUSR2);
        self.current = u32::try_from(self.next("upgraded")["pid"].as_u64().unwrap()).unwrap();
    }

    pub(crate) fn upgrade_is_rejected(&mut self) -> String {
        self.signal(Signal::SIGUSR2);
        self.next("upgrade rejected")["error"].as_str().unwrap().to_owned()
    }

    /// Stops the current process and returns the complete log.
    pub(crate) fn stop(&mut self) -> String {
        self.signal(Signal::SIGTERM);
        let ended = self.running.take().unwrap().wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        ended.stderr
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

fn link(program: &Path, path: &Path) {
    symlink(program, path).unwrap();
}

pub(crate) fn script(place: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = place.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn read_line(client: &mut impl BufRead) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

/// Runs clients one after another, each with some requests, until stopped. A rejected client or lost reply panics.
fn run_clients(address: String, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>, requests: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(SeqCst) {
            let io = TcpStream::connect(&address).expect("no client is rejected");
            io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            let mut client = BufReader::new(io);
            assert_eq!(read_line(&mut client), "welcome!\n");
            for request in 0..requests {
                writeln!(client.get_mut(), "{request}").unwrap();
                assert_eq!(read_line(&mut client), format!("hello, {request}!\n"));
            }
            client.get_mut().write_all(b"exit\n").unwrap();
            assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
            served.fetch_add(1, SeqCst);
        }
    })
}

#[test]
fn twenty_upgrades_under_load_reject_no_client_and_lose_no_reply() {
    let config = "[log]\nlevel = 'info,switchboard::connection=warn'\n\
                  [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n";
    let mut server = Installed::start(config);
    let address = server.log().socket("main");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        [1, 3, 300].map(|requests| run_clients(address.clone(), stop.clone(), served.clone(), requests)).into();
    let good = target().join("switchboard");
    let broken = ["exit 7", "sleep 1000 &\nexit 7", "echo ready >&3\nexit 7"];
    let broken =
        [0, 1, 2].map(|at| script(server.place.path(), &format!("b{at}"), &format!("#!/bin/sh\n{}\n", broken[at])));
    let (mut upgraded, mut refused) = (0, 0);
    for round in 0..20 {
        let before = served.load(SeqCst);
        // A successful upgrade takes several seconds, because the new process must keep running first.
        if round % 4 == 3 {
            server.install(&good);
            server.upgrade();
            upgraded += 1;
        } else {
            server.install(&broken[round % 4]);
            let error = server.upgrade_is_rejected();
            assert!(error.contains("it ended with exit status 7"), "{error}");
            refused += 1;
        }
        let deadline = Instant::now() + TEST_TIMEOUT;
        while served.load(SeqCst) < before + 3 {
            assert!(
                Instant::now() < deadline && clients.iter().all(|client| !client.is_finished()),
                "clients are served"
            );
            thread::yield_now();
        }
    }
    stop.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!((upgraded, refused), (5, 15));
    let log = server.stop();
    assert_eq!(log.matches("\"message\":\"upgraded\"").count(), upgraded);
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_failed_upgrade_changes_nothing_and_logs_the_reason() {
    let config = "[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\n";
    let mut server = Installed::start(config);
    let place = server.place.path().to_owned();
    let client = TcpStream::connect(server.log().socket("main")).unwrap();
    fs::write(place.join("switchboard.toml"), config.to_owned() + "framing = 'lnies'\n").unwrap();
    let error = server.upgrade_is_rejected();
    assert!(error.contains("exit status 78"), "{error}");
    server.log().stderr().contains("lnies").then_some(()).expect("the errors are on standard error");
    fs::write(place.join("switchboard.toml"), config.to_owned() + "[listeners.far]\nlisten = 'tcp://203.0.113.1:1'\n")
        .unwrap();
    assert!(server.upgrade_is_rejected().contains("exit status 1;"));
    fs::write(place.join("switchboard.toml"), config).unwrap();
    server.install(Path::new("/nonexistent"));
    assert!(server.upgrade_is_rejected().contains("cannot start "));
    server.install(&script(&place, "mumbles", "#!/bin/sh\necho what >&3\nexec sleep 1000\n"));
    assert!(server.upgrade_is_rejected().contains("it replied \"what\""));
    server.install(&script(&place, "leaves", "#!/bin/sh\nexec 3>&-\nexec sleep 1000\n"));
    assert!(server.upgrade_is_rejected().contains("it is not a compatible switchboard binary"));
    let mut client = BufReader::new(client);
    client.get_ref().set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut welcome = [0; 8];
    client.read_exact(&mut welcome).unwrap();
    client.get_mut().write_all(b"Ada").unwrap();
    let mut answer = [0; 11];
    client.read_exact(&mut answer).unwrap();
    assert_eq!((&welcome, &answer), (b"welcome!", b"hello, Ada!"));
    drop(client);
    // A stop signal during an upgrade stops both processes.
    let hangs = script(&place, "hangs", "#!/bin/sh\necho $$ > pid\nexec sleep 1000\n");
    server.install(&hangs);
    server.signal(Signal::SIGUSR2);
    let deadline = Instant::now() + TEST_TIMEOUT;
    let pid = loop {
        assert!(Instant::now() < deadline, "the new process starts");
        match fs::read_to_string(place.join("pid")).ok().and_then(|text| text.trim().parse().ok()) {
            Some(pid) => break Pid::from_raw(pid),
            None => thread::yield_now(),
        }
    };
    server.stop();
    while kill(pid, None).is_ok() {
        assert!(Instant::now() < deadline, "the new process is still running");
        thread::yield_now();
    }
}

#[test]
fn sockets_of_every_kind_survive_upgrades_and_a_path_is_removed_at_the_end() {
    let config = "[admin]\nlisten = 'unix:admin'\n\
                  [listeners.stream]\nlisten = 'unix:stream'\nhandler = 'echo'\n\
                  [listeners.gram]\nlisten = 'unixgram:gram'\nhandler = 'echo'\n\
                  [listeners.udp]\nlisten = 'udp://127.0.0.1:0'\nhandler = 'echo'\n";
    let mut server = Installed::start(config);
    let place = server.place.path().to_owned();
    server.log().wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let to = server.log().socket("udp");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    udp.connect(to).unwrap();
    for _ in 0..2 {
        server.upgrade();
        let mut stream = UnixStream::connect(place.join("stream")).unwrap();
        stream.write_all(b"hi").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        udp.send(b"hi").unwrap();
        assert_eq!(udp.recv(&mut [0; 9]).unwrap(), 2);
        let mut admin = UnixStream::connect(place.join("admin")).unwrap();
        admin.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ready\n"), "{answer}");
        // Without connections too, the old process drains and says so.
        server.next("drained");
    }
    // Neither a failed upgrade nor the exit of the old process removes a socket path.
    server.install(&script(&place, "broken", "#!/bin/sh\nexit 7\n"));
    server.upgrade_is_rejected();
    assert!(["admin", "stream", "gram"].iter().all(|path| place.join(path).exists()));
    server.stop();
    assert!(["admin", "stream", "gram"].iter().all(|path| !place.join(path).exists()));
}
