//! Bans from outside: commands, the admin endpoint, restart, SIGKILL, upgrade, and fail2ban.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use harness::{Program, Running, Signal, TEST_TIMEOUT, root, tool, uninterrupted};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::admin::{AdminServer, Response, ask};
use crate::commands::Configured;
use crate::upgrade::Installed;

/// Sends a message from a local address. Returns the reply; empty if the server closes the connection.
fn reply_from(address: &str, to: &str) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{address}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.parse::<SocketAddr>().unwrap().into()).unwrap();
    exchange(TcpStream::from(socket), "hi\n")
}

fn exchange(mut io: TcpStream, message: &str) -> String {
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let _ = io.write_all(message.as_bytes()); // a rejected client may be disconnected before the write
    let mut reply = [0; 100];
    let length = uninterrupted(|| io.read(&mut reply)).unwrap_or(0); // a reset is a close
    String::from_utf8_lossy(&reply[..length]).into_owned()
}

/// A server with a file of bans, which can be started again.
struct Kept(tempfile::TempDir);

impl Kept {
    fn new(bans: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let text = format!(
            "[admin]\nlisten = 'unix:admin.sock'\n[bans]\nfile = 'bans.json'\n{bans}\n\
             [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'echo'\nframing = 'json-lines'\n"
        );
        fs::write(place.path().join("switchboard.toml"), text).unwrap();
        Self(place)
    }

    fn program(&self, args: &[&str]) -> Program {
        Program::switchboard().current_dir(&self.0).args(args)
    }

    fn start(&self) -> Running {
        let server = self.program(&["serve"]).spawn();
        server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        server
    }

    fn run(&self, args: &[&str]) -> String {
        let ended = self.program(args).run();
        assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{args:?}");
        ended.stdout
    }

    fn bans(&self) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.run(&["ban", "--list", "--json"])).unwrap();
        list["bans"].as_array().unwrap().clone()
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Response {
        ask(UnixStream::connect(self.0.path().join("admin.sock")).unwrap(), method, path, "", body)
    }
}

#[test]
fn the_command_bans_lists_and_removes() {
    for admin in ["tcp://127.0.0.1:0", "unix:admin.sock"] {
        let this = Configured::start(admin, "");
        assert_eq!(this.ok(&["ban", "--list"]), "no bans\n");
        let mut client = this.client();
        let banned = this.ok(&["ban", "127.0.0.1", "--for", "10m", "--reason", "port scan"]);
        assert_eq!(banned, "banned 127.0.0.1 for 10m 0s\n");
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap_or(0), 0, "the open connection closes");
        assert_eq!(exchange(TcpStream::connect(this.server.socket("main")).unwrap(), ""), "");
        this.ok(&["ban", "2001:db8::1", "--origin", "fail2ban"]);
        let text = this.ok(&["ban", "--list"]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NETWORK", "ORIGIN", "AGE", "LEFT", "REASON"]);
        assert_eq!((lines[1][0], lines[1][1]), ("127.0.0.1", "operator"), "{text}");
        assert!(text.lines().nth(1).unwrap().ends_with("  port scan"), "{text}");
        assert_eq!((lines[2][0], lines[2][1]), ("2001:db8::/64", "fail2ban"), "{text}");
        let list = this.json(&["ban", "--list"]);
        assert_eq!(list["bans"][0]["reason"], "port scan");
        assert!((3590.0..=3600.0).contains(&list["bans"][1]["seconds_left"].as_f64().unwrap()), "{list}");
        let error = this.fails(&["ban", "--remove", "127.0.0.1", "--origin", "fail2ban"], 1);
        assert!(error.ends_with("): no ban by fail2ban of 127.0.0.1\n"), "{error}");
        assert_eq!(this.ok(&["ban", "--remove", "127.0.0.1"]), "removed the ban of 127.0.0.1\n");
        assert_eq!(this.json(&["ban", "--remove", "2001:db8::/64"])["network"], "2001:db8::/64");
        this.client();
        let error = this.fails(&["ban", "--remove", "127.0.0.1"], 1);
        assert!(error.ends_with("): no ban of 127.0.0.1\n"), "{error}");
        let error = this.fails(&["ban", "0.0.0.0/0"], 1);
        assert!(error.contains("network: 0.0.0.0/0 contains every client"), "{error}");
        for wrong in [
            &["ban"][..],
            &["ban", "10.0.0.1/8"],
            &["ban", "--list", "192.0.2.7"],
            &["ban", "192.0.2.7", "--for", "long"],
        ] {
            assert!(!this.fails(wrong, 2).is_empty());
        }
    }
}

