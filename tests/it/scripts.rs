//! Conversation scripts: `switchboard test` against servers of this project and of others.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use harness::{Output, Program, Running, free_port, root, tool};
use switchboard::script::Script;
use tempfile::TempDir;

use crate::connect::tls_server;
use crate::readme::blocks;
use crate::tls::Authority;

/// Plays scripts without their first line against an address. The name of each is its file.
fn play(to: &str, scripts: &[(&str, &str)], args: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    for (name, body) in scripts {
        fs::write(place.path().join(name), format!("switchboard script 1\n{body}")).unwrap();
    }
    let names = scripts.iter().map(|(name, _)| *name);
    Program::switchboard().arg("test").args(names).args(["--to", to]).args(args).current_dir(place.path()).run()
}

#[track_caller]
fn passes(to: &str, body: &str) {
    let ended = play(to, &[("a.script", body)], &["--timeout", "1m"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("passed  a.script"), "{}", ended.stdout);
}

/// The report of a script that fails, without the line of its number.
#[track_caller]
fn failure(to: &str, body: &str) -> String {
    let ended = play(to, &[("a.script", body)], &["--timeout", "1m"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(1), ""), "{}", ended.stdout);
    ended.stdout
}

#[track_caller]
fn fails(to: &str, body: &str, parts: &[&str]) {
    let report = failure(to, body);
    for part in parts {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
}

fn server(args: &[&str]) -> (Running, String) {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).args(args).start();
    let address = server.address("main");
    (server, address)
}

/// A server that serves each connection with a function, and its address.
fn stub(mut serve: impl FnMut(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|socket| serve(socket.unwrap())));
    address
}

