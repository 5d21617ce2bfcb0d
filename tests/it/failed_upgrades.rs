//! An upgrade whose new program fails leaves the old process serving, and no other process behind.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use harness::{Running, Signal, TEST_TIMEOUT, target};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::secs;
use crate::upgrade::{Installed, script};

pub(crate) const CONFIG: &str = "[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\n";

/// Polls until a condition holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timeout while waiting until {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[track_caller]
pub(crate) fn is_served(address: &str) {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut welcome = [0; 8];
    client.read_exact(&mut welcome).unwrap();
    client.write_all(b"Ada").unwrap();
    let mut answer = [0; 11];
    client.read_exact(&mut answer).unwrap();
    assert_eq!((&welcome, &answer), (b"welcome!", b"hello, Ada!"));
}

/// The process id that a script has written, as soon as it is there.
pub(crate) fn written_pid(path: &Path) -> Pid {
    let mut found = None;
    wait_until("the process id is written", || {
        found = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        found.is_some()
    });
    Pid::from_raw(found.unwrap())
}

/// Whether the process has ended; a zombie has.
pub(crate) fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
}

pub(crate) fn rejections(server: &Running) -> usize {
    server.log().iter().filter(|event| event["message"] == "upgrade rejected").count()
}

#[test]
fn a_new_program_that_fails_leaves_no_process_and_no_socket_behind() {
    // Each program writes the process id of its last child to the file `pid`.
    let child = "sh -c 'echo $$ > pid; exec sleep 1000'";
    let programs = [
        ("forks and exits", format!("{child} &\nexit 0"), "it ended with exit status 0"),
        ("forks and exits with an error", format!("{child} &\nexit 7"), "it ended with exit status 7"),
        ("forks twice", format!("({child} &) &\nsleep 0.2; exit 0"), "it ended with exit status 0"),
        ("becomes a daemon", format!("setsid {child} &\nexit 0"), "it ended with exit status 0"),
        ("is a daemon without the stream", format!("exec 3>&-; {child} &\nexit 0"), "it ended with exit status 0"),
        ("is killed", format!("{child} &\nsleep 0.2; kill -9 $$"), "it ended with signal: 9"),
        ("replies nonsense", format!("{child} &\necho what >&3; wait"), "it replied \"what\""),
        ("is ready and forks", format!("setsid {child} &\necho ready >&3; exit 0"), "it became ready, and"),
    ];
    let mut server = Installed::start(CONFIG);
    let (place, address) = (server.place.path().to_owned(), server.log().socket("main"));
    for (index, (name, text, part)) in programs.iter().enumerate() {
        let _ = fs::remove_file(place.join("pid"));
        server.install(&script(&place, &format!("program{index}"), &format!("#!/bin/sh\n{text}\n")));
        let error = server.upgrade_is_rejected();
        assert!(error.contains(part), "{name}: {error}");
        // The child may be killed before it has written its process id.
        if let Ok(text) = fs::read_to_string(place.join("pid"))
            && let Ok(pid) = text.trim().parse()
        {
            wait_until(&format!("the child ends: {name}"), || has_ended(Pid::from_raw(pid)));
        }
        is_served(&address);
    }
    server.stop();
    // No process keeps the address.
    let mut bound = Err(std::io::ErrorKind::AddrInUse.into());
    wait_until("the address is free", || {
        bound = TcpListener::bind(&address);
        bound.is_ok()
    });
}

