//! Socket activation with the systemd protocol (sd_listen_fds(3)): sockets of any kind, passed by name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, free_port, target, tool};

use crate::tls::Authority;

/// Binds sockets (`name=kind`, or `name=kind=path` for Unix sockets) and executes the program after `--`.
const LAUNCHER: &str = "
import os, socket, sys
split = sys.argv.index('--')
names, kept = [], []
for word in sys.argv[1:split]:
    name, kind, *path = word.split('=')
    family = socket.AF_INET if kind in ('tcp', 'udp') else socket.AF_UNIX
    one = socket.socket(family, socket.SOCK_STREAM if kind in ('tcp', 'unix') else socket.SOCK_DGRAM)
    one.bind(('127.0.0.1', 0) if family == socket.AF_INET else path[0])
    if kind in ('tcp', 'unix'):
        one.listen()
    names.append(name)
    kept.append(one)
high = [os.dup2(one.fileno(), 100 + place) for place, one in enumerate(kept)]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=':'.join(names))
os.execv(sys.argv[split + 1], sys.argv[split + 1:])
";

fn launched(place: &Path, sockets: &[&str], args: &[&str]) -> Option<Program> {
    drop(Program::switchboard()); // builds the binary
    let server = target().join("switchboard");
    let launcher = Program::at(&tool("python3")?).current_dir(place).args(["-c", LAUNCHER]);
    Some(launcher.args(sockets).arg("--").arg(server).arg("serve").args(args))
}

fn passed(server: &Running, name: &str) -> String {
    let event = server.wait_for_event(|event| event["message"] == "socket passed" && event["name"] == name);
    event["address"].as_str().unwrap().split_once(':').unwrap().1.trim_start_matches('/').to_owned()
}

fn is_greeted(io: impl Read + Write) {
    let mut client = BufReader::new(io);
    client.get_mut().write_all(b"Ada\n").unwrap();
    for wanted in ["welcome!\n", "hello, Ada!\n"] {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert_eq!(line, wanted);
    }
}

#[test]
fn passed_sockets_are_matched_by_name_and_survive_reloads_and_upgrades() {
    let place = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(place.path().join("switchboard.toml"), text).unwrap();
    let listener = |name: &str, more: &str| format!("[listeners.{name}]\nlisten = 'systemd:{name}'\n{more}\n");
    let lines = "framing = 'lines'";
    let first = listener("front", lines) + &listener("local", lines) + &listener("udp", "") + &listener("gram", "");
    write(&first);
    let sockets = ["front=tcp", "local=unix=local", "udp=udp", "gram=unixgram=gram", "later=tcp"];
    let Some(program) = launched(place.path(), &sockets, &[]) else { return };
    let server = program.spawn();
    let listening = |name: &str| {
        let event = server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == name);
        assert_eq!(event["address"], format!("systemd:{name}"));
    };
    ["front", "local", "udp", "gram"].into_iter().for_each(listening);
    let all_sockets_are_served = || {
        is_greeted(TcpStream::connect(passed(&server, "front")).unwrap());
        is_greeted(UnixStream::connect(place.path().join("local")).unwrap());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        udp.send_to(b"Ada", passed(&server, "udp")).unwrap();
        let mut answer = [0; 20];
        assert_eq!(udp.recv(&mut answer).unwrap(), 11);
        assert_eq!(&answer[..11], b"hello, Ada!");
    };
    all_sockets_are_served();
    let unused = server.wait_for_event(|event| event["message"] == "unused socket: no listener has this name");
    assert_eq!(unused["name"], "later");
    // After a reload, one unused socket is used, one is no longer used, and the others continue.
    write(&(first.clone() + &listener("later", lines)));
    server.signal(Signal::SIGHUP);
    listening("later");
    server.signal(Signal::SIGUSR2);
    let upgraded = server.wait_for_event(|event| event["message"] == "upgraded");
    all_sockets_are_served();
    is_greeted(TcpStream::connect(passed(&server, "later")).unwrap());
    let next = i32::try_from(upgraded["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(next), Signal::SIGTERM).unwrap();
    assert_eq!(server.wait().code(), Some(0));
    // The server does not own the paths, so it does not remove them.
    assert!(place.path().join("local").exists() && place.path().join("gram").exists());
}

#[test]
fn tls_works_on_a_passed_socket() {
    let (place, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let files = authority.sign("localhost", "localhost", |_| {});
    let listener = format!(
        "[listeners.main]\nlisten = 'systemd:main'\n[listeners.main.tls]\ncertificate = {:?}\nkey = {:?}\n",
        files.certificate, files.key
    );
    std::fs::write(place.path().join("switchboard.toml"), listener).unwrap();
    let Some(program) = launched(place.path(), &["main=tcp"], &[]) else { return };
    let server = program.spawn();
    let to = passed(&server, "main");
    let Some(openssl) = tool("openssl") else { return };
    let client = Program::at(&openssl).args(["s_client", "-quiet", "-connect", &to]).input("exit").run();
    assert!(client.stdout.contains("welcome!"), "{}", client.stderr);
}

#[test]
fn a_missing_socket_is_reported_with_the_passed_sockets() {
    let place = tempfile::tempdir().unwrap();
    let listen = ["--listen", "systemd:main", "--log-format", "text"];
    let run = |sockets: &[&str]| Some(launched(place.path(), sockets, &listen)?.run());
    for (sockets, part) in [
        (&["front=tcp", "back=udp"][..], "no socket with this name was passed; passed: \"front\", \"back\""),
        (&["main=tcp", "main=udp"], "several sockets with this name were passed"),
        (&["=tcp"], "passed: \"unknown\""),
    ] {
        let Some(ended) = run(sockets) else { return };
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let none = Program::switchboard().args(listen).run();
    assert_eq!(none.code(), Some(1));
    assert!(none.stderr.contains("listener main cannot listen on systemd:main: the service manager passed no sockets"));
    let closed = Program::switchboard().args(listen).env("LISTEN_FDS", "40").run();
    assert_eq!(closed.code(), Some(1));
    assert!(closed.stderr.contains("(LISTEN_FDS), is not a listening socket"), "{}", closed.stderr);
    // The configuration itself is valid.
    let checked = Program::switchboard().arg("check").args(listen).run();
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
}

#[test]
fn systemd_socket_activate_starts_the_server_on_the_first_connection() {
    let Some(activate) = tool("systemd-socket-activate") else { return };
    drop(Program::switchboard()); // builds the binary
    let address = format!("127.0.0.1:{}", free_port());
    let server = Program::at(&activate)
        .args(["--listen", &address, "--fdname", "main"])
        .arg(target().join("switchboard"))
        .args(["--listen", "systemd:main", "--framing", "lines"])
        .spawn();
    let deadline = Instant::now() + TEST_TIMEOUT;
    let client = loop {
        match TcpStream::connect(&address) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    client.set_read_timeout(Some(TEST_TIMEOUT.min(Duration::from_secs(60)))).unwrap();
    is_greeted(client);
    server.signal(Signal::SIGTERM); // systemd-socket-activate has executed the server
    assert_eq!(server.wait().code(), Some(0));
}
