//! Errors that help: the line of a wrong value, JSON, the owner of a port, a configuration to begin with, the journal.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use harness::{Event, Output, Program, Signal, TEST_TIMEOUT, target, tool};
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn run(place: &TempDir, args: &[&str]) -> Output {
    Program::switchboard().current_dir(place.path()).args(args).run()
}

/// The events of a program that has ended; every line of standard error is one.
fn events(output: &Output) -> Vec<Event> {
    let parsed = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    parsed.collect()
}

const INVALID: &str =
    "[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nhandler = \"ecko\"\n\n[admin]\ntoken = 'hunter 2'\n";

#[test]
fn check_marks_each_wrong_value() {
    let place = place();
    fs::write(place.path().join("a.toml"), INVALID).unwrap();
    let checked = run(&place, &["check", "-c", "a.toml", "--framing", "lins"]);
    assert_eq!((checked.code(), &*checked.stdout), (Some(78), ""));
    let expected = r#"a.toml:3:11: error: listeners.main.handler: "ecko" is not a handler; did you mean "echo"? Available: echo, hello
  |
3 | handler = "ecko"
  |           ^^^^^^
a.toml:6:9: error: admin.token: the value (not shown) is not a token; use ASCII letters, digits and punctuation, without spaces
  |
6 | token = ***
  |         ^^^
error: listeners.main.framing: "lins" is not a framing; did you mean "lines"? Available: raw, lines, length, delimited, json-lines (flag --framing)
 |
 | --framing lins
 |           ^^^^
error: invalid configuration (3 errors)
"#;
    assert_eq!(checked.stderr, expected);
}

#[test]
fn check_prints_one_json_document() {
    let place = place();
    fs::write(place.path().join("a.toml"), INVALID).unwrap();
    let document = |args: &[&str], status| -> Value {
        let checked = run(&place, args);
        assert_eq!((checked.code(), &*checked.stderr), (Some(status), ""));
        serde_json::from_str(&checked.stdout).unwrap_or_else(|error| panic!("{error}: {}", checked.stdout))
    };
    let invalid = document(&["check", "-c", "a.toml", "--format", "json"], 78);
    assert_eq!((&invalid["ok"], &invalid["file"], &invalid["memory"]), (&false.into(), &"a.toml".into(), &Value::Null));
    let error = &invalid["errors"][0];
    assert_eq!((&error["key"], &error["origin"]), (&"listeners.main.handler".into(), &"a.toml, line 3".into()));
    assert_eq!((&error["file"], &error["line"], &error["column"]), (&"a.toml".into(), &3.into(), &11.into()));
    assert!(!invalid.to_string().contains("hunter"), "{invalid}");
    let missing = document(&["check", "-c", "missing.toml", "--format", "json"], 78);
    assert!(missing["errors"][0]["message"].as_str().unwrap().contains("missing.toml cannot be read"), "{missing}");
    let valid = document(&["check", "--format", "json"], 0);
    assert_eq!(
        (&valid["ok"], &valid["errors"], &valid["file"]),
        (&true.into(), &Value::Array(Vec::new()), &Value::Null)
    );
    assert!(
        valid["memory"]["total_bytes"].as_u64() > Some(0) && valid["memory"]["listeners"]["main"].is_u64(),
        "{valid}"
    );
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", held.local_addr().unwrap());
    let bound = document(&["check", "--bind", "--format", "json", "--listen", &address], 1);
    assert!(bound["errors"][0]["message"].as_str().unwrap().contains("cannot listen on"), "{bound}");
}

