//! Bans of several instances that a Redis server shares: all instances have the same ones, through every fault.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};

use harness::Signal;
use serde_json::Value;

use crate::admin::AdminServer;
use crate::fleet::{Redis, accepted, connect, fleet, instance};

pub(crate) fn bans(server: &AdminServer) -> BTreeSet<String> {
    let page = server.get("/bans?limit=1000").json();
    let networks = page["bans"].as_array().unwrap().iter();
    networks.map(|ban| ban["network"].as_str().unwrap().trim_end_matches("/32").to_owned()).collect()
}

pub(crate) fn ban(server: &AdminServer, network: &str) {
    let body = format!(r#"{{"network": "{network}", "reason": "port scan"}}"#);
    assert_eq!(server.send("POST", "/bans", &body).status, 200, "{network}");
}

fn lift(server: &AdminServer, network: &str) {
    assert_eq!(server.send("DELETE", &format!("/bans/{network}"), "").status, 200, "{network}");
}

fn link(server: &AdminServer) -> Value {
    let links = fleet(server)["links"].take();
    links.as_array().into_iter().flatten().find(|link| link["name"] == "bans").cloned().unwrap_or_default()
}

#[track_caller]
fn all_have(servers: &[AdminServer], networks: &[&str]) {
    let wanted: BTreeSet<String> = networks.iter().map(|network| (*network).to_owned()).collect();
    for server in servers {
        server.wait_until(&format!("it has {networks:?}"), || bans(server) == wanted);
    }
}

#[test]
fn a_ban_and_its_removal_hold_on_all_instances() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut servers: Vec<_> = (0..2).map(|_| instance(&redis, &[])).collect();
    let mut open = accepted(&servers[1], [127, 0, 0, 1]).unwrap();
    ban(&servers[0], "127.0.0.1");
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "an open connection closes");
    ban(&servers[1], "2001:db8::/48");
    all_have(&servers, &["127.0.0.1", "2001:db8::/48"]);
    let page = servers[1].get("/bans").json();
    let received = &page["bans"][0];
    assert_eq!((received["origin"].as_str(), received["reason"].as_str()), (Some("operator"), Some("port scan")));
    let seconds = received["seconds_left"].as_f64().unwrap_or_else(|| panic!("{received}"));
    assert!((3000.0..=3600.0).contains(&seconds), "{received}");
    // A new instance has them, too.
    servers.push(instance(&redis, &[]));
    all_have(&servers, &["127.0.0.1", "2001:db8::/48"]);
    lift(&servers[2], "127.0.0.1");
    all_have(&servers, &["2001:db8::/48"]);
    assert!(accepted(&servers[0], [127, 0, 0, 1]).is_some());
    assert_eq!(servers[0].metric("switchboard_bans_total{origin=\"operator\"}"), Some(1.0), "each counts its own");
    let other = instance(&redis, &["fleet.name=other"]);
    let apart = instance(&redis, &["fleet.bans=false"]);
    ban(&servers[0], "192.0.2.1");
    all_have(&servers, &["192.0.2.1", "2001:db8::/48"]);
    assert!(bans(&apart).is_empty() && bans(&other).is_empty());
}

#[test]
fn strikes_on_one_instance_ban_on_all_and_are_remembered() {
    let Some(redis) = Redis::start(&[]) else { return };
    let settings = ["bans.strikes=2/1m", "bans.weights.frame_too_large=1", "limits.frame=16"];
    let servers: Vec<_> = (0..2).map(|_| instance(&redis, &settings)).collect();
    let strikes_until_banned = |server: &AdminServer| {
        while !bans(server).contains("127.0.0.1") {
            let mut io = connect(server, [127, 0, 0, 1]);
            let _ = io.write_all(&[b'x'; 100]);
            let _ = io.read(&mut [0]);
        }
    };
    strikes_until_banned(&servers[0]);
    all_have(&servers, &["127.0.0.1"]);
    let ban = servers[1].get("/bans").json()["bans"][0].take();
    assert_eq!((ban["origin"].as_str(), ban["times"].as_u64()), (Some("strikes"), Some(1)), "{ban}");
}