#[test]
fn the_admin_endpoint_accepts_json_and_rejects_everything_else() {
    let server = AdminServer::start(&[]);
    let post = |body: &str| server.send("POST", "/bans", body);
    let banned = post(r#"{"network": "192.0.2.7", "duration": "10m", "reason": "scan"}"#);
    assert_eq!(banned.status, 200, "{}", banned.body);
    let ban = banned.json();
    assert_eq!((&ban["network"], &ban["origin"], &ban["times"]), (&json!("192.0.2.7"), &json!("operator"), &json!(0)));
    for (body, part) in [
        ("", "invalid ban: EOF"),
        (r#"{"network": "192.0.2.7/8"}"#, "host bits"),
        (r#"{"network": "192.0.2.7", "duration": 60}"#, "expected a duration"),
        (r#"{"network": "192.0.2.7", "duration": "0s"}"#, "duration: "),
        (r#"{"network": "192.0.2.7", "for": "1h"}"#, "unknown field `for`"),
        (r#"{"duration": "1h"}"#, "missing field `network`"),
        (r#"{"network": "192.0.2.7", "origin": "strikes"}"#, "only the server"),
        (r#"{"network": "192.0.2.7", "reason": "a\u001bb"}"#, "reason: "),
    ] {
        let rejected = post(body);
        assert!(rejected.status == 422 && rejected.body.contains(part), "{body}: {}", rejected.body);
    }
    for number in 0..5 {
        assert_eq!(post(&format!("{{\"network\": \"198.51.100.{number}\"}}")).status, 200);
    }
    let page = server.get("/bans?limit=4").json();
    assert_eq!((page["bans"].as_array().unwrap().len(), &page["next"]), (4, &json!("198.51.100.2")));
    let page = server.get("/bans?limit=4&after=198.51.100.2").json();
    assert_eq!((page["bans"].as_array().unwrap().len(), &page["next"]), (2, &Value::Null));
    for query in ["limit=0", "limit=10001", "after=x", "page=1"] {
        assert_eq!(server.get(&format!("/bans?{query}")).status, 422, "{query}");
    }
    assert_eq!(post(r#"{"network": "10.0.0.0/8"}"#).status, 200);
    assert_eq!(server.send("DELETE", "/bans/10.0.0.0/8", "").status, 200);
    assert_eq!(server.send("DELETE", "/bans/10.0.0.0%2F8", "").status, 404);
    assert_eq!(server.send("DELETE", "/bans/nobody", "").status, 422);
    assert_eq!(server.send("DELETE", "/bans/192.0.2.7?origin=fail2ban", "").status, 404);
    let status = server.get("/status").json();
    assert_eq!((&status["bans"]["active"], &status["bans"]["total"]["operator"]), (&json!(6), &json!(7)));
    assert_eq!(server.metric("switchboard_bans_active"), Some(6.0));
    assert_eq!(server.metric("switchboard_bans_total{origin=\"operator\"}"), Some(7.0));
    assert_eq!(server.metric("switchboard_connections_rejected_total{listener=\"main\",reason=\"banned\"}"), Some(0.0));
    let removed = server.0.wait_for_event(|event| event["message"] == "ban removed");
    assert_eq!((&removed["network"], &removed["cause"]), (&json!("10.0.0.0/8"), &json!("removed")));
    let banned = server.0.wait_for_event(|event| event["message"] == "banned");
    assert_eq!((&banned["network"], &banned["reason"]), (&json!("192.0.2.7"), &json!("scan")));
    assert_eq!((&banned["origin"], &banned["seconds"]), (&json!("operator"), &json!(600.0)));
}

#[test]
fn an_address_of_the_allow_list_is_not_banned() {
    let server = AdminServer::start(&["--set", "access.allow=127.0.0.0/8"]);
    let rejected = server.send("POST", "/bans", r#"{"network": "127.0.0.1"}"#);
    assert!(rejected.status == 409 && rejected.body.contains("access.allow of every listener"), "{}", rejected.body);
    assert_eq!(server.send("POST", "/bans", r#"{"network": "127.0.0.0/7"}"#).status, 422, "host bits");
    assert_eq!(server.send("POST", "/bans", r#"{"network": "126.0.0.0/7"}"#).status, 200);
    let no_object = server.send("POST", "/bans", "[]");
    assert!(no_object.status == 422 && no_object.body.contains("expected an object with"), "{}", no_object.body);
    server.client();
}

#[test]
fn bans_survive_a_restart_and_sigkill() {
    let kept = Kept::new("strikes = '2/h'");
    let server = kept.start();
    assert_eq!(reply_from("127.0.0.7", &server.socket("main")), "");
    kept.run(&["ban", "127.0.0.8", "--reason", "by hand"]);
    server.signal(Signal::SIGKILL);
    server.wait();
    let file = kept.0.path().join("bans.json");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    let server = kept.start();
    let to = server.socket("main");
    // The ban is known before the first client is accepted. The other client is served, but its message is invalid.
    reply_from("127.0.0.8", &to);
    let rejected = server.wait_for_event(|event| event["message"] == "connection rejected");
    assert_eq!((&rejected["reason"], &rejected["rule"]), (&json!("banned"), &json!("bans")));
    for _ in 0..3 {
        reply_from("127.0.0.7", &to);
    }
    let banned = server.wait_for_event(|event| event["message"] == "banned");
    assert_eq!((&banned["network"], &banned["origin"]), (&json!("127.0.0.7"), &json!("strikes")));
    assert_eq!(banned["reason"], "3 strikes, the last for bad_frame");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));

    let server = kept.start();
    let bans = kept.bans();
    let networks: Vec<_> = bans.iter().map(|ban| ban["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["127.0.0.7", "127.0.0.8"]);
    assert_eq!((&bans[1]["reason"], &bans[0]["times"]), (&json!("by hand"), &json!(1)));
    assert!(bans.iter().all(|ban| (3500.0..=3600.5).contains(&ban["seconds_left"].as_f64().unwrap())), "{bans:?}");
    drop(server);
}

#[test]
fn a_damaged_file_is_an_error_of_the_check_and_of_the_start() {
    let kept = Kept::new("");
    let file = kept.0.path().join("bans.json");
    for (text, part) in [
        ("{\"version\": 1,\n\"bans\": [{", "it is damaged: EOF while parsing an object at line 2"),
        ("{\"version\": 7}", "it has version 7, and this program reads version 1"),
        ("[]", "it is damaged: invalid length 0, expected an object with the keys version, bans and repeats"),
    ] {
        fs::write(&file, text).unwrap();
        for command in ["check", "serve"] {
            let ended = kept.program(&[command]).run();
            assert_eq!(ended.code(), Some(78), "{}", ended.stderr);
            assert!(ended.stderr.contains("bans.file: bans.json: ") && ended.stderr.contains(part), "{}", ended.stderr);
            assert!(ended.stderr.contains("move it away to start without its bans"), "{}", ended.stderr);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "nothing overwrites it");
    }
    fs::remove_file(&file).unwrap();
    let missing = kept.program(&["check", "--set", "bans.file=missing/bans.json"]).run();
    assert!(missing.stderr.contains("there is no directory missing; create it"), "{}", missing.stderr);
    let times = kept.program(&["check", "--set", "bans.term=2d", "--set", "bans.weights.bad_frme=2"]).run();
    assert_eq!(times.code(), Some(78));
    assert!(times.stderr.contains("bans.longest") || times.stderr.contains("bans.term"), "{}", times.stderr);
    assert!(times.stderr.contains("did you mean \"bad_frame\""), "{}", times.stderr);
}

#[test]
fn a_file_that_cannot_be_written_is_reported_and_the_ban_applies() {
    let kept = Kept::new("");
    let directory = kept.0.path().join("state");
    fs::create_dir(&directory).unwrap();
    let server = kept.program(&["serve", "--set", "bans.file=state/bans.json"]).spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    fs::remove_dir(&directory).unwrap();
    let ended = kept.program(&["ban", "127.0.0.7"]).run();
    assert_eq!((ended.code(), &*ended.stdout), (Some(0), "banned 127.0.0.7 for 1h 0m\n"));
    assert!(
        ended.stderr.contains("does not have this change") && ended.stderr.contains("state/bans.json"),
        "{}",
        ended.stderr
    );
    let error = kept.send("GET", "/status", "").json()["bans"]["file_error"].clone();
    assert!(error.as_str().unwrap().contains("cannot write it"), "{error}");
    server.wait_for_event(|event| event["message"] == "cannot save the bans; trying again");
    fs::create_dir(&directory).unwrap();
    kept.run(&["ban", "127.0.0.8"]);
    assert_eq!(kept.send("GET", "/status", "").json()["bans"]["file_error"], Value::Null);
    assert!(fs::read_to_string(directory.join("bans.json")).unwrap().contains("127.0.0.7"));
}

#[test]
fn an_upgrade_keeps_the_bans_and_the_new_process_has_the_file() {
    let config = "[admin]\nlisten = 'unix:admin.sock'\n[bans]\nfile = 'bans.json'\n\
                  [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'echo'\n";
    let mut server = Installed::start(config);
    let (to, place) = (server.log().socket("main"), server.place.path().to_owned());
    server.log().wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let send = |method: &str, path: &str, body: &str| {
        ask(UnixStream::connect(place.join("admin.sock")).unwrap(), method, path, "", body)
    };
    assert_eq!(send("POST", "/bans", r#"{"network": "127.0.0.7"}"#).status, 200);
    assert_eq!(send("POST", "/bans", r#"{"network": "127.0.0.9"}"#).status, 200);
    assert_eq!(send("DELETE", "/bans/127.0.0.9", "").status, 200);
    server.upgrade();
    assert_eq!((reply_from("127.0.0.7", &to), reply_from("127.0.0.8", &to)), (String::new(), "hi\n".to_owned()));
    assert_eq!(send("GET", "/bans", "").json()["bans"].as_array().unwrap().len(), 1);
    assert_eq!(send("POST", "/bans", r#"{"network": "127.0.0.8"}"#).status, 200);
    server.next("drained");
    let file = fs::read_to_string(place.join("bans.json")).unwrap();
    assert!(file.contains("127.0.0.7") && file.contains("127.0.0.8"), "the old process does not write it: {file}");
    // A rejected upgrade leaves the file to the old process.
    server.install(&crate::upgrade::script(&place, "broken", "#!/bin/sh\nexit 7\n"));
    server.upgrade_is_rejected();
    assert_eq!(send("POST", "/bans", r#"{"network": "127.0.0.9"}"#).status, 200);
    assert!(fs::read_to_string(place.join("bans.json")).unwrap().contains("127.0.0.9"));
    server.stop();
}

/// The configuration of fail2ban: that of Debian, with the files of this project and its own directories.
fn fail2ban_configuration(place: &Path, program: &Path) {
    let configuration = place.join("fail2ban");
    let copied = Program::at(&tool("cp").unwrap()).args(["-r", "/etc/fail2ban"]).arg(&configuration).run();
    assert_eq!(copied.code(), Some(0), "{}", copied.stderr);
    let _ = fs::remove_dir_all(configuration.join("jail.d"));
    fs::create_dir(configuration.join("jail.d")).unwrap();
    for kind in ["action.d", "filter.d", "jail.d"] {
        for file in fs::read_dir(root().join("bin/packaging/fail2ban").join(kind)).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, configuration.join(kind).join(file.file_name().unwrap())).unwrap();
        }
    }
    let local = format!(
        "[DEFAULT]\nallowipv6 = auto\n[switchboard]\nenabled = true\nbackend = polling\nlogpath = {0}/server.log\n\
         maxretry = 3\nbantime = 20m\nignoreself = false\nignoreip =\n\
         action = switchboard[switchboard='{1}', admin='unix:{0}/admin.sock']\n",
        place.display(),
        program.display(),
    );
    fs::write(configuration.join("jail.local"), local).unwrap();
    let own = format!(
        "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = {0}/f2b.sock\n\
         pidfile = {0}/f2b.pid\ndbfile = None\n",
        place.display(),
    );
    fs::write(configuration.join("fail2ban.local"), own).unwrap();
}

#[test]
fn fail2ban_bans_and_unbans_through_the_action() {
    let (Some(daemon), Some(client)) = (tool("fail2ban-server"), tool("fail2ban-client")) else { return };
    let kept = Kept::new("strikes = '0/s'");
    let place = kept.0.path().to_owned();
    let log = fs::File::create(place.join("server.log")).unwrap();
    drop(Program::switchboard()); // builds the binary
    let binary = harness::target().join("switchboard");
    let mut command = std::process::Command::new(&binary);
    let mut server = command.arg("serve").current_dir(&place).stderr(log).spawn().unwrap();
    fail2ban_configuration(&place, &binary);
    let mut fail2ban = Program::at(&daemon).args(["-f", "-c"]).arg(place.join("fail2ban")).arg("start").spawn();
    let run = |args: &[&str]| Program::at(&client).arg("-c").arg(place.join("fail2ban")).args(args).run();
    fail2ban.wait_until("fail2ban has started the jail", || run(&["status", "switchboard"]).code() == Some(0));
    let listening = || {
        let text = fs::read_to_string(place.join("server.log")).unwrap();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut events = events.filter(|event| event["message"] == "listening" && event["listener"] == "main");
        events.next().map(|event| event["address"].as_str().unwrap().replace("tcp://", ""))
    };
    fail2ban.wait_until("the server listens", || listening().is_some());
    let to = listening().unwrap();
    for _ in 0..3 {
        assert_eq!(reply_from("127.0.0.7", &to), "", "an invalid message");
    }
    fail2ban.wait_until("the action has banned", || !kept.bans().is_empty());
    let ban = kept.bans().remove(0);
    assert_eq!((&ban["network"], &ban["origin"]), (&json!("127.0.0.7"), &json!("fail2ban")));
    assert_eq!(ban["reason"], "fail2ban switchboard");
    assert!((1100.0..=1200.0).contains(&ban["seconds_left"].as_f64().unwrap()), "{ban}");
    let unbanned = run(&["set", "switchboard", "unbanip", "127.0.0.7"]);
    assert_eq!(unbanned.code(), Some(0), "{}", unbanned.stderr);
    fail2ban.wait_until("the action has unbanned", || kept.bans().is_empty());
    // The first question of this test can come before the jail.
    let output = fail2ban.stdout();
    let mut errors = output.lines().filter(|line| line.contains("ERROR") && !line.contains("UnknownJailException"));
    assert_eq!(errors.next(), None, "{output}");
    let _ = server.kill();
    let _ = server.wait();
    fail2ban.signal(Signal::SIGTERM);
    fail2ban.wait();
}
