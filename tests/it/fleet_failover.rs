//! The server of a fleet fails over to a replica, or is a cluster, and its user has only the permissions that the guide
//! names.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use harness::{Program, Running, TEST_TIMEOUT, free_port, root, tool};

use crate::fleet::{Redis, fleet};
use crate::fleet_bans::{ban, bans};
use crate::fleet_hub::{Member, all_are_linked, instance_at, is_linked, link};

/// A Redis server, or a sentinel, on a port.
fn start(directory: &tempfile::TempDir, port: u16, config: &str) -> Option<Running> {
    let file = directory.path().join(format!("{port}.conf"));
    fs::write(&file, format!("port {port}\ndir {}\n{config}", directory.path().display())).unwrap();
    let program = Program::at(&tool("redis-server")?).args([&file]);
    let program = if config.contains("monitor") { program.arg("--sentinel") } else { program };
    Some(program.ready_at(format!("tcp://127.0.0.1:{port}")).start())
}

/// Runs a command and returns all that the server replies.
fn ask(port: u16, command: &str) -> String {
    let mut io = TcpStream::connect(("127.0.0.1", port)).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
    io.shutdown(Shutdown::Write).unwrap();
    let mut reply = String::new();
    io.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn rooms_and_bans_follow_a_primary_that_sentinel_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let [primary, replica, sentinel] = [(); 3].map(|()| free_port());
    let fixed = "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n";
    let Some(first) = start(&directory, primary, fixed) else { return };
    let _second = start(&directory, replica, &format!("{fixed}replicaof 127.0.0.1 {primary}\n")).unwrap();
    let monitor = format!(
        "sentinel monitor chat 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds chat 1000\n\
         sentinel failover-timeout chat 5000\n"
    );
    let _sentinel = start(&directory, sentinel, &monitor).unwrap();
    // The first sentinel of the list is down.
    let address = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/chat");
    let servers: Vec<_> = (0..2).map(|_| instance_at(&address, &["fleet.timeout=2s"])).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut next = 0;
    all_are_linked(&mut members, &mut next);
    ban(&servers[0], "192.0.2.1");
    servers[1].wait_until("it has the ban", || bans(&servers[1]).contains("192.0.2.1"));
    let knows = |text: &str| ask(sentinel, "SENTINEL REPLICAS chat").contains(text);
    servers[0].wait_until("the sentinel knows the replica", || knows(&replica.to_string()) && knows("\r\nok\r\n"));
    let failures: Vec<_> = servers.iter().map(|server| link(server)["failures"].as_u64().unwrap()).collect();
    drop(first);
    for (server, failures) in servers.iter().zip(failures) {
        server.wait_until("the link has failed", || link(server)["failures"].as_u64().unwrap() > failures);
        is_linked(server);
        server.wait_until("limits are shared again", || fleet(server)["connected"] == true);
    }
    all_are_linked(&mut members, &mut next);
    ban(&servers[1], "192.0.2.2");
    servers[0].wait_until("it has both bans", || bans(&servers[0]).len() == 2);
    let wrong = Program::switchboard()
        .args(["check", "--bind", "--set", &format!("fleet.link=redis-sentinel://127.0.0.1:{sentinel}/other")])
        .args(["--set", "listen=tcp://127.0.0.1:0"])
        .run();
    assert_eq!(wrong.code(), Some(1), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("knows no primary \"other\""), "{}", wrong.stderr);
}

/// The ports of a cluster of three nodes, each with a third of the slots, and its nodes.
fn cluster(directory: &tempfile::TempDir) -> Option<([u16; 3], [Running; 3])> {
    let ports = [(); 3].map(|()| (free_port(), free_port()));
    let mut nodes = Vec::new();
    for (port, bus) in ports {
        let config = format!(
            "save \"\"\nappendonly no\ncluster-enabled yes\ncluster-port {bus}\ncluster-config-file {port}.nodes\n"
        );
        nodes.push(start(directory, port, &config)?);
    }
    let (first, first_bus) = ports[0];
    for ((port, _), (slots, epoch)) in ports.into_iter().zip([("0 5460", 1), ("5461 10922", 2), ("10923 16383", 3)]) {
        assert_eq!(ask(port, &format!("CLUSTER ADDSLOTSRANGE {slots}")), "+OK\r\n+OK\r\n");
        assert_eq!(ask(port, &format!("CLUSTER SET-CONFIG-EPOCH {epoch}")), "+OK\r\n+OK\r\n");
        assert_eq!(ask(port, &format!("CLUSTER MEET 127.0.0.1 {first} {first_bus}")), "+OK\r\n+OK\r\n");
    }
    for (node, (port, _)) in nodes.iter_mut().zip(ports) {
        node.wait_until("it knows all slots", || ask(port, "CLUSTER INFO").contains("cluster_state:ok"));
    }
    Some((ports.map(|(port, _)| port), nodes.try_into().ok()?))
}