#[test]
fn bans_hold_locally_while_the_server_is_away_and_converge_afterwards() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let mut servers: Vec<_> = (0..2).map(|_| instance(&redis, &["fleet.timeout=200ms"])).collect();
    ban(&servers[0], "192.0.2.1");
    ban(&servers[1], "192.0.2.2");
    all_have(&servers, &["192.0.2.1", "192.0.2.2"]);
    let fails = || {
        for server in &servers {
            server.wait_until("the bans are not shared", || link(server)["connected"] == false);
        }
    };
    // Paused: both change something, also the ban of the other.
    redis.signal(Signal::SIGSTOP);
    fails();
    ban(&servers[0], "192.0.2.3");
    ban(&servers[1], "192.0.2.4");
    lift(&servers[1], "192.0.2.1");
    assert!(bans(&servers[0]).contains("192.0.2.3") && !bans(&servers[1]).contains("192.0.2.3"));
    redis.signal(Signal::SIGCONT);
    all_have(&servers, &["192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    // Killed, and empty afterwards.
    redis.kill();
    fails();
    lift(&servers[0], "192.0.2.2");
    ban(&servers[1], "192.0.2.5");
    redis.revive();
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
    // A part of the data is lost, then all.
    redis.run(["DEL {switchboard}:bans-log"]);
    ban(&servers[0], "192.0.2.6");
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"]);
    redis.run(["FLUSHALL"]);
    lift(&servers[1], "192.0.2.6");
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
    servers.push(instance(&redis, &[]));
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
    // No memory, and other clients of the server: the bans still hold here.
    redis.run(["CONFIG SET maxmemory 1"]);
    ban(&servers[0], "192.0.2.7");
    servers[0].wait_until("the error is reported", || link(&servers[0])["error"].as_str().is_some());
    redis.run(["CONFIG SET maxmemory 0", "CLIENT KILL TYPE normal SKIPME yes"]);
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.7"]);
    // Other data under a key: an error, and no crash.
    redis.run(["DEL {switchboard}:bans", "SET {switchboard}:bans x"]);
    ban(&servers[0], "192.0.2.8");
    servers[0].wait_until("the error is reported", || link(&servers[0])["error"].as_str().is_some());
    redis.run(["DEL {switchboard}:bans"]);
    all_have(&servers, &["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.7", "192.0.2.8"]);
}

#[test]
fn an_instance_that_was_away_learns_what_was_lifted_and_an_ended_ban_lifts_none() {
    let Some(redis) = Redis::start(&[]) else { return };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("bans.json");
    let with_file = format!("bans.file={}", file.display());
    let mut servers = vec![instance(&redis, &[]), instance(&redis, &[&with_file])];
    ban(&servers[0], "192.0.2.1");
    ban(&servers[1], "192.0.2.2");
    all_have(&servers, &["192.0.2.1", "192.0.2.2"]);
    servers[1]
        .wait_until("the file has both", || fs::read_to_string(&file).is_ok_and(|text| text.contains("192.0.2.1")));
    let killed = servers.pop().unwrap();
    killed.0.signal(Signal::SIGKILL);
    killed.0.wait();
    lift(&servers[0], "192.0.2.1");
    servers.push(instance(&redis, &[&with_file]));
    all_have(&servers, &["192.0.2.2"]);
    // The end of a shorter ban is not its removal.
    let short = r#"{"network": "192.0.2.3", "duration": "1s", "origin": "fail2ban"}"#;
    let long = r#"{"network": "192.0.2.3", "duration": "1h", "origin": "fail2ban"}"#;
    assert_eq!(servers[0].send("POST", "/bans", long).status, 200);
    all_have(&servers, &["192.0.2.2", "192.0.2.3"]);
    assert_eq!(servers[1].send("POST", "/bans", short).status, 200);
    ban(&servers[1], "192.0.2.4");
    all_have(&servers, &["192.0.2.2", "192.0.2.3", "192.0.2.4"]);
}

#[test]
fn bans_beyond_the_table_of_an_instance_are_counted() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (large, small) = (instance(&redis, &[]), instance(&redis, &["bans.entries=2"]));
    ["192.0.2.1", "192.0.2.2", "192.0.2.3"].into_iter().for_each(|network| ban(&large, network));
    small.wait_until("one does not fit", || link(&small)["lost"].as_u64().is_some_and(|lost| lost > 0));
    assert_eq!(bans(&small).len(), 2);
}