/// The scripts that the guide shows, by the text of their first step.
fn documented(part: &str) -> String {
    let guide = fs::read_to_string(root().join("bin/docs/scripts.md")).unwrap();
    let scripts = blocks(&guide).into_iter().filter(|(_, text)| text.starts_with("switchboard script"));
    let found: Vec<_> = scripts.map(|(_, text)| text).filter(|text| text.contains(part)).collect();
    let [script] = &found[..] else { panic!("{part}: {found:?}") };
    script.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn every_script_of_the_guide_is_valid() {
    let guide = fs::read_to_string(root().join("bin/docs/scripts.md")).unwrap();
    let scripts = blocks(&guide).into_iter().filter(|(_, text)| text.starts_with("switchboard script"));
    let count = scripts
        .inspect(|(_, text)| drop(text.parse::<Script>().unwrap_or_else(|error| panic!("{error}\n{text}"))))
        .count();
    assert_eq!(count, 7);
}

#[test]
fn the_program_prints_what_the_guide_shows() {
    let guide = fs::read_to_string(root().join("bin/docs/scripts.md")).unwrap();
    let (_server, address) = server(&[]);
    let right = play(&address, &[("hello.script", &documented("after \"exit\""))], &[]);
    assert_eq!(right.code(), Some(0), "{}", right.stderr);
    let wrong = play(&address, &[("wrong.script", "< \"welcome!\"\n> \"Bob\"\n< \"hello, Ada!\"\n")], &[]);
    assert_eq!(wrong.code(), Some(1), "{}", wrong.stderr);
    for output in [right, wrong] {
        assert!(guide.contains(&output.stdout), "the guide does not show\n{}", output.stdout);
    }
}

#[test]
fn a_script_has_the_same_bytes_with_and_without_its_framing() {
    let (_server, address) =
        server(&["--handler", "echo", "--framing", "{ type = \"length\", width = 2, order = \"big\" }"]);
    passes(&address, &documented("> 0005"));
    passes(&address, &documented("framing { type"));
    fails(&address, "> 0005 \"hello\"\n< 0006 \"hello\"\n", &["a.script:3:5: error: the reply differs at offset 1"]);
    for framing in ["lines", "json-lines", "raw", "{ type = \"delimited\", delimiter = \"#\" }"] {
        let (_server, address) = server(&["--handler", "echo", "--framing", framing]);
        passes(&address, &format!("framing {framing}\n> \"123\"\n< \"123\"\n> \"45\"\n< \"45\"\n> end\n< end\n"));
    }
}

#[test]
fn every_transport_is_spoken() {
    let place = tempfile::tempdir().unwrap();
    let stream = "> \"one\\n\" 00\n< \"one\\n\" 00\n> end\n< end\n";
    let unix = format!("unix:{}", place.path().join("stream").display());
    let _unix = Program::switchboard().args(["--listen", &unix, "--handler", "echo"]).start();
    passes(&unix, stream);
    fails(&unix, "> \"a\"\n> reset\n", &["3:1: error: a Unix socket has no reset"]);
    let unixgram = format!("unixgram:{}", place.path().join("datagram").display());
    let _unixgram = Program::switchboard().args(["--listen", &unixgram, "--handler", "echo"]).start();
    passes(&unixgram, "> \"one\"\n< \"one\"\n> \"two\"\n< \"two\"\n");
    let authority = Authority::new();
    let (_tls, tls) = tls_server(&authority, &[]);
    let ended = play(
        &tls,
        &[("a.script", "> \"one\\n\"\n< \"one\\n\"\n> end\n< end\n")],
        &["--ca", &authority.path("ca.pem").display().to_string()],
    );
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    let plain = tls.replace("tls://", "tcp://");
    fails(&plain, "> \"hello, hello, hello\\n\"\n< \"hello\"\n", &["it expects TLS (tls://)"]);
}

#[test]
fn datagrams_are_whole_and_peers_are_separate() {
    let server = Program::switchboard().args(["--listen", "udp://127.0.0.1:0"]).start();
    let address = server.address("main");
    passes(&address, &documented("peer alice"));
    // A host name can have an address on which no server listens.
    passes(&address.replace("127.0.0.1", "localhost"), "> \"Ada\"\n< \"hello, Ada!\"\n");
    fails(
        &address,
        "> \"Ada\"\n< \"hello, \"\n< \"Ada!\"\n",
        &[
            "3:12: error: the reply has 4 bytes after the expected 7",
            "expected  \"hello, \"\n  received  \"hello, Ada!\"\n",
        ],
    );
    fails(&address, "> \"Ada\"\n< \"hello, Ada! How are you?\"\n", &["the reply ends after 11 of 24 bytes"]);
    fails(&address, "> \"Ada\"\n", &["a.script: error: the script is at its end; received a datagram of 11 bytes"]);
    fails(&address, "> end\n", &["datagrams have no > end"]);
    fails(&format!("udp://127.0.0.1:{}", free_port()), "> \"Ada\"\n< \"hello\"\n", &["nothing is listening on udp://"]);
}

#[test]
fn peers_are_served_in_the_order_of_the_steps() {
    let (_server, address) = server(&["--framing", "lines"]);
    let script = "framing lines\npeer alice\npeer bob\nalice < \"welcome!\"\nbob < \"welcome!\"\nalice > \"a\"\nbob > \"b\"\n\
                  bob < \"hello, b!\"\nalice < \"hello, a!\"\nalice > close\nalice > open\nbob > \"exit\"\nbob < end\n\
                  alice < \"welcome!\"\n";
    passes(&address, script);
    let wrong = script.replace("bob < \"hello, b!\"", "bob < \"hello, a!\"");
    fails(&address, &wrong, &["a.script:9:15: error: the reply differs at offset 7: expected \"a\", received \"b\""]);
}

#[test]
fn timeouts_and_the_end_of_a_connection_are_expected() {
    let (_patient, address) = server(&["--set", "timeouts.idle=3s"]);
    let idle = documented("closed idle");
    let ended = play(&address, &[("idle.script", &idle)], &[]);
    let note = "passed  idle.script (1 close reason is not compared: only the server knows it)\n";
    assert!(ended.code() == Some(0) && ended.stdout.starts_with(note), "{}{}", ended.stdout, ended.stderr);
    let hurry = "< \"welcome!\"\ntimeout 50ms\n< closed\n";
    fails(
        &address,
        hurry,
        &["4:1: error: expected the end of the connection; the connection is still open after 50ms"],
    );
    let (_hasty, address) = server(&["--set", "timeouts.idle=200ms"]);
    fails(
        &address,
        "< \"welcome!\"\n< nothing 1m\n",
        &["3:1: error: expected nothing; the server ended the connection after "],
    );
    fails(&address, "< nothing 1m\n", &["2:1: error: expected nothing; received 8 bytes", "received  \"welcome!\""]);
    fails(&address, "< \"welcome!\"\n> \"exit\"\n< reset\n", &["expected a reset; the server ended the connection"]);
    fails(
        &address,
        "< \"welcome! and more\"\n",
        &[
            "2:12: error: the server ended the connection; 9 of 17 bytes are missing",
            "  expected  \"welcome! and more\"\n  received  \"welcome!\"\n                     ^\n",
        ],
    );
    passes(&address, "< \"welcome!\"\n> reset\n< closed io_error\n> open\n< \"welcome!\"\n> close\n");
}

#[test]
fn what_comes_instead_of_a_reply_is_explained() {
    let mut open = Vec::new();
    let silent = stub(move |socket| open.push(socket));
    fails(&silent, "timeout 50ms\n> \"a\"\n< \"b\"\n", &["4:1: error: nothing arrived within 50ms; 1 byte is missing"]);
    let filled = failure(&silent, "timeout 50ms\n> \"a\"*30000000\n");
    assert!(filled.contains("3:1: error: the server has not read the last "), "{filled}");
    let surplus = stub(|mut socket| socket.write_all(b"hello\n").unwrap());
    fails(
        &surplus,
        "< \"hello\"\n< end\n",
        &["3:1: error: expected the end of the connection; received 1 byte that no step expects", "received  \"\\n\""],
    );
    let binary = stub(|mut socket| socket.write_all(b"\x00\x01\x02\x1b[2J\xff").unwrap());
    fails(&binary, "< 000103\n", &["2:7: error: the reply differs at offset 2: expected 0x03, received 0x02"]);
    fails(&binary, "framing json-lines\n< \"1\"\n", &["is not a message of the framing"]);
    let refused = format!("tcp://127.0.0.1:{}", free_port());
    fails(&refused, "> \"a\"\n", &["2:1: error: cannot connect to tcp://127.0.0.1:"]);
}

#[test]
fn a_client_that_stops_reading_and_bytes_of_any_value_are_possible() {
    let (_server, address) = server(&["--handler", "echo"]);
    passes(&address, "> \"a\"*300000\n< *299999 \"a\"\n> pause\nwait 1ms\n> resume\n> 00ff*40\n< *1 ff*1 *78\n");
    // The server cannot write to a client that does not read, so it reads nothing more.
    let stalled = "timeout 200ms\n> pause\n> \"a\"*30000000\n";
    fails(&address, stalled, &["4:1: error: the server has not read the last "]);
    let divided = stub(|mut socket| {
        for byte in b"one and two" {
            socket.write_all(&[*byte]).unwrap();
            socket.flush().unwrap();
        }
    });
    passes(&divided, "< \"one\"\n< \" and \" *2\n  \"o\"\n< end\n");
}

#[test]
fn a_script_that_cannot_be_played_is_an_error_before_any_is_played() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(place.path().join(name), text).unwrap();
    write("good", b"switchboard script 1\n");
    write("bad", b"switchboard script 1\n> \"a\n> clsoe\n");
    write("newer", b"switchboard script 2\n");
    write("bytes", b"switchboard script 1\n> \"\xff\"\n");
    write("framing", b"switchboard script 1\nframing line\n");
    write("any", b"switchboard script 1\n> \"id\" *2\n");
    let run = |names: &[&str]| {
        let program = Program::switchboard().arg("test").args(names).args(["--to", "tcp://127.0.0.1:1"]);
        program.current_dir(place.path()).run()
    };
    for (name, error) in [
        (
            "bad",
            "bad:2:3: error: the text has no closing quote; write \\\" for a quote in the text\n  |\n2 | > \"a\n  |   ^^\n",
        ),
        ("bad", "bad:3:3: error: \"clsoe\" is not a step of a client; did you mean \"close\"?\n"),
        ("newer", "newer:1:20: error: the script has version 2, and this program reads version 1; use a newer"),
        ("bytes", "error: bytes: line 2 is not UTF-8; write such bytes as \\xHH in quotes, or in hexadecimal\n"),
        ("framing", "framing:2:9: error: \"line\" is not a framing; did you mean \"lines\"?"),
        (
            "any",
            "any:2:8: error: a client cannot send bytes of any value; write the bytes, or record whole messages with",
        ),
        ("nowhere", "error: nowhere: the script cannot be read: No such file or directory\n"),
    ] {
        let ended = run(&["good", name]);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(78), ""), "{name}");
        assert!(ended.stderr.contains(error), "{name}: {}", ended.stderr);
    }
    let usage = |args: &[&str]| Program::switchboard().arg("test").args(args).run().code();
    assert_eq!(usage(&["good"]), Some(2));
    assert_eq!(usage(&["--to", "tcp://127.0.0.1:1"]), Some(2));
    assert_eq!(usage(&["good", "--to", "tcp://127.0.0.1:1", "--insecure"]), Some(2));
}