#[test]
fn a_new_program_that_exits_within_its_first_seconds_is_rejected_and_the_old_one_continues() {
    let programs = [
        ("at once", "echo ready >&3; exit 0", "exit status 0"),
        ("after a second", "read -r list <&3; echo ready >&3; sleep 1; exit 5", "exit status 5"),
        ("after three seconds", "read -r list <&3; echo ready >&3; sleep 3; exit 1", "exit status 1"),
        ("by a signal", "read -r list <&3; echo ready >&3; sleep 0.5; kill -SEGV $$", "signal: 11"),
        ("after the commit", "read -r list <&3; echo ready >&3; read -r commit <&3; exit 9", "exit status 9"),
        ("without the stream", "read -r list <&3; echo ready >&3; exec 3>&-; exec sleep 1000", "closed its stream"),
    ];
    let mut server = Installed::start(CONFIG);
    let (place, address) = (server.place.path().to_owned(), server.log().socket("main"));
    let mut client = TcpStream::connect(&address).unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    for (index, (name, text, part)) in programs.iter().enumerate() {
        server.install(&script(&place, &format!("program{index}"), &format!("#!/bin/sh\n{text}\n")));
        let error = server.upgrade_is_rejected();
        assert!(error.contains(part), "{name}: {error}");
        // The first program may exit before it receives the list of sockets.
        assert!(index == 0 || error.contains("it became ready, and"), "{name}: {error}");
        is_served(&address);
    }
    client.write_all(b"Ada").unwrap();
    client.read_exact(&mut [0; 11]).unwrap();
    // The program on disk is good again, and the next upgrade succeeds.
    server.install(&target().join("switchboard"));
    server.upgrade();
    is_served(&address);
    server.stop();
}

#[test]
fn a_killed_new_process_has_accepted_no_client() {
    let mut server = Installed::start(CONFIG);
    let address = server.log().socket("main");
    let old = server.log().id();
    server.signal(Signal::SIGUSR2);
    let mut new = None;
    wait_until("the new process is ready", || {
        let children = fs::read_to_string(format!("/proc/{old}/task/{old}/children")).unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        // It is waiting for the commit once it has logged its start.
        new = pids.map(Pid::from_raw).next();
        let starts = server.log().log().iter().filter(|event| event["message"] == "starting").count();
        new.is_some() && starts == 2
    });
    let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for mut client in clients {
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.read_exact(&mut [0; 8]).expect("the old process welcomes every client");
    }
    kill(new.unwrap(), Signal::SIGKILL).unwrap();
    assert!(server.next("upgrade rejected")["error"].as_str().unwrap().contains("signal: 9"));
    is_served(&address);
    server.stop();
}

#[test]
fn a_stop_signal_during_an_upgrade_takes_effect_at_once_and_ends_both_processes() {
    for (name, text) in [
        ("waits for the new program", "echo $$ > pid; exec sleep 1000"),
        ("waits for a child of it", "setsid sh -c 'echo $$ > pid; exec sleep 1000'"),
        ("has become ready", "read -r list <&3; echo ready >&3; echo $$ > pid; exec sleep 1000"),
    ] {
        let mut server = Installed::start(CONFIG);
        let place = server.place.path().to_owned();
        server.install(&script(&place, "program", &format!("#!/bin/sh\n{text}\n")));
        server.signal(Signal::SIGUSR2);
        let pid = written_pid(&place.join("pid"));
        let begun = Instant::now();
        server.stop();
        assert!(begun.elapsed() < secs(4), "{name}: {:?}", begun.elapsed());
        wait_until(&format!("the new process ends: {name}"), || has_ended(pid));
    }
}

#[test]
fn repeated_upgrade_signals_start_one_new_process() {
    let mut server = Installed::start(CONFIG);
    let place = server.place.path().to_owned();
    let real = target().join("switchboard");
    let text = format!("#!/bin/sh\necho $$ >> starts\nexec {} \"$@\"\n", real.display());
    server.install(&script(&place, "counted", &text));
    let address = server.log().socket("main");
    server.signal(Signal::SIGUSR2);
    for _ in 0..3 {
        server.signal(Signal::SIGUSR2);
        is_served(&address);
    }
    server.current = u32::try_from(server.next("upgraded")["pid"].as_u64().unwrap()).unwrap();
    is_served(&address);
    assert_eq!(fs::read_to_string(place.join("starts")).unwrap().lines().count(), 1);
    assert!(rejections(server.log()) <= 3);
    server.stop();
}
