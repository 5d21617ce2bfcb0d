//! The hot paths: what happens for a message on a connection that is open, as the binary serves it by default, without sockets.
//!
//! A scripted client stands where the transport would be: it hands over one batch of messages in one read, compares what is
//! written, and hands over the next. It does nothing else, so that what is counted around it is the server's side: driver,
//! framing, layers, handler, and one wake-up a batch. What the system takes for reading and writing is not in it.

mod datagram;
mod figures;
mod null;
mod script;
mod stream;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use switchboard::framing::{AnyFraming, Length, Lines, Raw};
use switchboard::registry::HandlerInstance;
use switchboard::server::ListenerSpec;
use switchboard::{Kind, ListenerSet, Running};
use tokio::runtime::{Builder, Runtime};

use crate::hot::script::{Script, Scripted, Shared};

pub use figures::{Figure, Figures};

/// Bytes of a message, without what its framing adds.
const SIZE: usize = 64;

/// What kind of message goes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Raw,
    Lines,
    Length,
    Hello,
    Datagram,
    /// Messages made of nothing: what the driver and the layers take without any framing.
    Null,
}

/// A hot path by name: a protocol, and how many messages one read brings.
#[derive(Debug, Clone, Copy)]
pub struct HotPath {
    /// Its name, also in the file of figures.
    pub name: &'static str,
    protocol: Protocol,
    depth: usize,
}

impl HotPath {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self { name: "stack", protocol: Protocol::Null, depth: 1024 },
        Self { name: "raw-d1", protocol: Protocol::Raw, depth: 1 },
        Self { name: "raw-d16", protocol: Protocol::Raw, depth: 16 },
        Self { name: "lines-d1", protocol: Protocol::Lines, depth: 1 },
        Self { name: "lines-d16", protocol: Protocol::Lines, depth: 16 },
        Self { name: "length-d16", protocol: Protocol::Length, depth: 16 },
        Self { name: "hello-d1", protocol: Protocol::Hello, depth: 1 },
        Self { name: "datagram-d1", protocol: Protocol::Datagram, depth: 1 },
        Self { name: "datagram-d16", protocol: Protocol::Datagram, depth: 16 },
    ];

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name == name)
    }

    /// How many messages a batch has. With framing `raw` the server sees them as one.
    pub fn depth(self) -> usize {
        self.depth
    }

    /// A server with one open connection (or one known peer), ready for the first batch.
    pub fn open(self) -> Hot {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let shared = Arc::new(Shared::default());
        let running = runtime.block_on(self.start(shared.clone()));
        let mut hot = Hot { path: self, shared, running, runtime };
        hot.run(8); // buffers, tables and pools are there from here on
        hot
    }

    async fn start(self, shared: Arc<Shared>) -> Running {
        let mut registry = switchboard_server::registry();
        null::register(&mut registry);
        let kind = if self.protocol == Protocol::Datagram { Kind::Datagram } else { Kind::Stream };
        registry.transport(Scripted { kind, script: self.script(), shared });
        let mut board = ListenerSet::new(registry.transport_table());
        let (handler, framing) = self.handler(&registry);
        let mut spec = ListenerSpec::new("main", "script:".parse().unwrap());
        spec.framing = framing;
        board.listen(spec, &handler);
        board.start().await.unwrap()
    }

    fn handler(self, registry: &switchboard::Registry) -> (HandlerInstance, AnyFraming) {
        let (handler, framing) = match self.protocol {
            Protocol::Raw | Protocol::Datagram => ("echo", AnyFraming::new(Raw::default())),
            Protocol::Lines => ("echo", AnyFraming::new(Lines::default())),
            Protocol::Length => ("echo", AnyFraming::new(Length::default())),
            Protocol::Hello => ("hello", AnyFraming::new(Raw::default())),
            Protocol::Null => (null::NAME, AnyFraming::new(Raw::default())),
        };
        (registry.handler_entry(handler).unwrap().build(serde_json::json!({})).unwrap(), framing)
    }

    fn script(self) -> Script {
        let text = "x".repeat(SIZE);
        let (greeting, message, reply) = match self.protocol {
            Protocol::Raw | Protocol::Datagram => ("", text.clone(), text),
            Protocol::Lines => ("", format!("{text}\n"), format!("{text}\n")),
            Protocol::Length => ("", format!("\0\0\0\x40{text}"), format!("\0\0\0\x40{text}")),
            Protocol::Hello => ("welcome!", text.clone(), format!("hello, {text}!")),
            Protocol::Null => ("", "x".to_owned(), String::new()),
        };
        // Datagrams stay apart; on a stream, what is sent together comes together.
        let together = if self.protocol == Protocol::Datagram { 1 } else { self.depth };
        Script {
            greeting: greeting.into(),
            batch: message.repeat(together).into(),
            reply: reply.repeat(together).into(),
            depth: self.depth,
        }
    }
}

impl fmt::Display for HotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// A server on one hot path, between batches.
#[derive(Debug)]
pub struct Hot {
    path: HotPath,
    shared: Arc<Shared>,
    /// Kept, since a server ends with it.
    #[expect(dead_code, reason = "a server that is dropped stops")]
    running: Running,
    runtime: Runtime,
}

impl Hot {
    /// Has so many batches answered, in this thread. Answers how many messages that were.
    pub fn run(&mut self, batches: usize) -> usize {
        self.shared.grant(batches);
        self.runtime.block_on(poll_fn(|cx| self.shared.poll_done(cx)));
        batches * self.path.depth
    }
}