/// The reports of one script that passes, one that fails and one with an error.
fn report(format: &str) -> Output {
    let (_server, address) = server(&[]);
    let scripts = [
        ("a#1.script", "info handler \"he<ll>o & \\x1b\"\n< \"welcome!\"\n"),
        ("b\".script", "< \"welcome!\"\n> \"\\x00]]>\"\n< \"hello, \" 01 \"]]>!\"\n"),
        ("c.script", "framing length\n< \"\"\n"),
    ];
    let ended = play(&address, &scripts, &["--format", format]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(1), ""));
    ended
}

#[test]
fn the_report_for_ci_systems_is_junit_xml() {
    let Some(python) = tool("python3") else { return };
    const READ: &str = r#"
import sys, xml.etree.ElementTree as tree
suites = tree.parse(sys.stdin.buffer).getroot()
[suite] = suites
print(suites.tag, suite.tag, *[suite.get(key) for key in ("tests", "failures", "errors", "skipped")])
float(suites.get("time")), float(suite.get("time"))
for case in suite:
    float(case.get("time"))
    print(case.get("name"), case.get("classname") == suite.get("name"), [child.tag for child in case])
    for child in case:
        print(child.get("message"), repr(child.text), [entry.attrib for entry in child])
"#;
    let read = Program::at(&python).args(["-c", READ]).input(report("junit").stdout).run();
    assert_eq!(read.code(), Some(0), "{}", read.stderr);
    let lines: Vec<_> = read.stdout.lines().collect();
    assert_eq!(lines[0], "testsuites testsuite 3 2 0 0", "{}", read.stdout);
    assert_eq!(lines[1], "a#1.script True ['properties']");
    assert!(lines[2].ends_with("[{'name': 'handler', 'value': 'he<ll>o & \\\\u{1b}'}]"), "{}", lines[2]);
    assert_eq!(lines[3], "b\".script True ['failure']");
    assert!(lines[4].starts_with("the reply differs at offset 7: expected 0x01, received 0x00 "), "{}", lines[4]);
    assert!(lines[4].contains("]]>!"), "{}", lines[4]);
    assert_eq!(lines[5], "c.script True ['failure']");
}

