//! The table of scenarios.

use crate::server::Service;

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) service: Service,
    /// The baselines that can serve it.
    pub(crate) baselines: &'static [&'static str],
    pub(crate) load: Load,
}

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many connections, each with so many messages of so many bytes under way.
    Closed { connections: usize, depth: usize, size: usize },
}

const ALL: &[&str] = &["tokio", "epoll"];
const CODEC: &[&str] = &["tokio", "epoll", "codec"];

/// All scenarios, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for size in [64, 16 * 1024] {
        for depth in [1, 16] {
            for connections in [1, 64, 1000] {
                all.push(closed("raw", ALL, Load::Closed { connections, depth, size }));
            }
        }
    }
    for protocol in ["lines", "length"] {
        for depth in [1, 16] {
            all.push(closed(protocol, CODEC, Load::Closed { connections: 64, depth, size: 64 }));
        }
    }
    all.push(closed("hello", ALL, Load::Closed { connections: 64, depth: 1, size: 8 }));
    all
}

fn closed(protocol: &'static str, baselines: &'static [&'static str], load: Load) -> Scenario {
    let Load::Closed { connections, depth, size } = load;
    let bytes = if size >= 1024 { format!("{}K", size / 1024) } else { format!("{size}B") };
    Scenario {
        name: format!("tcp-{protocol}-{bytes}-c{connections}-d{depth}"),
        service: Service { protocol, buffer: if size > 1024 { 64 * 1024 } else { 16 * 1024 }, listeners: 1 },
        baselines,
        load,
    }
}
