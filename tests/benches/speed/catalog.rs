//! The table of scenarios, each with its label in the document and its goal.

use crate::candidate::Service;
use crate::scenario::{Effort, Goal, Load, Scenario, Table, bytes, count, pipeline};

const BOTH: &[&str] = &["tokio", "epoll"];
const CODEC: &[&str] = &["tokio", "epoll", "codec"];
const TOKIO: &[&str] = &["tokio"];
const UNRECORDED: &[&str] = &["unrecorded"];
/// Connections of the scenarios with many connections.
const MANY: usize = 10_000;
/// The goal of a curve: the greatest growth of the ratio to tokio since the first point.
const MAX_GROWTH: f64 = 1.1;

/// All scenarios, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let churn = churn();
    let mut all = streams();
    all.push(Scenario { peers: true, ..churn.clone() }.at_most(1.03));
    let service = Service { level: "info", ..churn.service.clone() };
    let info = churn.clone().named("churn-info", "the same at log level info");
    all.push(Scenario { service, baselines: TOKIO, ..info });
    for (sockets, depth, goal) in
        [(1, 1, None), (64, 1, Some(0.97)), (1, 16, None), (8, 16, Some(0.93)), (64, 16, None)]
    {
        let load = Load::Datagrams { sockets, depth, size: 64 };
        let label = format!("UDP echo 64 B, {}{}", count(sockets, "socket"), pipeline(depth));
        let udp = Scenario::new(&format!("udp-64B-c{sockets}-d{depth}"), &label, "udp", load, BOTH);
        all.push(Scenario { peers: true, ..udp }.at_most(goal));
    }
    all.extend(workers(&churn));
    all.push(Scenario { peers: false, ..Scenario::closed("tls", "tls", TOKIO, 64, 1, 64) });
    let label = "TLS handshake, one message, close";
    all.push(Scenario::new("tls-handshakes", label, "tls", Load::Churn { size: 64 }, TOKIO));
    let label = "99.9th percentile of the latency at half of the maximum load";
    all.push(Scenario::new("open-64B-c64", label, "raw", Load::Open { connections: 64, size: 64 }, BOTH));
    all.extend(recorder());
    all.extend(connections());
    all.extend(growth(&churn));
    all.extend(system_calls());
    all.extend(key_value());
    all
}

/// Closed loops over TCP connections.
fn streams() -> Vec<Scenario> {
    let raw = [
        (64, 1, 1, None),
        (64, 64, 1, Some(1.03)),
        (64, 1000, 1, None),
        (64, 1, 16, None),
        (64, 64, 16, Some(1.02)),
        (64, 1000, 16, None),
        (1024, 1000, 1, Some(1.05)),
        (16 * 1024, 1, 1, None),
        (16 * 1024, 64, 1, Some(1.04)),
        (16 * 1024, 1000, 1, None),
        (16 * 1024, 1, 16, None),
        (16 * 1024, 64, 16, None),
        (16 * 1024, 1000, 16, None),
    ];
    let raw = raw.into_iter().map(|(size, connections, depth, goal)| {
        Scenario::closed("tcp", "raw", BOTH, connections, depth, size).at_most(goal)
    });
    let framed = [("lines", 1, Some(1.04)), ("lines", 16, Some(1.08)), ("length", 1, None), ("length", 16, Some(1.15))];
    let framed = framed
        .into_iter()
        .map(|(protocol, depth, goal)| Scenario::closed("tcp", protocol, CODEC, 64, depth, 64).at_most(goal));
    let hello = Scenario::closed("tcp", "hello", BOTH, 64, 1, 8).at_most(0.98);
    raw.chain(framed).chain([hello]).collect()
}

fn churn() -> Scenario {
    let label = "hello: connect, welcome, one message, close";
    Scenario::new("churn", label, "hello", Load::Churn { size: 8 }, BOTH)
}

/// Servers with two workers, which are not pinned: they may use every core, also the core of the load generator.
///
/// The load generator stays on its core, so that it is as steady as in the other scenarios. The kernel moves the
/// workers between the cores. With two cores, the workers share one core with the load generator.
fn workers(churn: &Scenario) -> impl Iterator<Item = Scenario> {
    let raw = |connections, size| Scenario::closed("tcp", "raw", TOKIO, connections, 1, size);
    let all = [("raw-64B-c64-d1", raw(64, 64)), ("raw-1K-c1000-d1", raw(1000, 1024)), ("churn", churn.clone())];
    all.map(|(name, one)| {
        let service = Service { workers: 2, ..one.service.clone() };
        let label = format!("two workers: {}", one.label);
        let two = one.named(&format!("workers2-{name}"), &label);
        Scenario { service, baselines: TOKIO, ..two }.at_most(1.05)
    })
    .into_iter()
}

/// The flight recorder, compared with the same server without it: at the same rate, and at full speed.
fn recorder() -> impl Iterator<Item = Scenario> {
    let (connections, depth, size) = (64, 16, 64);
    let paced = Load::Paced { connections, depth, size };
    let closed = Load::Closed { connections, depth, size };
    let all = [("recorder-paced", "the same rate", paced), ("recorder-closed", "full speed", closed)];
    all.into_iter().map(move |(name, speed, load)| {
        let label = format!("lines {}, {}{}, {speed}", bytes(size), count(connections, "connection"), pipeline(depth));
        let plain = Scenario::new(name, &label, "lines", load, UNRECORDED);
        let service = Service { recorder: true, ..plain.service.clone() };
        let goal = Goal::Ratio { to: "unrecorded", max: 1.05 };
        Scenario { service, ..plain }.shown_in(Table::Recorder, Effort::All).goal(goal)
    })
}

