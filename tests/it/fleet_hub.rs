//! Hubs of several instances that a Redis server links: each member gets each frame in order, or a gap.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Program, Signal, TEST_TIMEOUT, free_port};
use serde_json::Value;

use crate::admin::AdminServer;
use crate::fleet::{Redis, fleet};

fn instance(redis: &Redis, settings: &[&str]) -> AdminServer {
    instance_at(&redis.link(), &[&["fleet.timeout=200ms"], settings].concat())
}

/// An instance whose handler publishes to rooms.
pub(crate) fn instance_at(link: &str, settings: &[&str]) -> AdminServer {
    let link = format!("fleet.link={link}");
    let fixed = ["admin.listen=tcp://127.0.0.1:0", &link];
    let settings: Vec<&str> = fixed.into_iter().chain(settings.iter().copied()).collect();
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let program = Program::extension("extended").logs();
    let program = program.args(["serve", "--listen", "tcp://127.0.0.1:0", "--framing", "lines", "--handler", "rooms"]);
    let running = program.args(args).spawn();
    running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let server = AdminServer(running);
    is_linked(&server);
    server
}

pub(crate) fn link(server: &AdminServer) -> Value {
    let links = fleet(server)["links"].take();
    links.as_array().into_iter().flatten().find(|link| link["name"] == "rooms:rooms").cloned().unwrap_or_default()
}

pub(crate) fn is_linked(server: &AdminServer) {
    server.wait_until("the hub is linked", || link(server)["connected"] == true);
}

/// A member of the room `r`, and what it has received.
pub(crate) struct Member {
    io: BufReader<TcpStream>,
    /// The last number of each publisher.
    last: HashMap<String, u64>,
    /// Publishers whose next number may be any higher one, because of a gap.
    gapped: HashMap<String, bool>,
    gaps: usize,
}

impl Member {
    pub(crate) fn join(server: &AdminServer) -> Self {
        let io = TcpStream::connect(server.0.socket("main")).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let mut member = Self { io: BufReader::new(io), last: HashMap::new(), gapped: HashMap::new(), gaps: 0 };
        member.io.get_mut().write_all(b"join r\n").unwrap();
        assert_eq!(member.line(), "joined");
        member
    }