#[test]
fn the_report_can_be_in_the_test_anything_protocol() {
    let tap = report("tap").stdout;
    let mut lines = tap.lines();
    assert_eq!((lines.next(), lines.next()), (Some("TAP version 13"), Some("1..3")));
    assert_eq!(lines.next(), Some("ok 1 - a\\#1.script"));
    // A YAML block is indented by two spaces, and follows its test point.
    let mut is_block = false;
    for line in lines {
        match line {
            "  ---" if !is_block => is_block = true,
            "  ..." if is_block => is_block = false,
            _ if is_block => assert!(line.starts_with("  "), "{line}"),
            _ => {
                assert!(line.starts_with("not ok 2 - b\".script") || line.starts_with("not ok 3 - c.script"), "{line}")
            }
        }
    }
    assert!(!is_block && tap.contains("\n  message: \"the reply differs at offset 7: "), "{tap}");
    let Some(prove) = tool("prove") else { return };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("report.tap");
    fs::write(&file, &tap).unwrap();
    let proved = Program::at(&prove).args(["--exec", "cat"]).arg(&file).run();
    assert!(
        proved.stdout.contains("Failed tests:  2-3") && !proved.stdout.contains("Parse errors"),
        "{}",
        proved.stdout
    );
}

/// Starts a program of others at a free port, and plays scripts of an echo against it.
fn echoes(program: impl FnOnce(u16) -> Program) {
    let port = free_port();
    let address = format!("tcp://127.0.0.1:{port}");
    let _server = program(port).ready_at(&*address).start();
    passes(&address, "> \"one\\n\"\n< \"one\\n\"\n> \"two\\n\"\n< \"two\\n\"\n> end\n< end\n");
    fails(
        &address,
        "> \"one\\n\"\n< \"ONE\\n\"\n",
        &[
            "3:4: error: the reply differs at offset 0: expected \"O\", received \"o\"",
            "  expected  \"ONE\\n\"\n  received  \"one\\n\"\n             ^\n",
        ],
    );
}

#[test]
fn a_server_of_python_is_tested() {
    let Some(python) = tool("python3") else { return };
    const ECHO: &str = r#"
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"#;
    echoes(|port| Program::at(&python).args(["-c", ECHO]).arg(port.to_string()));
}