/// Memory, idle CPU time and drain of many connections.
fn connections() -> Vec<Scenario> {
    let idle = |name, label, protocol, goal| {
        let idle = Scenario::new(name, label, protocol, Load::Idle { connections: MANY }, TOKIO);
        idle.shown_in(Table::Connections, Effort::Once).goal(Goal::Value(goal))
    };
    let drain = Scenario::new("drain-10000", "drain of 10,000", "raw", Load::Drain { connections: MANY }, &[]);
    let load = Load::IdleCpu { connections: 19_000 };
    let cpu = Scenario::new("idle-cpu-19000", "CPU time of 19,000 idle connections", "raw", load, &[]);
    // Each listener has the default limit of 10,000 connections. Also, the kernel searches long for a free port when
    // more than half of the ephemeral ports are connected to one address.
    let service = Service { listeners: 2, ..cpu.service.clone() };
    vec![
        idle("idle-tcp", "TCP, after a message", "raw", 1536.0),
        idle("idle-tls", "TLS, after a message", "tls", 9216.0),
        drain.shown_in(Table::Connections, Effort::Point).goal(Goal::Value(0.3)),
        // The goal is no work at all. A millisecond per second allows for the runtime itself.
        Scenario { service, ..cpu }.shown_in(Table::Connections, Effort::Once).goal(Goal::Value(1e6)),
    ]
}

/// How costs grow with one parameter. Each name ends with the value of the parameter.
fn growth(churn: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut point = |curve: &str, value: usize, label: &str, first: Option<&'static str>, scenario: Scenario| {
        let point = scenario.named(&format!("growth-{curve}-{value}"), label);
        let goal = first.map(|first| Goal::Growth { to: "tokio", first, max: MAX_GROWTH });
        all.push(Scenario { goal, ..point }.shown_in(Table::Growth, Effort::Point));
    };
    let raw = |connections, depth, size| Scenario::closed("tcp", "raw", TOKIO, connections, depth, size);
    for value in [1, 10, 100, 1000, MANY] {
        let label = count(value, "connection");
        point("connections", value, &label, Some("growth-connections-1"), raw(value, 1, 64));
    }
    for value in [1, 4, 16, 64] {
        point("depth", value, &format!("{} per read", count(value, "message")), None, raw(64, value, 64));
    }
    for value in [16, 256, 1024, 4 * 1024, 16 * 1024, 64 * 1024] {
        point("size", value, &format!("messages of {}", bytes(value)), None, raw(64, 1, value));
    }
    for value in [1, 10, 100] {
        let plain = raw(100, 1, 64);
        let service = Service { listeners: value, ..plain.service.clone() };
        let scenario = Scenario { service, ..plain };
        point("listeners", value, &count(value, "listener"), Some("growth-listeners-1"), scenario);
    }
    for value in [0, 10, 100, 1000] {
        let service = Service { deny: value, ..churn.service.clone() };
        let scenario = Scenario { service, baselines: TOKIO, ..churn.clone() };
        let label = format!("{}, per connection", count(value, "access rule"));
        point("rules", value, &label, Some("growth-rules-0"), scenario);
    }
    for value in [0, 100_000] {
        let service = Service { bans: value, ..churn.service.clone() };
        let scenario = Scenario { service, baselines: TOKIO, ..churn.clone() };
        point("bans", value, &format!("{}, per connection", count(value, "ban")), Some("growth-bans-0"), scenario);
    }
    all
}

fn system_calls() -> impl Iterator<Item = Scenario> {
    [
        ("calls-raw-c1-d1", "1 connection", "raw", 1, 1),
        ("calls-raw-c64-d1", "64 connections", "raw", 64, 1),
        ("calls-raw-c64-d16", "64 connections, pipeline of 16", "raw", 64, 16),
        ("calls-lines-c64-d16", "lines, 64 connections, pipeline of 16", "lines", 64, 16),
        ("calls-udp-c64-d1", "UDP, 64 sockets", "udp", 64, 1),
    ]
    .into_iter()
    .map(|(name, label, protocol, connections, depth)| {
        let load = Load::SystemCalls { connections, depth, size: 64 };
        Scenario::new(name, label, protocol, load, BOTH).shown_in(Table::SystemCalls, Effort::Once)
    })
}

/// The example `kv` against Redis.
fn key_value() -> impl Iterator<Item = Scenario> {
    [("get", "GET", 1, 0.95), ("set", "SET", 1, 0.95), ("get", "GET", 16, 0.85), ("set", "SET", 16, 0.85)]
        .into_iter()
        .map(|(command, label, depth, max)| {
            let (name, label) = (format!("kv-{command}-p{depth}"), format!("{label}{}", pipeline(depth)));
            let kv = Scenario::new(&name, &label, "redis", Load::Redis { command, pipeline: depth }, &["redis"]);
            kv.shown_in(Table::KeyValue, Effort::All).goal(Goal::Ratio { to: "redis", max })
        })
}