#[test]
fn a_failed_start_is_an_event_in_a_json_log() {
    let place = place();
    fs::write(place.path().join("a.toml"), INVALID).unwrap();
    let ended = run(&place, &["serve", "-c", "a.toml"]);
    assert_eq!(ended.code(), Some(78));
    let log = events(&ended);
    assert_eq!(log.len(), 2, "{log:?}");
    for event in &log {
        assert_eq!((&event["level"], &event["message"]), (&"ERROR".into(), &"invalid configuration".into()));
        assert!(event["timestamp"].is_string() && event["file"] == "a.toml" && event["line"].is_u64(), "{event}");
    }
    assert!(log[0]["error"].as_str().unwrap().starts_with("listeners.main.handler: \"ecko\" is not"), "{log:?}");
    let text = run(&place, &["serve", "-c", "a.toml", "--log-format", "text"]);
    assert!(text.stderr.starts_with("a.toml:3:11: error: "), "{}", text.stderr);

    let unread = run(&place, &["-c", "missing.toml"]);
    assert!(events(&unread)[0]["error"].as_str().unwrap().contains("cannot be read"), "{}", unread.stderr);
    let tls = run(
        &place,
        &[
            "--listen",
            "tls://127.0.0.1:0",
            "--set",
            "listeners.main.tls.certificate=no.pem",
            "--set",
            "listeners.main.tls.key=no.pem",
        ],
    );
    let log = events(&tls);
    let keys: Vec<_> = log[log.len() - 2..].iter().map(|event| event["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["listeners.main.tls.certificate", "listeners.main.tls.key"], "{}", tls.stderr);
}

#[test]
fn the_process_that_uses_an_address_is_named() {
    let place = place();
    let socket = place.path().join("socket");
    for listen in ["tcp://127.0.0.1:0".to_owned(), "udp://127.0.0.1:0".to_owned(), format!("unix:{}", socket.display())]
    {
        let server = Program::switchboard().args(["--listen", &listen]).start();
        let address = server.address("main");
        let second = run(&place, &["--listen", &address]);
        assert_eq!(second.code(), Some(1));
        let failed = events(&second).pop().unwrap();
        assert_eq!((&failed["level"], &failed["message"]), (&"ERROR".into(), &"start failed".into()));
        let error = failed["error"].as_str().unwrap();
        let owner = format!("; process {} (switchboard) uses it (flag --listen)", server.id());
        assert!(
            error.starts_with(&format!("listener main cannot listen on {address}: ")) && error.ends_with(&owner),
            "{error}"
        );
        let text = run(&place, &["check", "--bind", "--listen", &address]);
        assert_eq!(text.stderr, format!("error: {error}\n"));
    }
}

#[test]
fn other_causes_that_prevent_a_listener_are_named() {
    let place = place();
    for (listen, part) in [
        ("tcp://192.0.2.1:0", "; no interface of this machine has the address 192.0.2.1"),
        ("unix:missing/socket", "; the directory missing does not exist; create it"),
    ] {
        let ended = run(&place, &["check", "--bind", "--listen", listen]);
        assert!(ended.code() == Some(1) && ended.stderr.contains(part), "{}", ended.stderr);
    }
}

/// Runs the server as another user, who cannot bind low ports nor read files of this user.
#[test]
fn a_missing_permission_names_the_user_and_what_to_do() {
    let Some(setpriv) = tool("setpriv") else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let public = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    Program::switchboard(); // builds it
    fs::copy(target().join("switchboard"), public.path().join("server")).unwrap();
    let file = public.path().join("a.toml");
    fs::write(&file, "handler = 'echo'\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let run = |args: &[&str]| {
        let program = Program::at(&setpriv).current_dir(public.path());
        let program = program.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
        program.arg(public.path().join("server")).args(args).run().stderr
    };
    let unread = run(&["check", "-c", "a.toml"]);
    assert!(unread.contains("(uid 65534) cannot read it") || unread.contains("user 65534 cannot read it"), "{unread}");
    let socket = run(&["check", "--bind", "--listen", "unix:socket"]);
    assert!(socket.contains("cannot create files in the directory ."), "{socket}");
    let low = run(&["check", "--bind", "--listen", "tcp://127.0.0.1:1"]);
    // A container can allow low ports to all users.
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    assert!(first.trim() == "0" || low.contains("CAP_NET_BIND_SERVICE"), "{low}");
}

#[test]
fn init_prints_a_configuration_and_every_default_in_it_is_valid() {
    let place = place();
    let printed = run(&place, &["init"]);
    assert_eq!((printed.code(), &*printed.stderr), (Some(0), ""));
    assert!(printed.stdout.starts_with("#:schema "), "{}", printed.stdout);
    // Without the # of each default. Sections that are comments have an effect if they are present.
    let (mut text, mut is_section) = (String::new(), true);
    for line in printed.stdout.lines() {
        if line.starts_with('[') || line.starts_with("#[") {
            // The keys of the admin endpoint have examples and no defaults.
            is_section = line.starts_with('[') && line != "[admin]";
        }
        text += line
            .strip_prefix('#')
            .filter(|rest| is_section && rest.contains(" = ") && !rest.starts_with([' ', ':']))
            .unwrap_or(line);
        text += "\n";
    }
    assert!(text.contains("\nconnections = 10000\n") && text.contains("\nlevel = \"info\"\n"), "{text}");
    fs::write(place.path().join("all.toml"), &text).unwrap();
    let checked = run(&place, &["check", "-c", "all.toml"]);
    assert_eq!((checked.code(), &*checked.stderr), (Some(0), ""));
    // The admin endpoint is no default, but the commands for a running server need it.
    let admin = text.lines().find_map(|line| line.strip_prefix("listen = \"unix:")?.strip_suffix('"')).unwrap();
    let admin = format!("admin.listen=unix:{admin}");
    let defaults = run(&place, &["config", "--format", "json", "--set", &admin]).stdout;
    assert_eq!(run(&place, &["config", "-c", "all.toml", "--format", "json"]).stdout, defaults);
}

#[test]
fn init_writes_a_file_that_serves() {
    let place = place();
    for args in [&["init", "a.toml"][..], &["init", "--output", "b.toml"]] {
        let made = run(&place, args);
        let file = args.last().unwrap();
        assert_eq!((made.code(), &*made.stderr), (Some(0), ""));
        assert!(made.stdout.contains(&format!("start the server: switchboard --config {file}")), "{}", made.stdout);
        assert_eq!(run(&place, &["check", "-c", file]).code(), Some(0));
        let args = ["-c", file, "--set", "listeners.main.listen=tcp://127.0.0.1:0"];
        let server = Program::switchboard().current_dir(place.path()).args(args).start();
        let mut welcome = [0; 8];
        std::io::Read::read_exact(&mut TcpStream::connect(server.socket("main")).unwrap(), &mut welcome).unwrap();
        assert_eq!(&welcome, b"welcome!");
        server.address("admin");
        assert_eq!(run(&place, &["status", "-c", file]).code(), Some(0));
    }
}

#[test]
fn init_with_tls_writes_a_certificate_that_a_client_can_verify() {
    let place = place();
    assert_eq!(run(&place, &["init", "--tls", "a.toml"]).code(), Some(0));
    let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key.pem") & 0o117, mode("a.toml") & 0o022), (0, 0));
    // The paths in the file are absolute, so the server can start anywhere.
    let server = Program::switchboard().arg("-c").arg(place.path().join("a.toml"));
    let server = server.args(["--set", "listeners.main.listen=tls://127.0.0.1:0", "--framing", "lines"]).start();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(place.path().join("cert.pem")).unwrap()).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
    for name in ["localhost", "127.0.0.1", "::1"] {
        let tcp = TcpStream::connect(server.socket("main")).unwrap();
        tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let tls = ClientConnection::new(config.clone(), name.try_into().unwrap()).unwrap();
        let mut tls = BufReader::new(StreamOwned::new(tls, tcp));
        let mut line = String::new();
        tls.read_line(&mut line).unwrap_or_else(|error| panic!("{name}: {error}"));
        tls.get_mut().write_all(b"Sarah\n").unwrap();
        tls.read_line(&mut line).unwrap();
        assert_eq!(line, "welcome!\nhello, Sarah!\n");
    }
}

#[test]
fn init_never_replaces_a_file_unless_it_is_forced() {
    let place = place();
    let path = |name: &str| place.path().join(name);
    fs::write(path("a.toml"), "mine").unwrap();
    fs::write(path("cert.pem"), "mine").unwrap();
    fs::write(path("file"), "").unwrap();
    let refused = |args: &[&str], status, part: &str| {
        let ended = run(&place, args);
        assert!(ended.code() == Some(status) && ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        assert_eq!((ended.stderr.lines().count(), &*ended.stdout), (1, ""), "{args:?}");
    };
    refused(&["init", "a.toml"], 1, "cannot write a.toml: it exists; --force replaces it");
    for force in [&[][..], &["--force"]] {
        let wanted = "cert.pem: it exists, and init never replaces a key or certificate";
        refused(&[&["init", "--tls", "b.toml"], force].concat(), 1, wanted);
    }
    assert!(!path("key.pem").exists() && !path("b.toml").exists());
    refused(&["init", "missing/a.toml"], 1, "its directory does not exist");
    refused(&["init", "file/a.toml"], 1, "cannot write file/a.toml: Not a directory");
    refused(&["init", "a.yaml"], 2, "init writes TOML");
    // Nothing can be created there, not even by root.
    refused(&["init", "/proc/a.toml"], 1, "cannot write /proc/a.toml: ");
    assert_eq!(fs::read(path("a.toml")).unwrap(), b"mine");
    assert_eq!(fs::read(path("cert.pem")).unwrap(), b"mine");
    fs::remove_file(path("cert.pem")).unwrap();
    assert_eq!(run(&place, &["init", "--tls", "--force", "a.toml"]).code(), Some(0));
    assert!(fs::read_to_string(path("a.toml")).unwrap().starts_with("#:schema"));
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "no temporary file is left: {names:?}");
}

/// Runs the server by a shell that sets `JOURNAL_STREAM` for the pipe of standard error.
fn in_journal(place: &Path, variable: &str, args: &[&str]) -> Program {
    Program::switchboard(); // builds it
    let script = format!("export JOURNAL_STREAM={variable}; exec \"$@\"");
    let shell = Program::at(Path::new("/bin/sh")).logs().current_dir(place).args(["-c", &script, "sh"]);
    shell.arg(target().join("switchboard")).args(args)
}

const OF_STDERR: &str = "$(stat -L -c %d:%i /dev/fd/2)";

#[test]
fn each_line_has_its_priority_in_the_journal() {
    let place = place();
    for format in ["json", "text"] {
        let args = ["--listen", "tcp://127.0.0.1:0", "--log-format", format, "--log-level", "debug"];
        let mut server = in_journal(place.path(), OF_STDERR, &args).spawn();
        server.wait_until_logged("listening");
        server.signal(Signal::SIGTERM);
        let ended = server.wait();
        assert!(
            ended
                .stderr
                .lines()
                .all(|line| line.starts_with("<6>") || line.starts_with("<7>") || line.starts_with("<4>")),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("<6>") && !ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    }
    fs::write(place.path().join("a.toml"), INVALID).unwrap();
    for format in ["json", "text"] {
        let ended = in_journal(place.path(), OF_STDERR, &["-c", "a.toml", "--log-format", format]).run();
        assert_eq!(ended.code(), Some(78));
        assert!(ended.stderr.lines().all(|line| line.starts_with("<3>")), "{}", ended.stderr);
    }
    // The variable of another file has no effect.
    let ended = in_journal(place.path(), "1:1", &["-c", "a.toml"]).run();
    assert_eq!(events(&ended).len(), 2);
}

#[test]
fn a_wrong_option_for_more_log_lines_names_the_right_one() {
    let place = place();
    for args in [&["-v"][..], &["check", "-v"], &["serve", "-v"]] {
        let ended = run(&place, args);
        assert!(ended.code() == Some(2) && ended.stderr.contains("--log-level debug"), "{}", ended.stderr);
    }
    for version in ["-V", "--version"] {
        assert!(run(&place, &[version]).stdout.starts_with("switchboard "));
    }
}
