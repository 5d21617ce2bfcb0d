//! The hot paths: processing of one message on an open connection with the default stack, without sockets.
//!
//! A scripted client replaces the transport. It delivers one batch of messages per read, checks the reply and delivers
//! the next batch. It does nothing else, so a measurement covers only the server: driver, framing, layers, handler, and
//! one wake-up per batch. The cost of system calls is not included.
#![allow(clippy::unwrap_used)] // a failed setup step fails the measurement

mod datagram;
mod figures;
mod fleet;
mod null;
mod script;
mod stream;

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use switchboard::bans::{Bans, NewBan};
use switchboard::framing::{AnyFraming, Length, Lines, Raw};
use switchboard::recorder::Recorder;
use switchboard::registry::HandlerInstance;
use switchboard::server::ListenerSpec;
use switchboard::settings::{BanSettings, Rate, Rates, RecorderSettings};
use switchboard::{Kind, ListenerSet, Registry, Running};
use tokio::runtime::{Builder, Runtime};

use crate::script::{Script, Scripted, Shared};

pub use figures::{Figure, Figures};

/// The default limit of bans.
const MAX_BANS: u32 = 100_000;
/// The size of a message without framing.
const SIZE: usize = 64;

/// The framing and handler of a hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Raw,
    Lines,
    Length,
    Hello,
    Datagram,
    /// Messages without framing: the cost of driver and layers alone.
    Null,
    /// A connection for each message.
    Connect,
}

/// What the server has besides its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Nothing,
    /// A limit of messages per source, which is not reached.
    Limit,
    /// The same limit, which a fleet shares.
    Fleet,
    /// Many bans of other clients.
    Bans,
    /// A flight recorder.
    Recorder,
}

/// A hot path: a protocol, and the number of messages per read.
#[derive(Debug, Clone, Copy)]
pub struct HotPath {
    /// The name, also in the file of figures.
    pub name: &'static str,
    protocol: Protocol,
    depth: usize,
    extra: Extra,
}

impl HotPath {
    /// All hot paths.
    pub const ALL: [Self; 14] = [
        Self::new("stack", Protocol::Null, 1024),
        Self::new("raw-d1", Protocol::Raw, 1),
        Self::new("raw-d16", Protocol::Raw, 16),
        Self::new("lines-d1", Protocol::Lines, 1),
        Self::new("lines-d16", Protocol::Lines, 16),
        Self::new("length-d16", Protocol::Length, 16),
        Self::new("hello-d1", Protocol::Hello, 1),
        Self::new("datagram-d1", Protocol::Datagram, 1),
        Self::new("datagram-d16", Protocol::Datagram, 16),
        Self { extra: Extra::Limit, ..Self::new("limited-d16", Protocol::Lines, 16) },
        Self { extra: Extra::Fleet, ..Self::new("fleet-d16", Protocol::Lines, 16) },
        Self { extra: Extra::Recorder, ..Self::new("recorded-d16", Protocol::Lines, 16) },
        Self::new("connect", Protocol::Connect, 1),
        Self { extra: Extra::Bans, ..Self::new("connect-bans", Protocol::Connect, 1) },
    ];

    const fn new(name: &'static str, protocol: Protocol, depth: usize) -> Self {
        Self { name, protocol, depth, extra: Extra::Nothing }
    }

