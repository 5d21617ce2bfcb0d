//! The table of scenarios.

use crate::candidate::Service;

/// A comparison of servers under one load.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) service: Service,
    pub(crate) load: Load,
    /// The baselines that support the service.
    pub(crate) baselines: &'static [&'static str],
    /// Whether `--peers` adds the peers.
    pub(crate) peers: bool,
    pub(crate) effort: Effort,
}

/// The load on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// A closed loop: each connection has `depth` messages of `size` bytes in flight.
    Closed { connections: usize, depth: usize, size: usize },
    /// A closed loop with UDP sockets.
    Datagrams { sockets: usize, depth: usize, size: usize },
    /// An open loop: messages at a constant rate, half of the maximum of the first baseline.
    Open { connections: usize, size: usize },
    /// Connect, one message, close.
    Churn { size: usize },
    /// Idle connections, which then send one message and close.
    Idle { connections: usize },
    /// Idle connections while the server drains.
    Drain { connections: usize },
    /// A closed loop with counted system calls.
    SystemCalls { connections: usize, depth: usize, size: usize },
}

/// How much of the configured rounds and time a scenario uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    All,
    /// At most three rounds and half of the time, for one point of a curve.
    Point,
    /// One round, for results without variance.
    Once,
}

const BOTH: &[&str] = &["tokio", "epoll"];
const CODEC: &[&str] = &["tokio", "epoll", "codec"];
const TOKIO: &[&str] = &["tokio"];
/// Connections of the scenarios with many connections.
const MANY: usize = 10_000;

/// All scenarios, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for size in [64, 16 * 1024] {
        for depth in [1, 16] {
            for connections in [1, 64, 1000] {
                all.push(closed("tcp", "raw", BOTH, connections, depth, size));
            }
        }
    }
    for protocol in ["lines", "length"] {
        for depth in [1, 16] {
            all.push(closed("tcp", protocol, CODEC, 64, depth, 64));
        }
    }
    all.push(closed("tcp", "hello", BOTH, 64, 1, 8));
    let churn = scenario("churn", "hello", Load::Churn { size: 8 }, BOTH);
    all.push(Scenario { peers: true, ..churn.clone() });
    let service = Service { level: "info", ..churn.service.clone() };
    all.push(Scenario { name: "churn-info".to_owned(), service, baselines: TOKIO, ..churn.clone() });
    for (sockets, depth) in [(1, 1), (64, 1), (1, 16), (64, 16)] {
        let load = Load::Datagrams { sockets, depth, size: 64 };
        all.push(Scenario { peers: true, ..scenario(&format!("udp-64B-c{sockets}-d{depth}"), "udp", load, BOTH) });
    }

    all.push(Scenario { peers: false, ..closed("tls", "tls", TOKIO, 64, 1, 64) });
    all.push(scenario("tls-handshakes", "tls", Load::Churn { size: 64 }, TOKIO));
    all.push(scenario("open-64B-c64", "raw", Load::Open { connections: 64, size: 64 }, BOTH));
    for protocol in ["raw", "tls"] {
        let name = if protocol == "raw" { "idle-tcp" } else { "idle-tls" };
        let idle = scenario(name, protocol, Load::Idle { connections: MANY }, TOKIO);
        all.push(Scenario { effort: Effort::Once, ..idle });
    }
    all.push(point(scenario("drain-10000", "raw", Load::Drain { connections: MANY }, &[])));
    all.extend(growth(&churn));

    for (name, protocol, connections, depth) in [
        ("calls-raw-c1-d1", "raw", 1, 1),
        ("calls-raw-c64-d1", "raw", 64, 1),
        ("calls-raw-c64-d16", "raw", 64, 16),
        ("calls-lines-c64-d16", "lines", 64, 16),
        ("calls-udp-c64-d1", "udp", 64, 1),
    ] {
        let calls = scenario(name, protocol, Load::SystemCalls { connections, depth, size: 64 }, BOTH);
        all.push(Scenario { effort: Effort::Once, ..calls });
    }
    all
}

/// How costs grow with one parameter. Each name ends with the value of the parameter.
fn growth(churn: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut raw = |name: String, connections, depth, size| {
        let plain = closed("tcp", "raw", TOKIO, connections, depth, size);
        all.push(point(Scenario { name, peers: false, ..plain }));
    };
    for connections in [1, 10, 100, 1000, MANY] {
        raw(format!("growth-connections-{connections}"), connections, 1, 64);
    }
    for depth in [1, 2, 4, 8, 16, 32, 64] {
        raw(format!("growth-depth-{depth}"), 64, depth, 64);
    }
    for size in [16, 64, 256, 1024, 4 * 1024, 16 * 1024, 64 * 1024] {
        raw(format!("growth-size-{size}"), 64, 1, size);
    }
    for listeners in [1, 10, 100] {
        let plain = closed("tcp", "raw", TOKIO, 100, 1, 64);
        let service = Service { listeners, ..plain.service };
        all.push(point(Scenario { name: format!("growth-listeners-{listeners}"), service, peers: false, ..plain }));
    }
    for deny in [0, 10, 100, 1000] {
        let service = Service { deny, ..churn.service.clone() };
        let name = format!("growth-rules-{deny}");
        all.push(point(Scenario { name, service, baselines: TOKIO, ..churn.clone() }));
    }
    all
}

fn closed(
    scheme: &str,
    protocol: &'static str,
    baselines: &'static [&'static str],
    connections: usize,
    depth: usize,
    size: usize,
) -> Scenario {
    let bytes = if size >= 1024 { format!("{}K", size / 1024) } else { format!("{size}B") };
    let what = if scheme == protocol { scheme.to_owned() } else { format!("{scheme}-{protocol}") };
    let name = format!("{what}-{bytes}-c{connections}-d{depth}");
    Scenario { peers: true, ..scenario(&name, protocol, Load::Closed { connections, depth, size }, baselines) }
}

fn scenario(name: &str, protocol: &'static str, load: Load, baselines: &'static [&'static str]) -> Scenario {
    let large = matches!(load, Load::Closed { size, .. } if size > 1024);
    let buffer = if large { 64 * 1024 } else { 16 * 1024 };
    let service = Service { protocol, buffer, listeners: 1, deny: 0, level: "warn" };
    Scenario { name: name.to_owned(), service, load, baselines, peers: false, effort: Effort::All }
}

fn point(scenario: Scenario) -> Scenario {
    Scenario { effort: Effort::Point, ..scenario }
}
