//! Configuration: files without keys, inherited variables, readable errors without secrets, escapes and permissions.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use harness::{Output, Program, Signal, root, target, tool};
use nix::unistd::geteuid;
use switchboard_server::ConfigCheck;
use tempfile::TempDir;

use crate::tls::Authority;

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn check(place: &Path, args: &[&str]) -> Output {
    Program::switchboard().current_dir(place).arg("check").args(args).run()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const WITHOUT_KEYS: [(&str, &str); 11] = [
    ("a.toml", ""),
    ("a.toml", "# only a comment\n\n"),
    ("a.toml", " \t\r\n"),
    ("a.toml", "\u{feff}"),
    ("a.toml", "[log]\n[limits]\n"),
    ("a.json", "null"),
    ("a.json", "{}"),
    ("a.json", "{\"listeners\": {}}"),
    ("a.yaml", "---\n"),
    ("a.yaml", "# only a comment\n"),
    ("a.yaml", "listeners:\n"),
];

#[test]
fn a_file_without_any_key_is_an_error() {
    let place = place();
    for (name, text) in WITHOUT_KEYS {
        fs::write(place.path().join(name), text).unwrap();
        for command in ["check", "config", "serve"] {
            let ended = Program::switchboard().current_dir(place.path()).args([command, "-c", name]).run();
            assert_eq!(ended.code(), Some(78), "{command} {name} {text:?}: {}", ended.stdout);
            assert!(ended.stderr.contains("sets no key; ") && ended.stderr.contains("--config"), "{}", ended.stderr);
        }
    }
    fs::write(place.path().join("switchboard.toml"), "# found\n").unwrap();
    assert_eq!(check(place.path(), &[]).code(), Some(78));
}

#[test]
fn a_reload_of_a_file_without_any_key_changes_nothing() {
    let place = place();
    let file = place.path().join("a.toml");
    fs::write(&file, "listen = 'tcp://127.0.0.1:0'\n").unwrap();
    let server = Program::switchboard().args(["serve", "-c"]).arg(&file).start();
    for text in ["", "# nothing\n", "[log]\n"] {
        fs::write(&file, text).unwrap();
        server.signal(Signal::SIGHUP);
        server
            .wait_for_event(|event| event["message"] == "reload rejected" && event.to_string().contains("sets no key"));
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn variables_of_kubernetes_services_are_ignored_and_misspelled_keys_are_not() {
    let registry = switchboard_server::registry();
    for service in ["", "ADMIN_", "LISTENERS__MAIN_", "LISTEN_PORT_", "_X_", "CONFIG_", "SERVICE_HOST_", "PORT_1_TCP_"]
    {
        let mut check = ConfigCheck::new(&registry);
        for (name, value) in [
            ("SERVICE_HOST", "10.3.1.4"),
            ("SERVICE_PORT", "9900"),
            ("SERVICE_PORT_HTTP_ADMIN", "9900"),
            ("PORT", "tcp://10.3.1.4:9900"),
            ("PORT_9900_TCP", "tcp://[fd00::1]:9900"),
            ("PORT_9900_TCP_PROTO", "tcp"),
            ("PORT_9900_TCP_PORT", "9900"),
            ("PORT_9900_TCP_ADDR", "10.3.1.4"),
            ("PORT_53_UDP_ADDR", "10.3.1.4"),
        ] {
            check = check.variable(format!("SWITCHBOARD_{service}{name}"), value);
        }
        check.check().unwrap_or_else(|error| panic!("{service}: {error}"));
    }
    for (variable, value) in [
        ("SWITCHBOARD_LISTENERS__MAIN__PORT", "9900"),
        ("SWITCHBOARD_LISTENERS__MAIN__SERVICE_HOST", "x"),
        ("SWITCHBOARD_SOCKET__RESUE_PORT", "true"),
        ("SWITCHBOARD_PORTS", "1"),
        ("SWITCHBOARD_PORT_9900", "1"),
        ("SWITCHBOARD_SERVICE", "1"),
        ("SWITCHBOARD_LISTEN_PORT", "9900"),
    ] {
        let error = ConfigCheck::new(&registry).variable(variable, value).check().expect_err(variable).to_string();
        assert!(error.contains(&format!("(environment variable {variable})")), "{error}");
    }
    let checked =
        ConfigCheck::new(&registry).variable("SWITCHBOARD_LISTENERS__MAIN__SOCKET__REUSE_PORT", "true").check();
    assert!(checked.unwrap().contains("reuse_port = true"));
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set_for_every_key() {
    let registry = switchboard_server::registry();
    let text = "access.deny = ['10.0.0.0/8']\nlisteners.main.layers = ['trace']\nhandlers.hello.welcome = 'hi'\n";
    let before = ConfigCheck::new(&registry).text("toml", text).check().unwrap();
    for (name, value) in [
        ("ACCESS__DENY", ""),
        ("ACCESS__DENY", " "),
        ("LISTENERS__MAIN__LAYERS", "\t"),
        ("LISTENERS__MAIN__LAYERS", ""),
        ("LISTENERS__MAIN", ""),
        ("HANDLERS__HELLO__WELCOME", ""),
        ("ADMIN__TOKEN", ""),
        ("SOCKET__NODELAY", ""),
        ("UNKNOWN", ""),
    ] {
        let check = ConfigCheck::new(&registry).text("toml", text).variable(format!("SWITCHBOARD_{name}"), value);
        assert_eq!(check.check().unwrap_or_else(|error| panic!("{name}: {error}")), before, "{name}={value:?}");
    }
    let place = place();
    let empty = ["SWITCHBOARD_CONFIG", "RUST_LOG", "NO_COLOR"];
    let program = Program::switchboard().current_dir(place.path()).arg("check");
    let ended = empty.iter().fold(program, |program, name| program.env(name, "")).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_list_can_be_written_with_brackets_in_flags_and_variables() {
    let registry = switchboard_server::registry();
    for text in
        ["[\"trace\", \"rate\"]", "['trace', 'rate']", "[trace, rate]", "trace,rate", " [ \"trace\",\"rate\" ] "]
    {
        for check in [
            ConfigCheck::new(&registry).set("listeners.main.layers", text),
            ConfigCheck::new(&registry).variable("SWITCHBOARD_LISTENERS__MAIN__LAYERS", text),
        ] {
            let effective = check.check().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(effective.contains("layers = [\"trace\", \"rate\"]"), "{text}: {effective}");
        }
    }
    let effective = ConfigCheck::new(&registry).set("access.deny", "[]").check().unwrap();
    assert!(effective.contains("deny = []"), "{effective}");
    for text in ["[\"trace\"", "[trace", "[\"trace\"]]"] {
        let error = ConfigCheck::new(&registry).set("listeners.main.layers", text).check().unwrap_err().to_string();
        assert!(error.contains("is not a list; write it like [\"a\", \"b\"]"), "{text}: {error}");
    }
}

#[test]
fn errors_of_libraries_are_plain_sentences() {
    let registry = switchboard_server::registry();
    for (format, text, part) in [
        ("yaml", "a: 1\na: 2\n", "this is not YAML: duplicate key"),
        ("yaml", "a: 1\n---\nb: 2\n", "more than one document"),
        ("yaml", "a: *b\n", "unknown anchor"),
        ("yaml", "a: !!binary x\n", "a value has a tag"),
        ("yaml", "a: &x [*x]\n", "too many values, aliases or nested tables"),
        ("yaml", "<<: 5\n", "is not a table"),
        ("json", "{\"a\": 1, \"a\": 2}", "duplicate key"),
        ("json", "{\"a\": tru}", "a value is expected"),
        ("json", "{\"a\": [1", "ends too early"),
        ("json", "{} x", "more text after the end"),
        ("toml", "a = 1\na = 2\n", "duplicate key"),
    ] {
        let error = ConfigCheck::new(&registry).text(format, text).check().unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
        for word in ["Options", "from_str", "Policy", "_with_", "serde", "ident", "EOF", "enum", "struct"] {
            assert!(!error.contains(word), "{text:?}: {error}");
        }
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let error = ConfigCheck::new(&registry).text("json", deep).check().unwrap_err().to_string();
    assert!(error.contains("nested too deeply"), "{error}");
}

#[test]
fn a_key_without_effect_on_its_listener_is_an_error_and_a_shared_one_is_not() {
    let registry = switchboard_server::registry();
    let cases = [
        ("udp://127.0.0.1:1", "timeouts.write", "3s"),
        ("udp://127.0.0.1:1", "timeouts.first_message", "3s"),
        ("udp://127.0.0.1:1", "timeouts.idle", "3s"),
        ("udp://127.0.0.1:1", "limits.connections", "3"),
        ("udp://127.0.0.1:1", "limits.connections_per_source", "3"),
        ("udp://127.0.0.1:1", "rate.connections_per_source", "3/s"),
        ("udp://127.0.0.1:1", "socket.backlog", "3"),
        ("tcp://127.0.0.1:1", "limits.sessions", "3"),
        ("tcp://127.0.0.1:1", "limits.handshakes", "3"),
        ("tcp://127.0.0.1:1", "socket.mode", "0666"),
        ("unix:/run/x", "limits.connections_per_source", "3"),
        ("unix:/run/x", "rate.messages_per_source", "3/s"),
        ("unix:/run/x", "socket.nodelay", "false"),
        ("unixgram:/run/x", "rate.messages_per_source", "3/s"),
        ("mem:x", "rate.messages_per_source", "3/s"),
    ];
    for (listen, key, value) in cases {
        let at = ConfigCheck::new(&registry).set("listen", listen);
        let own = at.set(&format!("listeners.main.{key}"), value).check().expect_err(key).to_string();
        assert!(own.starts_with(&format!("error: listeners.main.{key}: has no effect, because ")), "{own}");
        assert!(own.contains("(1 error)"), "{own}");
        // A shared key applies where it can, and the printed configuration is valid.
        let shared = ConfigCheck::new(&registry).set("listen", listen).set(key, value).check().unwrap();
        let again = ConfigCheck::new(&registry).text("toml", &*shared).check().unwrap();
        assert_eq!(again, shared, "{listen} {key}");
    }
    for (listen, key, value) in [
        ("tcp://127.0.0.1:1", "timeouts.write", "3s"),
        ("unix:/run/x", "socket.mode", "0666"),
        ("udp://127.0.0.1:1", "limits.sessions", "3"),
        ("udp://127.0.0.1:1", "timeouts.message", "3s"),
        ("systemd:web", "limits.sessions", "3"),
        ("systemd:web", "timeouts.write", "3s"),
    ] {
        let check = ConfigCheck::new(&registry).set("listen", listen).set(&format!("listeners.main.{key}"), value);
        check.check().unwrap_or_else(|error| panic!("{listen} {key}: {error}"));
    }
    let proxied = ConfigCheck::new(&registry).set("listen", "unix:/run/x").set("listeners.main.proxy", "{}");
    proxied.set("listeners.main.rate.messages_per_source", "3/s").check().unwrap();
}

#[test]
fn every_suggested_value_is_accepted() {
    let registry = switchboard_server::registry();
    let cases = [
        ("listen", ":9999"),
        ("listen", "::1:9999"),
        ("listen", "localhost:80"),
        ("listen", "TCP://127.0.0.1:80"),
        ("listen", "tcp:127.0.0.1:80"),
        ("listen", "9999"),
        ("handler", "helo"),
        ("framing", "line"),
        ("log.level", "inf"),
        ("log.format", "jsn"),
        ("limits.frame", "lots"),
        ("timeouts.idle", "30 parsecs"),
        ("rate.messages_per_source", "5"),
        ("socket.mode", "999"),
        ("access.deny", "10.0.0.1/8"),
        ("listeners.main.layers", "rat"),
        ("drain.deadline", "soon"),
    ];
    for (key, value) in cases {
        let error = ConfigCheck::new(&registry).set(key, value).check().expect_err(value).to_string();
        let first = error.lines().next().unwrap();
        let (_, advice) = first.split_once(&format!("{value:?}")).unwrap_or_else(|| panic!("{first}"));
        let quoted = advice.split('"').skip(1).step_by(2).map(str::to_owned);
        let addresses = advice.split([' ', ',', ';']).filter(|word| word.contains("://")).map(str::to_owned);
        let suggested: Vec<String> = quoted.chain(addresses).collect();
        assert!(!suggested.is_empty(), "{first}");
        for suggestion in suggested {
            let accepted = ConfigCheck::new(&registry).set(key, &suggestion).check();
            accepted.unwrap_or_else(|error| panic!("{key} = {suggestion:?}, from {first}: {error}"));
        }
    }
    for wrong in ["SWITCHBOARD_LOG_LEVEL", "SWITCHBOARD_LISTENERS__MAIN_LISTEN", "SWITCHBOARD_LIMITS_FRAME"] {
        let error = ConfigCheck::new(&registry).variable(wrong, "x").check().unwrap_err().to_string();
        let hint = error.split("did you mean ").nth(1).unwrap().split('?').next().unwrap();
        let value = if hint.ends_with("LEVEL") {
            "info"
        } else if hint.ends_with("FRAME") {
            "1KiB"
        } else {
            "mem:x"
        };
        ConfigCheck::new(&registry).variable(hint, value).check().unwrap_or_else(|error| panic!("{hint}: {error}"));
    }
}

#[test]
fn no_error_shows_a_secret() {
    const SECRET: &str = "hunter2";
    let place = place();
    for (name, text) in [
        ("a.toml", "[admin]\ntoken = \"hunter2\n"),
        ("b.toml", "[admin]\ntoken = hunter2\n"),
        ("c.toml", "[admin]\ntoken \"hunter2\"\n"),
        ("d.toml", "admin = { token = 'hunter2'\n"),
        ("e.toml", "admin = \"{ token = 'hunter2' \"\n"),
        ("f.toml", "[admin]\ntoken = ['hunter2']\n"),
        ("g.toml", "[admin]\ntokne = 'hunter2'\n"),
        ("a.yaml", "admin:\n  token: \"hunter2\n  x: 1\n"),
        ("b.yaml", "admin: {token: hunter2\n"),
        ("c.yaml", "admin:\n  token: !!binary hunter2\n"),
        ("d.yaml", "admin:\n  token: *hunter2\n"),
        ("e.yaml", "hunter2\n"),
        ("a.json", "{\"admin\": {\"token\": \"hunter2}}"),
        ("b.json", "{\"admin\": {\"token\": hunter2}}"),
        ("c.json", "hunter2"),
        ("token", "hunter2\n"),
    ] {
        fs::write(place.path().join(name), text).unwrap();
        let ended = check(place.path(), &["-c", name]);
        assert_eq!(ended.code(), Some(78), "{text}");
        assert!(!ended.stderr.contains(SECRET), "{text}: {}", ended.stderr);
    }
    for args in [
        &["--set", "admin={token='hunter2"][..],
        &["--set", "admin={\"token\":\"hunter2\""],
        &["--set", "admin=token=hunter2"],
        &["--set", "admin.token: hunter2"],
        &["--set", "admin.token: aHVudGVyMg hunter2=="],
        &["--set", "admin.token=hunter2", "--set", "admin={ token = 'other' }"],
        &["--set", "admin.token=hunter2", "--set", "admin.token=other"],
        &["--set", "admin.tokne=hunter2", "--set", "admin.tokne=other"],
        &["--set", "admin.token=a hunter2"],
        &["--set", "admin.listen=tcp://user:hunter2@h:1"],
        &["--listen", "tls://hunter2@[::1]:1"],
        &["--set", "handlers={hello={secret='hunter2'"],
        &["--framing", "{ type = 'hunter2'"],
        &["admin.token=hunter2"],
        &["--admin.token=hunter2"],
    ] {
        let ended = check(place.path(), args);
        assert!(matches!(ended.code(), Some(2 | 78)), "{args:?}: {}", ended.stdout);
        assert!(!ended.stderr.contains(SECRET), "{args:?}: {}", ended.stderr);
    }
    for (variable, value) in [
        ("SWITCHBOARD_ADMIN__TOKEN", "a hunter2"),
        ("SWITCHBOARD_ADMIN", "{ token = 'hunter2'"),
        ("SWITCHBOARD_ADMIN", "hunter2"),
        ("SWITCHBOARD_ADMIN_TOKEN", "hunter2"),
    ] {
        let ended = Program::switchboard().arg("check").env(variable, value).run();
        assert_eq!(ended.code(), Some(78), "{variable}");
        assert!(!ended.stderr.contains(SECRET), "{variable}: {}", ended.stderr);
    }
}

#[test]
fn unusual_certificate_and_key_files_work_or_are_named() {
    let authority = Authority::new();
    authority.sign("localhost", "localhost", |_| {});
    let read = |name: &str| fs::read_to_string(authority.path(name)).unwrap();
    let (certificate, key) = (read("localhost.pem"), read("localhost.key"));
    let checked = |name: &str, certificate: &[u8], key: &[u8]| {
        fs::write(authority.path("c.pem"), certificate).unwrap();
        fs::write(authority.path("k.pem"), key).unwrap();
        set_mode(&authority.path("k.pem"), 0o600);
        let tls = "listeners.main.tls={ certificate = 'c.pem', key = 'k.pem' }";
        let ended = check(authority.place(), &["--listen", "tls://127.0.0.1:0", "--set", tls]);
        assert!(!ended.stderr.contains("os error") && !ended.stderr.contains("Error"), "{name}: {}", ended.stderr);
        ended
    };
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (name, c, k) in [
        ("byte order mark", format!("\u{feff}{certificate}"), format!("\u{feff}{key}")),
        ("CR LF", certificate.replace('\n', "\r\n"), key.replace('\n', "\r\n")),
        ("text before", format!("Bag Attributes\n  x: 1\n{certificate}"), format!("Bag Attributes\n{key}")),
        ("EC PARAMETERS", certificate.clone(), format!("{parameters}{key}")),
        ("one file", format!("{certificate}{key}"), format!("{certificate}{key}")),
    ] {
        let ended = checked(name, c.as_bytes(), k.as_bytes());
        assert_eq!(ended.code(), Some(0), "{name}: {}", ended.stderr);
    }
    let utf16 =
        |text: &str| [0xff, 0xfe].into_iter().chain(text.bytes().flat_map(|byte| [byte, 0])).collect::<Vec<u8>>();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let (c, k) = (certificate.as_bytes(), key.as_bytes());
    for (name, c, k, part) in [
        ("empty", &b""[..], k, "no certificate in c.pem: the file is empty"),
        ("key as certificate", k, k, "no certificate in c.pem, only PRIVATE KEY"),
        ("certificate as key", c, c, "no private key in k.pem, only CERTIFICATE"),
        ("DER", b"\x30\x82\x01\x00abc", k, "openssl x509 -inform der -in c.pem"),
        ("PKCS #12", b"\x30\x82\x01\x00\x02\x01\x03abc", k, "PKCS #12, not PEM; convert it: openssl pkcs12 -nodes"),
        ("indented", format!("  {certificate}").as_bytes(), k, "a space in front"),
        ("DER key", c, b"\x30\x82\x01\x00abc", "openssl pkey -inform der -in k.pem"),
        ("UTF-16", c, &utf16(&key), "UTF-16"),
        ("encrypted", c, encrypted.as_bytes(), "the private key in k.pem is encrypted; decrypt it: openssl pkey"),
        ("encrypted, RFC 1421", c, old.as_bytes(), "the private key in k.pem is encrypted"),
        ("two keys", c, format!("{key}{key}").as_bytes(), "there are 2 private keys in k.pem"),
        ("cut", &c[..c.len() - 30], k, "c.pem is damaged: a section has no line -----END"),
        ("not base64", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", k, "not base64"),
        ("no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", k, "c.pem is damaged"),
        (
            "no key",
            c,
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "is damaged, or of an unsupported type; use RSA",
        ),
        ("text", c, b"hunter2", "it is not a PEM file"),
    ] {
        let ended = checked(name, c, k);
        assert_eq!(ended.code(), Some(78), "{name}");
        assert!(ended.stderr.contains(part) && !ended.stderr.contains("hunter2"), "{name}: {}", ended.stderr);
    }
    let Some(openssl) = tool("openssl") else { return };
    for (curve, part) in [("secp521r1", "of the curve P-521"), ("secp256k1", "of the curve secp256k1")] {
        for form in [
            &["ecparam", "-genkey", "-name", curve][..],
            &["genpkey", "-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")],
        ] {
            let made = Program::at(&openssl).args(form).run();
            assert_eq!(made.code(), Some(0), "{}", made.stderr);
            let ended = checked(curve, c, made.stdout.as_bytes());
            assert!(ended.stderr.contains(part) && ended.stderr.contains("P-256 or P-384"), "{}", ended.stderr);
        }
    }
}

#[test]
fn origins_are_one_line_and_output_contains_no_control_characters() {
    let place = place();
    let name = "a\n[admin]\u{202e}\u{9b}\u{2028}.toml";
    let text = "handler = 'hello'\nhandlers.hello.welcome = \"a\\u202Eb\\u009Bc\"\n";
    fs::write(place.path().join(name), text).unwrap();
    let program = || Program::switchboard().current_dir(place.path());
    let is_unsafe =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let toml = program().args(["config", "--origin", "-c", name]).run().stdout;
    assert!(toml.contains("# a\\u000A[admin]\\u202E\\u009B\\u2028.toml, line 1\n"), "{toml}");
    let json = program().args(["config", "--format", "json", "-c", name]).run().stdout;
    let registry = switchboard_server::registry();
    let printed = [&toml, &json].map(|text| {
        assert!(!text.contains(is_unsafe), "{text:?}");
        ConfigCheck::new(&registry)
            .text(if text.starts_with('{') { "json" } else { "toml" }, text.clone())
            .check()
            .unwrap()
    });
    assert_eq!(printed[0], printed[1]);
    fs::write(place.path().join("b.toml"), "handler = 'hello'\n").unwrap();
    let diff = program().args(["config", "diff", "--against", "b.toml", "-c", name]).run();
    assert!(diff.stdout.contains("\\u202E") && !diff.stdout.contains(is_unsafe), "{diff:?}");
    fs::write(place.path().join(name), "handler = \"x\\u202E\\u009By\"\n").unwrap();
    let error = program().args(["check", "-c", name]).run().stderr;
    assert!(error.lines().count() == 5 && !error.contains(is_unsafe), "{error:?}");
}

#[test]
fn log_lines_contain_no_control_characters() {
    let place = place();
    let name = "a\u{202e}b\u{9b}c\u{2028}d\u{200f}\u{61c}.toml";
    fs::write(place.path().join(name), "listen = 'tcp://127.0.0.1:0'\n").unwrap();
    let is_unsafe = |c: char| {
        let is_bidirectional = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200f}' | '\u{61c}');
        (c.is_control() && c != '\n') || is_bidirectional
    };
    let server = Program::switchboard().current_dir(place.path()).args(["serve", "-c", name]).start();
    // The value is the same after JSON is decoded.
    server.wait_for_event(|event| event["message"] == "starting" && event["config"] == name);
    server.signal(Signal::SIGTERM);
    let json = server.wait().stderr;
    assert!(!json.contains(is_unsafe), "{json:?}");
    // The port is in use, so the server stops after its first lines.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("tcp://{}", taken.local_addr().unwrap());
    let args = ["serve", "--log-format", "text", "--listen", &listen, "-c", name];
    let text = Program::switchboard().current_dir(place.path()).args(args).run().stderr;
    assert!(text.contains("starting") && !text.contains(is_unsafe), "{text:?}");
}

/// Runs a program with standard output in a new pseudo-terminal and standard input from a pipe.
const TERMINAL_OUTPUT: &str = r"
import os, pty, subprocess, sys
terminal, out = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=out)
os.close(out)
child.stdin.close()
shown = b''
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
child.wait()
sys.stdout.write(ascii(shown.decode()))
";

#[test]
fn replies_are_escaped_when_only_the_output_is_a_terminal() {
    let Some(python) = tool("python3") else { return };
    let welcome = "handlers.hello.welcome=a\u{1b}[2J\u{202e}b\u{9b}c";
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--set", welcome]).start();
    let to = format!("tcp://{}", server.socket("main"));
    let program = target().join("switchboard");
    let client = Program::at(&python).args(["-c", TERMINAL_OUTPUT]).arg(program).args(["connect", &to, "--wait", "2s"]);
    let shown = client.run().stdout;
    assert!(shown.contains(r"a\\u001B[2J\\u202Eb\\u009Bc"), "{shown}");
}

#[test]
fn files_that_others_can_read_or_write_are_warned_about() {
    let authority = Authority::new();
    authority.sign("localhost", "localhost", |_| {});
    let (config, token) = (authority.path("a.toml"), authority.path("token"));
    let text = "listen = 'tls://127.0.0.1:0'\nlisteners.main.tls = { certificate = 'localhost.pem', key = 'localhost.key' }\n\
                admin = { listen = 'tcp://127.0.0.1:0', token_file = 'token' }\n";
    fs::write(&config, text).unwrap();
    fs::write(&token, "hunter2").unwrap();
    let modes = |config_mode, key_mode, token_mode, place_mode| {
        set_mode(&config, config_mode);
        set_mode(&authority.path("localhost.key"), key_mode);
        set_mode(&token, token_mode);
        set_mode(authority.place(), place_mode);
    };
    let warnings = |args: &[&str]| {
        let ended = check(authority.place(), args);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        ended.stderr.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    modes(0o644, 0o640, 0o400, 0o755);
    assert_eq!(warnings(&["-c", "a.toml"]), Vec::<String>::new());
    for (modes_of, parts) in [
        (
            (0o644, 0o644, 0o600, 0o755),
            &["every user can read localhost.key (mode 0644), which contains a private key"][..],
        ),
        ((0o644, 0o600, 0o604, 0o755), &["every user can read token (mode 0604), which contains a token"]),
        ((0o646, 0o600, 0o600, 0o755), &["every user can write a.toml (mode 0646)"]),
        ((0o644, 0o602, 0o602, 0o755), &["every user can write localhost.key", "every user can write token"]),
        ((0o644, 0o600, 0o600, 0o1777), &[]),
        (
            (0o644, 0o600, 0o600, 0o777),
            &["replace a.toml", "replace localhost.key", "replace localhost.pem", "replace token"],
        ),
    ] {
        modes(modes_of.0, modes_of.1, modes_of.2, modes_of.3);
        let found = warnings(&["-c", "a.toml"]);
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        assert!(parts.iter().all(|part| found.iter().any(|line| line.contains(part))), "{parts:?}: {found:#?}");
    }
    modes(0o644, 0o644, 0o600, 0o755);
    let server = Program::switchboard().current_dir(authority.place()).args(["serve", "-c", "a.toml"]).start();
    let about = |file: &'static str| {
        move |event: &serde_json::Value| event["level"] == "WARN" && event["message"].to_string().contains(file)
    };
    server.wait_for_event(about("can read localhost.key"));
    set_mode(&token, 0o604);
    server.signal(Signal::SIGHUP);
    server.wait_for_event(about("can read token"));
    let args = ["--set", "admin.listen=tcp://127.0.0.1:0", "--set", "admin.token=hunter2"];
    let found = warnings(&args);
    assert!(found.len() == 1 && found[0].contains("admin.token is set by the flag --set admin.token"), "{found:?}");
    fs::write(authority.path("b.toml"), "admin = { listen = 'tcp://127.0.0.1:0', token = 'hunter2' }\n").unwrap();
    set_mode(&authority.path("b.toml"), 0o644);
    let found = warnings(&["-c", "b.toml"]);
    assert!(found.len() == 1 && found[0].contains("every user can read b.toml"), "{found:?}");
}

#[test]
fn a_file_of_another_user_in_the_working_directory_is_used_only_if_it_is_named() {
    let place = place();
    let file = place.path().join("switchboard.toml");
    fs::write(&file, "handler = 'echo'\n").unwrap();
    set_mode(&file, 0o644);
    assert_eq!(check(place.path(), &[]).code(), Some(0));
    let is_rejected = |what: &str| {
        let ended = check(place.path(), &[]);
        assert_eq!(ended.code(), Some(78), "{what}");
        assert!(
            ended.stderr.contains(what) && ended.stderr.contains("--config ./switchboard.toml"),
            "{}",
            ended.stderr
        );
    };
    set_mode(&file, 0o646);
    is_rejected("every user can write it");
    assert_eq!(check(place.path(), &["--config", "./switchboard.toml"]).code(), Some(0));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    is_rejected("it is not a regular file");
    fs::remove_dir(&file).unwrap();
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    fs::write(&file, "handler = 'echo'\n").unwrap();
    chown(&file, Some(65534), None).unwrap();
    is_rejected("it belongs to another user");
    fs::rename(&file, place.path().join("other.toml")).unwrap();
    std::os::unix::fs::symlink("other.toml", &file).unwrap();
    is_rejected("it belongs to another user");
    assert_eq!(check(place.path(), &["--config", "switchboard.toml"]).code(), Some(0));
}

#[test]
fn the_container_image_sets_no_variable_that_overrides_a_mounted_file() {
    let image = fs::read_to_string(root().join("bin/packaging/Dockerfile")).unwrap();
    assert!(!image.lines().any(|line| line.starts_with("ENV SWITCHBOARD")), "{image}");
    assert!(image.contains("COPY bin/packaging/image.toml /etc/switchboard/switchboard.toml\n"), "{image}");
    let file = root().join("bin/packaging/image.toml");
    let printed = Program::switchboard().args(["config", "--config"]).arg(&file).run();
    assert!(printed.stdout.contains("listen = \"tcp://0.0.0.0:9999\""), "{}", printed.stderr);
    let printed = Program::switchboard().args(["config", "--framing", "lines", "--config"]).arg(&file).run();
    assert_eq!(printed.code(), Some(0), "{}", printed.stderr);
}