    fn publish(&mut self, name: &str, number: u64) {
        self.io.get_mut().write_all(format!("publish r {name} {number}\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.io.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the connection has ended: {line:?}");
        line.trim_end().to_owned()
    }

    /// Reads one line: a frame in order, or a gap.
    fn read(&mut self) {
        let line = self.line();
        let (name, number) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        if name == "gap" {
            self.gaps += 1;
            self.gapped = self.last.keys().map(|name| (name.clone(), true)).collect();
            return;
        }
        let is_gapped = self.gapped.remove(name).unwrap_or(false);
        let last = self.last.insert(name.to_owned(), number);
        let in_order = last.is_none_or(|last| number == last + 1 || (is_gapped && number > last));
        assert!(in_order, "{name}: {number} after {last:?}, gap: {is_gapped}");
    }

    /// Reads until a frame of this publisher with this number, or a higher one.
    fn read_until(&mut self, name: &str, number: u64) {
        while self.last.get(name).is_none_or(|last| *last < number) {
            self.read();
        }
    }

    fn read_until_gap(&mut self) {
        let gaps = self.gaps;
        while self.gaps == gaps {
            self.read();
        }
    }
}

/// Publishes numbers until a member of each instance gets those of all others, and then reads the last ones. The first
/// ones can be published before the other instances have subscribed to the room.
pub(crate) fn all_are_linked(members: &mut [Member], next: &mut u64) {
    let names: Vec<String> = (0..members.len()).map(|n| format!("p{n}")).collect();
    let (first, deadline) = (*next, Instant::now() + TEST_TIMEOUT);
    let has_all = |member: &Member| names.iter().all(|name| member.last.get(name).is_some_and(|last| *last >= first));
    while !members.iter().all(has_all) {
        assert!(Instant::now() < deadline, "{:?}", members.iter().map(|member| &member.last).collect::<Vec<_>>());
        for (member, name) in members.iter_mut().zip(&names) {
            member.publish(name, *next);
            member.read_until(name, *next);
        }
        *next += 1;
        thread::park_timeout(Duration::from_millis(10));
    }
    for member in members {
        names.iter().for_each(|name| member.read_until(name, *next - 1));
    }
}

#[test]
fn a_frame_reaches_the_members_of_its_room_on_all_instances_in_order() {
    let Some(redis) = Redis::start(&[]) else { return };
    let servers: Vec<_> = (0..3).map(|_| instance(&redis, &[])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    let end = next + 499;
    thread::scope(|scope| {
        for (n, member) in members.iter_mut().enumerate() {
            scope.spawn(move || {
                let name = format!("p{n}");
                for number in next..=end {
                    member.publish(&name, number);
                    member.read_until(&name, number);
                }
                (0..3).for_each(|n| member.read_until(&format!("p{n}"), end));
            });
        }
    });
}

#[test]
fn a_fault_of_the_server_is_a_gap_and_what_waits_arrives_later() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let servers: Vec<_> = (0..2).map(|_| instance(&redis, &[])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    let failures = || -> Vec<u64> { servers.iter().map(|server| link(server)["failures"].as_u64().unwrap()).collect() };
    // Nothing is stored: these do no harm.
    redis.run(["FLUSHALL"]);
    all_are_linked(&mut members, &mut next);
    redis.run(["CONFIG SET maxmemory 1"]);
    all_are_linked(&mut members, &mut next);
    redis.run(["CONFIG SET maxmemory 0"]);
    for fault in ["kill", "pause", "replica", "restart"] {
        let before = failures();
        let failed = || failures().iter().zip(&before).all(|(now, before)| now > before);
        match fault {
            "kill" => drop(redis.run(["CLIENT KILL TYPE pubsub"])),
            "pause" => redis.signal(Signal::SIGSTOP),
            "replica" => drop(redis.run(["REPLICAOF 127.0.0.1 1"])),
            _ => {
                redis.kill();
                servers[0].wait_until("both links have failed", failed);
                // Members on the same instance get frames meanwhile, and the others later.
                for (n, member) in members.iter_mut().enumerate() {
                    member.publish(&format!("p{n}"), next);
                    member.read_until(&format!("p{n}"), next);
                }
                next += 1;
                redis.revive();
            }
        }
        servers[0].wait_until(fault, failed);
        match fault {
            "pause" => redis.signal(Signal::SIGCONT),
            "replica" => drop(redis.run(["REPLICAOF NO ONE"])),
            _ => {}
        }
        servers.iter().for_each(is_linked);
        let gaps: Vec<_> = members.iter().map(|member| member.gaps).collect();
        all_are_linked(&mut members, &mut next);
        for (member, gaps) in members.iter_mut().zip(gaps) {
            if member.gaps == gaps {
                member.read_until_gap();
            }
        }
    }
}

#[test]
fn a_killed_instance_is_a_gap_and_one_that_ends_is_none() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut servers: Vec<_> = (0..3).map(|_| instance(&redis, &[])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    let (killed, mut last) = (servers.remove(0), members.remove(0));
    last.publish("p0", next);
    last.read_until("p0", next);
    killed.0.signal(Signal::SIGKILL);
    members.iter_mut().for_each(Member::read_until_gap);
    // The frames that a client has sent before the end arrive, too.
    let (ended, mut last) = (servers.remove(0), members.remove(0));
    let end = next + 50;
    (next..=end).for_each(|number| last.publish("p1", number));
    last.read_until("p1", end);
    ended.0.signal(Signal::SIGTERM);
    let member = &mut members[0];
    let gaps = member.gaps;
    member.read_until("p1", end);
    assert_eq!((member.gaps - gaps, ended.0.wait().code()), (0, Some(0)));
}

#[test]
fn a_paused_instance_has_its_frames_or_a_gap() {
    let Some(redis) = Redis::start(&[]) else { return };
    let servers: Vec<_> = (0..2).map(|_| instance(&redis, &[])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    servers[1].0.signal(Signal::SIGSTOP);
    for _ in 0..300 {
        members[0].publish("p0", next);
        members[0].read_until("p0", next);
        next += 1;
    }
    // The others hear nothing of it.
    members[0].read_until_gap();
    servers[1].0.signal(Signal::SIGCONT);
    members[1].read_until("p0", next - 1);
    members[1].publish("p1", next - 1);
    members[0].read_until("p1", next - 1);
}

#[test]
fn a_server_before_redis_7_has_other_commands() {
    let hidden = ["SSUBSCRIBE", "SPUBLISH", "SUNSUBSCRIBE"].map(|command| ["--rename-command", command, ""]);
    let Some(redis) = Redis::start(&hidden.concat()) else { return };
    let servers: Vec<_> = (0..2).map(|_| instance(&redis, &[])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    all_are_linked(&mut members, &mut 0);
}

#[test]
fn a_reload_changes_the_fleet_of_a_hub() {
    let Some(redis) = Redis::start(&[]) else { return };
    let other = instance(&redis, &["fleet.name=other"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("switchboard.toml");
    let [listen, admin] = [(); 2].map(|()| format!("tcp://127.0.0.1:{}", free_port()));
    let write = |fleet: &str| {
        let text =
            format!("listen = '{listen}'\nframing = 'lines'\nhandler = 'rooms'\nadmin.listen = '{admin}'\n{fleet}");
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let program = Program::extension("extended").logs();
    let running = program.args(["--config"]).args([&file]).spawn();
    running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let server = AdminServer(running);
    let mut members = vec![Member::join(&server), Member::join(&other)];
    write(&format!("fleet = {{ link = '{}', name = 'other' }}\n", redis.link()));
    assert_eq!(server.send("POST", "/reload", "").status, 200);
    is_linked(&server);
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    write("");
    assert_eq!(server.send("POST", "/reload", "").status, 200);
    server.wait_until("there is no fleet", || fleet(&server).is_null());
    let subscribers = r#"EVAL "return redis.call('PUBSUB', 'SHARDNUMSUB', ARGV[1])[2]" 0 {other}:hub:rooms:rooms:r"#;
    other.wait_until("the hub is linked no more", || redis.run([subscribers]) == [":1"]);
    for (at, name) in [(1, "p1"), (0, "p0")] {
        members[at].publish(name, next);
        members[at].read_until(name, next);
    }
    assert_eq!(members[0].last["p1"], next - 1);
}
