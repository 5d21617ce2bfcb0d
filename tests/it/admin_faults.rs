//! The admin endpoint stays reachable and safe whatever clients, files and operators do.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use harness::{Program, Signal, TEST_TIMEOUT};
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::admin::AdminServer;

const CONFIG: &str =
    "[admin]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n";

/// A server in a directory of its own, with its configuration file.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) server: AdminServer,
}

impl Place {
    fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("switchboard.toml"), config).unwrap();
        let running = Program::switchboard().arg("serve").current_dir(directory.path()).spawn();
        running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        Self { directory, server: AdminServer(running) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, config: &str) {
        fs::write(self.path("switchboard.toml"), config).unwrap();
    }
}

/// Waits until the server opens a FIFO for reading. The server then waits for data until the result is dropped.
fn wait_for_reader(fifo: &Path) -> File {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        // open(2): fails with ENXIO while there is no reader.
        match OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(fifo) {
            Ok(writer) => return writer,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", fifo.display()),
        }
        thread::yield_now();
    }
}

#[test]
fn a_drain_begins_at_once_while_a_reload_waits_for_a_file() {
    let secure = "[listeners.secure]\nlisten = 'tls://127.0.0.1:0'\n[listeners.secure.tls]\n";
    let cases = [
        ("the configuration", None),
        ("the token", Some(CONFIG.replacen("[listeners", "token_file = 'fifo'\n[listeners", 1))),
        ("the certificate", Some(format!("{CONFIG}{secure}certificate = 'fifo'\nkey = 'key.pem'\n"))),
        ("the client authority", Some(format!("{CONFIG}{secure}certificate = 'c'\nkey = 'k'\nclient_ca = 'fifo'\n"))),
    ];
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (file, config) in cases {
        for by_signal in [false, true] {
            let place = Place::start(CONFIG);
            fs::write(place.path("c"), pair.cert.pem()).unwrap();
            fs::write(place.path("k"), pair.signing_key.serialize_pem()).unwrap();
            let fifo = place.path("fifo");
            mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            match &config {
                Some(config) => place.configure(config),
                None => fs::rename(&fifo, place.path("switchboard.toml")).unwrap(),
            }
            let fifo = if config.is_some() { fifo } else { place.path("switchboard.toml") };
            place.server.0.signal(Signal::SIGHUP);
            let writer = wait_for_reader(&fifo);
            if by_signal {
                place.server.0.signal(Signal::SIGTERM);
            } else {
                assert_eq!(place.server.send("POST", "/drain", "").status, 202, "{file}");
            }
            // The reload deadline is longer than the timeout of this wait.
            let ended = place.server.0.wait();
            assert_eq!(ended.code(), Some(0), "{file}: {}", ended.stderr);
            assert!(ended.stderr.contains("\"drained\""), "{file}: {}", ended.stderr);
            drop(writer);
        }
    }
}

#[test]
fn a_drain_cancels_an_upgrade_that_waits_for_the_new_program() {
    for by_signal in [false, true] {
        drop(Program::switchboard()); // builds the binary
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("server");
        std::os::unix::fs::symlink(harness::target().join("switchboard"), &program).unwrap();
        fs::write(directory.path().join("switchboard.toml"), CONFIG).unwrap();
        let running = Program::at(&program).current_dir(directory.path()).spawn();
        running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        let server = AdminServer(running);
        let (pid, next) = (directory.path().join("pid"), directory.path().join("next"));
        // Never becomes ready.
        fs::write(&next, format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 1000\n", pid.display()))
            .unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&next, &program).unwrap();
        server.0.signal(Signal::SIGUSR2);
        server.wait_until("the new program runs", || pid.exists());
        if by_signal {
            server.0.signal(Signal::SIGTERM);
        } else {
            assert_eq!(server.send("POST", "/drain", "").status, 202);
        }
        let ended = server.0.wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        let new = fs::read_to_string(&pid).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", new.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "), "the new program is left");
    }
}

#[test]
fn a_signal_interrupts_a_start_that_waits_for_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let tls = "tls = { certificate = 'fifo', key = 'key.pem' }";
    fs::write(
        directory.path().join("switchboard.toml"),
        format!("[listeners.main]\nlisten = 'tls://127.0.0.1:0'\n{tls}\n"),
    )
    .unwrap();
    let running = Program::switchboard().arg("serve").current_dir(directory.path()).spawn();
    let writer = wait_for_reader(&fifo);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    drop(writer);
}

#[test]
fn a_reload_that_would_close_every_current_listener_needs_force() {
    let listener = |name: &str, port: u16| format!("[listeners.{name}]\nlisten = 'tcp://127.0.0.1:{port}'\n");
    let (one, two) = (harness::free_port(), harness::free_port());
    let admin = "[admin]\nlisten = 'tcp://127.0.0.1:0'\n";
    let place = Place::start(&format!("{admin}{}", listener("main", one)));
    // The last one leaves only the default listener, which is no current one.
    for config in [listener("main", two), listener("other", two), "[log]\nlevel = 'info'\n".to_owned()] {
        place.configure(&format!("{admin}{config}"));
        let refused = place.server.send("POST", "/reload", "");
        assert_eq!(refused.status, 422, "{config}");
        let error = refused.json()["errors"][0].as_str().unwrap().to_owned();
        for part in ["keeps none of the current listeners", &format!("main at tcp://127.0.0.1:{one}"), "force=true"] {
            assert!(error.contains(part), "{config}: {error}");
        }
    }
    place.server.0.signal(Signal::SIGHUP);
    place.server.0.wait_for_event(|event| event["message"] == "reload rejected");
    drop(place.server.client_at(one));
    // Another name for the same address keeps it, and so does one listener of several.
    for config in [listener("renamed", one), listener("renamed", one) + &listener("more", two), listener("more", two)] {
        place.configure(&format!("{admin}{config}"));
        assert_eq!(place.server.send("POST", "/reload", "").status, 200, "{config}");
    }
    place.configure(&format!("{admin}{}", listener("main", one)));
    assert_eq!(place.server.send("POST", "/reload?force=false", "").status, 422);
    let forced = place.server.send("POST", "/reload?force=true", "");
    assert_eq!((forced.status, &forced.json()["stopped"][0]), (200, &"more".into()));
    drop(place.server.client_at(one));
}

#[test]
fn unknown_query_parameters_of_every_route_are_rejected() {
    let server = AdminServer::start(&[]);
    for (method, path) in [
        ("GET", "/?x=1"),
        ("GET", "/livez?verbose"),
        ("GET", "/readyz?verbose=1"),
        ("GET", "/metrics?name=x"),
        ("GET", "/status?listener=main"),
        ("GET", "/connections?lmit=1"),
        ("GET", "/log-level?x"),
        ("GET", "/config?format=toml"),
        ("PUT", "/log-level?level=debug"),
        ("DELETE", "/connections/1?force=true"),
        ("POST", "/drain?deadline=1s"),
        ("POST", "/reload?force=yes"),
        ("POST", "/reload?forced=true"),
        ("POST", "/reload?force=true&force=true"),
    ] {
        let refused = server.send(method, path, "");
        assert_eq!(refused.status, 422, "{method} {path}: {}", refused.body);
        assert!(refused.body.contains("invalid query"), "{method} {path}: {}", refused.body);
    }
    assert_eq!(server.get("/livez?").status, 200);
    assert!(server.get("/nowhere").body.contains("POST /reload - reload the configuration (force)"));
}