    /// The hot path with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name == name)
    }

    /// The path without what this one has besides the defaults, if that should cost nothing.
    pub fn reference(self) -> Option<&'static str> {
        match self.name {
            "fleet-d16" => Some("limited-d16"),
            "connect-bans" => Some("connect"),
            _ => None,
        }
    }

    /// The number of messages per batch. With framing `raw` the server sees a batch as one message.
    pub fn depth(self) -> usize {
        self.depth
    }

    /// Starts a server with one open connection (or one known peer), ready for the first batch.
    pub fn open(self) -> Hot {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let shared = Arc::new(Shared::default());
        // Like a server, every path has had a second thread: before that, the C library allocates without locks.
        std::thread::spawn(|| ()).join().expect("no panic");
        let running = runtime.block_on(self.start(shared.clone()));
        let mut hot = Hot { path: self, shared, running, runtime };
        hot.run(128); // fills buffers, tables and pools; a listener remembers its last 100 connections
        hot
    }

    async fn start(self, shared: Arc<Shared>) -> Running {
        let mut registry = Registry::default();
        switchboard_handlers::register(&mut registry);
        null::register(&mut registry);
        let kind = if self.protocol == Protocol::Datagram { Kind::Datagram } else { Kind::Stream };
        registry.transport(Scripted {
            kind,
            script: self.script(),
            shared,
            reconnects: self.protocol == Protocol::Connect,
        });
        let mut listeners = ListenerSet::new(registry.transport_table());
        let (handler, framing) = self.handler(&registry);
        let mut spec = ListenerSpec::new("main", "script:".parse().unwrap());
        spec.framing = framing;
        spec.rates = Rates::default().replies_per_peer(Rate::per_second(0)); // one peer sends at full speed
        if matches!(self.extra, Extra::Limit | Extra::Fleet) {
            spec.rates = spec.rates.messages_per_source(Rate::per_second(1_000_000)).burst(u32::MAX);
        }
        let fleet = (self.extra == Extra::Fleet).then(fleet::fleet);
        spec.fleet.clone_from(&fleet);
        if self.protocol == Protocol::Connect {
            // Another thread has a heap of its own, so that the heap of this one is the same with and without bans.
            let count = if self.extra == Extra::Bans { MAX_BANS } else { 0 };
            listeners.bans(std::thread::spawn(move || bans(count)).join().unwrap());
        }
        if self.extra == Extra::Recorder {
            // So little that it is in use before the measurement begins.
            let mut settings = RecorderSettings::default();
            settings.memory = 64 * 1024;
            spec.recorder = Some(Recorder::new(settings));
        }
        listeners.listen(spec, &handler);
        let running = listeners.start().await.unwrap();
        if let Some(fleet) = fleet {
            fleet::is_shared(&fleet).await;
        }
        running
    }

    fn handler(self, registry: &Registry) -> (HandlerInstance, AnyFraming) {
        let (handler, framing) = match self.protocol {
            Protocol::Raw | Protocol::Datagram | Protocol::Connect => ("echo", AnyFraming::new(Raw::default())),
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
            Protocol::Raw | Protocol::Datagram | Protocol::Connect => ("", text.clone(), text),
            Protocol::Lines => ("", format!("{text}\n"), format!("{text}\n")),
            Protocol::Length => ("", format!("\0\0\0\x40{text}"), format!("\0\0\0\x40{text}")),
            Protocol::Hello => ("welcome!", text.clone(), format!("hello, {text}!")),
            Protocol::Null => ("", "x".to_owned(), String::new()),
        };
        // A datagram holds one message; on a stream a read returns the whole batch.
        let per_read = if self.protocol == Protocol::Datagram { 1 } else { self.depth };
        Script {
            greeting: greeting.into(),
            batch: message.repeat(per_read).into(),
            reply: reply.repeat(per_read).into(),
            depth: self.depth,
        }
    }
}

/// Bans of so many clients.
fn bans(count: u32) -> Bans {
    let bans = Bans::new(BanSettings::default());
    for nth in 0..count {
        let client = IpAddr::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + nth));
        bans.add(NewBan::new(client.into())).unwrap();
    }
    bans
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
    /// Keeps the server running.
    #[expect(dead_code, reason = "a server that is dropped stops")]
    running: Running,
    runtime: Runtime,
}

impl Hot {
    /// Processes this many batches in this thread and returns the number of messages.
    pub fn run(&mut self, batches: usize) -> usize {
        self.shared.grant(batches);
        self.runtime.block_on(poll_fn(|cx| self.shared.poll_done(cx)));
        batches * self.path.depth
    }
}
