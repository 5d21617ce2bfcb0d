//! The lowest layer: what holds where nobody says anything. Every value comes from the framework, none is written here.

use std::thread;

use figment::value::{Dict, Value};
use serde_json::{Value as Json, json};
use switchboard::Registry;
use switchboard::framing::AnyFraming;
use switchboard::settings::{DrainSettings, Limits, Rates, SocketOptions, Timeouts};

use super::source::Source;
use super::tree;
use super::value::{Format, Keepalive, Mode, Rate, Size, Span};

/// Where `main` listens when nobody says otherwise.
const LISTEN: &str = "tcp://127.0.0.1:9999";

/// The handler when nobody says otherwise, where it is registered.
const HANDLER: &str = "hello";

/// The default of every key, for listeners of these names.
pub(crate) fn source<'n>(names: impl Iterator<Item = &'n String>, registry: &Registry) -> Source {
    let (limits, timeouts, rates) = (Limits::default(), Timeouts::default(), Rates::default());
    let (socket, drain) = (SocketOptions::default(), DrainSettings::default());
    let span = |span| Span(span).to_string();
    let mut tree = into_dict(&json!({
        "log": { "level": "info", "format": Format::default().to_string() },
        "drain": { "announce": span(drain.announce), "deadline": span(drain.deadline) },
        "runtime": { "workers": thread::available_parallelism().map_or(1, |cores| cores.get().min(1024)) },
        "limits": {
            "connections": limits.connections,
            "connections_per_source": limits.connections_per_source,
            "handshakes": limits.handshakes,
            "frame": Size(limits.frame).to_string(),
            "outbox": limits.outbox,
            "sessions": limits.sessions,
        },
        "timeouts": {
            "handshake": span(timeouts.handshake),
            "first_message": span(timeouts.first_message),
            "frame": span(timeouts.frame),
            "idle": span(timeouts.idle),
            "message": span(timeouts.message),
            "write": span(timeouts.write),
            "lifetime": span(timeouts.lifetime),
        },
        "rate": {
            "messages_per_source": Rate(rates.messages_per_source).to_string(),
            "connections_per_source": Rate(rates.connections_per_source).to_string(),
            "burst": rates.burst,
        },
        // Everybody.
        "access": { "allow": [], "deny": [] },
        "socket": {
            "backlog": socket.backlog,
            "nodelay": socket.nodelay,
            "keepalive": Keepalive(socket.keepalive).to_string(),
            "reuse_port": socket.reuse_port,
            "mode": Mode(socket.mode).to_string(),
        },
    }));
    for name in names {
        let mut listener = into_dict(&json!({ "framing": AnyFraming::default().name(), "layers": [] }));
        if name == "main" {
            listener.insert("listen".into(), Value::from(LISTEN));
        }
        if let Some(handler) = handler(registry) {
            listener.insert("handler".into(), Value::from(handler));
        }
        tree::insert(&mut tree, &["listeners".into(), name.clone()], Value::Dict(Default::default(), listener));
    }
    Source::defaults(tree)
}

/// `hello`, or else the only handler that there is: a binary with one handler of its own need not be told to use it.
fn handler(registry: &Registry) -> Option<&str> {
    let mut handlers = registry.handlers().map(|entry| entry.name());
    match (registry.handler_entry(HANDLER), handlers.next(), handlers.next()) {
        (Some(_), ..) => Some(HANDLER),
        (None, Some(only), None) => Some(only),
        (None, ..) => None,
    }
}

fn into_dict(json: &Json) -> Dict {
    tree::from_json(json).into_dict().unwrap_or_default()
}