#[test]
fn a_server_of_socat_is_tested() {
    let Some(socat) = tool("socat") else { return };
    echoes(|port| Program::at(&socat).arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr")).arg("PIPE"));
}

#[test]
fn haproxy_is_tested() {
    let Some(haproxy) = tool("haproxy") else { return };
    let (place, port) = (TempDir::new().unwrap(), free_port());
    let address = format!("tcp://127.0.0.1:{port}");
    let file = format!(
        "defaults\n mode http\n timeout client 60s\n timeout connect 60s\n timeout server 60s\nfrontend echo\n \
         bind 127.0.0.1:{port}\n http-request return status 200 content-type text/plain lf-string \"%[path]\"\n"
    );
    fs::write(place.path().join("haproxy.cfg"), file).unwrap();
    let configuration: &Path = &place.path().join("haproxy.cfg");
    let _server = Program::at(&haproxy).args(["-db", "-f"]).arg(configuration).ready_at(&*address).start();
    let script = "> \"GET /hello HTTP/1.1\\r\\n\"\n  \"host: a\\r\\n\"\n  \"connection: close\\r\\n\"\n  \"\\r\\n\"\n\
                  < \"HTTP/1.1 200 OK\\r\\n\"\n  \"content-length: 6\\r\\n\"\n  \"content-type: text/plain\\r\\n\"\n  \
                  \"connection: close\\r\\n\"\n  \"\\r\\n\"\n  \"/hello\"\n< end\n";
    passes(&address, script);
    fails(&address, &script.replace("\"/hello\"", "\"/HELLO\""), &["11:5: error: the reply differs at offset "]);
}

/// The handler hello with lines, as a server of Python and as a service of HAProxy.
const HELLO_PYTHON: &str = r#"
import socketserver, sys
class Hello(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"welcome!\n")
        for line in self.rfile:
            name = line.rstrip(b"\r\n")
            if name == b"exit":
                break
            self.wfile.write(b"hello, " + name + b"!\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Hello).serve_forever()
"#;
const HELLO_LUA: &str = r#"
core.register_service("hello", "tcp", function(client)
  client:send("welcome!\n")
  while true do
    local line = client:getline()
    if line == nil or line == "" then return end
    local name = line:gsub("[\r\n]+$", "")
    if name == "exit" then return end
    client:send("hello, " .. name .. "!\n")
  end
end)
"#;

#[test]
fn the_script_of_the_guide_shows_how_servers_differ() {
    let script = documented("long  > \"x\"*100000");
    let (_ours, address) = server(&["--framing", "lines", "--handler", "hello"]);
    let ended = play(&address, &[("lines.script", &script)], &["--timeout", "1m"]);
    assert_eq!(ended.code(), Some(0), "{}", ended.stdout);
    // Both answer all names, and have no limit for a line.
    let differs = |program: Program, port: u16| {
        let address = format!("tcp://127.0.0.1:{port}");
        let _server = program.ready_at(&*address).start();
        let named = script.lines().filter(|line| !line.starts_with("long ")).collect::<Vec<_>>().join("\n");
        passes(&address, &named.replace("peer long\n", ""));
        let patient = script.replace("long  < closed", "timeout 2s\nlong  < closed");
        let ended = play(&address, &[("lines.script", &patient)], &["--timeout", "1m"]);
        assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
        let shown = "11:1: error: expected the end of the connection; the connection is still open after 2s";
        assert!(ended.stdout.contains(shown), "{}", ended.stdout);
    };
    if let Some(python) = tool("python3") {
        let port = free_port();
        differs(Program::at(&python).args(["-c", HELLO_PYTHON]).arg(port.to_string()), port);
    }
    let Some(haproxy) = tool("haproxy") else { return };
    let (place, port) = (TempDir::new().unwrap(), free_port());
    let lua = place.path().join("hello.lua");
    fs::write(&lua, HELLO_LUA).unwrap();
    let file = format!(
        "global\n lua-load {}\ndefaults\n mode tcp\n timeout client 10m\n timeout connect 10m\n timeout server 10m\n\
         frontend hello\n bind 127.0.0.1:{port}\n tcp-request content use-service lua.hello\n",
        lua.display()
    );
    let configuration = place.path().join("haproxy.cfg");
    fs::write(&configuration, file).unwrap();
    differs(Program::at(&haproxy).args(["-db", "-f"]).arg(&configuration), port);
}

#[test]
fn replies_to_several_messages_can_come_together() {
    // A server that answers only after it has read everything, in one write.
    let address = stub(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        socket.write_all(&all).unwrap();
    });
    passes(&address, "> \"a\"\n> \"b\"\n> end\n< \"a\"\n< \"b\"\n< end\n");
    fails(&address, "> \"a\"\n> \"b\"\n> end\n< \"a\"\n< \"c\"\n", &["6:4: error: the reply differs at offset 0"]);
}