/// The text of a reply of one value.
fn value(port: u16, command: &str) -> String {
    ask(port, command).lines().next().unwrap().trim_start_matches(':').to_owned()
}

/// Moves a slot and its keys to another node of a cluster.
fn move_slot(slot: &str, from: u16, to: u16, other: u16) {
    let id = |port| ask(port, "CLUSTER MYID").lines().nth(1).unwrap().to_owned();
    let ok = |port, command: String| assert_eq!(value(port, &command), "+OK", "{command}");
    ok(to, format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
    ok(from, format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
    let keys = ask(from, &format!("CLUSTER GETKEYSINSLOT {slot} 100"));
    let keys: Vec<_> = keys.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!keys.is_empty());
    for key in keys {
        // A lease can have expired meanwhile.
        let moved = value(from, &format!("MIGRATE 127.0.0.1 {to} {key} 0 5000"));
        assert!(["+OK", "+NOKEY"].contains(&&*moved), "{key}: {moved}");
    }
    for port in [to, from, other] {
        ok(port, format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
    }
}

#[test]
fn the_node_of_a_cluster_that_has_the_keys_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let Some((ports, _nodes)) = cluster(&directory) else { return };
    let slot = value(ports[0], "CLUSTER KEYSLOT {switchboard}");
    let owner = slot.parse::<usize>().unwrap() * 3 / 16384;
    let [own, next, last] = [0, 1, 2].map(|n| ports[(owner + n) % 3]);
    // One instance knows the node that has the keys, one knows another node.
    let instance = |port| instance_at(&format!("redis://127.0.0.1:{port}"), &["fleet.timeout=2s"]);
    let servers = [instance(own), instance(last)];
    let is_shared = |fleet: serde_json::Value| fleet["state"] == "shared" && fleet["instances"] == 2;
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    let mut number = 0;
    all_are_linked(&mut members, &mut number);
    ban(&servers[0], "192.0.2.1");
    servers[1].wait_until("it has the ban", || bans(&servers[1]).contains("192.0.2.1"));
    move_slot(&slot, own, next, last);
    ban(&servers[1], "192.0.2.2");
    servers[0].wait_until("it has both bans", || bans(&servers[0]).len() == 2);
    all_are_linked(&mut members, &mut number);
    for server in &servers {
        server.wait_until("limits are shared", || is_shared(fleet(server)));
    }
}

#[test]
fn the_permissions_of_the_guide_are_enough() {
    let Some(redis) = Redis::start(&[]) else { return };
    let guide = fs::read_to_string(root().join("bin/docs/operators.md")).unwrap();
    let commands: Vec<_> = guide.lines().filter(|line| line.starts_with("ACL SETUSER switchboard")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        assert_eq!(redis.run([&command.replace("PASSWORD", "secret")]), ["+OK"], "{command}");
    }
    let user = ["fleet.username=switchboard", "fleet.password=secret", "rate.messages_per_source=3/s"];
    let settings = [&user[..], &["limits.connections_per_source=4"]].concat();
    let servers: Vec<_> = (0..2).map(|_| instance_at(&redis.link(), &settings)).collect();
    let mut members: Vec<_> = servers.iter().map(Member::join).collect();
    all_are_linked(&mut members, &mut 0);
    ban(&servers[0], "192.0.2.1");
    for server in &servers {
        server.wait_until("it has the ban", || bans(server).contains("192.0.2.1"));
        server.wait_until("leases are renewed", || fleet(server)["renewals"].as_u64().unwrap() > 0);
        let fleet = fleet(server);
        let failed = fleet["failures"].as_object().unwrap().values().any(|count| *count != 0);
        let links = fleet["links"].as_array().unwrap().iter();
        assert!(!failed && links.into_iter().all(|link| link["failures"] == 0), "{fleet}");
    }
}
