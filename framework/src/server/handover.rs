//! One process hands its sockets over to the next, and nobody who connects meanwhile is refused.
//!
//! Both have handles to the same sockets. The next process accepts before the one before it stops to, and that one finishes what
//! it has begun.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Endpoint;
use crate::connection::{Connection, ControlSignal};
use crate::server::listener::ListenerHandle;
use crate::server::reload_plan::same_address;
use crate::server::running::Running;
use crate::server::spec::ListenerSpec;
use crate::settings::deadline_after;
use crate::transport::SharedSocket;

/// How long a connection is silent before it is taken for idle, at most. A client that has just been answered may ask again, and what
/// it sends to a connection that is being closed is lost, so there is no haste.
const SILENT: Duration = Duration::from_secs(10);
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A socket that a listener of the process before this one listens on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inherited {
    /// The listener's name.
    pub listener: String,
    /// Where it was told to listen.
    pub endpoint: Endpoint,
    /// Where it listens, with the port that the system chose.
    pub address: Endpoint,
    /// Whether the path of a Unix socket is one that the server made, and so is removed when it stops.
    pub owns_path: bool,
    /// The socket.
    pub socket: SharedSocket,
}

impl Inherited {
    /// Of a listener that was told to listen at `endpoint`, and does so at `address`.
    pub fn new(listener: impl Into<String>, endpoint: Endpoint, address: Endpoint, socket: SharedSocket) -> Self {
        Self { listener: listener.into(), endpoint, address, owns_path: false, socket }
    }

    /// Port 0 is any port, so then it must be the same listener.
    fn suits(&self, spec: &ListenerSpec) -> bool {
        let local_ip = spec.endpoint.port() != Some(0) || self.listener == spec.name;
        (local_ip && same_address(&self.endpoint, &spec.endpoint)) || same_address(&self.address, &spec.endpoint)
    }
}

/// The socket that a listener goes on with, if there is one.
pub(super) fn inheritance(inherited: &mut Vec<Inherited>, spec: &ListenerSpec) -> io::Result<Option<SharedSocket>> {
    let Some(found) = inherited.iter().position(|inherited| inherited.suits(spec)) else { return Ok(None) };
    let Inherited { socket, owns_path, .. } = inherited.swap_remove(found);
    Ok(Some(match &spec.endpoint {
        Endpoint::Unix(path) | Endpoint::Unixgram(path) if owns_path => socket.at_path(path)?,
        _ => socket,
    }))
}

impl Running {
    /// Another handle to the socket of every listener, for the process that shall [inherit](crate::ListenerSet::inherit) them.
    /// Listeners whose transport [shares](crate::transport::StreamListener::share) no sockets are left out, and those whose sockets the
    /// service manager passed, which the next process gets in the same way.
    pub fn sockets(&self) -> Vec<Inherited> {
        let listeners = self.state().listeners.clone();
        let passed = |listener: &&ListenerHandle| matches!(listener.spec.endpoint, Endpoint::Systemd(_));
        let socket = |listener: &ListenerHandle| {
            let (spec, socket) = (&listener.spec, listener.share()?);
            let owns_path = socket.owns_path();
            let inherited = Inherited::new(&*spec.name, spec.endpoint.clone(), listener.endpoint.clone(), socket);
            Some(Inherited { owns_path, ..inherited })
        };
        listeners.iter().filter(|listener| !passed(listener)).filter_map(socket).collect()
    }

    /// The process before this one has left the [inherited](crate::ListenerSet::inherit) sockets to this one. The paths of Unix
    /// sockets are removed when this one stops; before, the other one would still need them.
    pub fn own_sockets(&self) {
        self.keep_paths(false);
    }

    fn keep_paths(&self, keep: bool) {
        let sockets = self.all_listeners();
        sockets.iter().filter_map(ListenerHandle::share).for_each(|socket| socket.keep_path(keep));
    }

    /// Another process listens on these sockets now: nobody is accepted here any more, and the connections that are open leave as
    /// soon as they have been silent for ten seconds (or a third of the drain's deadline, if that is less) and nothing is under way,
    /// since a client that is being served would lose what it is about to send. When all have been told, or two thirds of the drain's deadline are over, it returns: then
    /// [drain](Self::drain), whose deadline begins here and which announces nothing. There is no reload any more.
    pub async fn hand_over(&self) {
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        self.keep_paths(true);
        let listeners = self.all_listeners();
        listeners.iter().for_each(ListenerHandle::retire);
        let (now, deadline) = (Instant::now(), self.state().drain.deadline);
        let _ = self.handed_over.set(deadline_after(now, deadline)); // once is enough
        let until = deadline_after(now, deadline / 3 * 2);
        let mut silence = Silence { long: SILENT.min(deadline / 3), seen: HashMap::new() };
        while !silence.has_come(&self.connections()) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What each connection had done when it last did something, and when that was.
struct Silence {
    /// How long it has to be.
    long: Duration,
    seen: HashMap<u64, (Activity, Instant)>,
}

type Activity = (u64, u64, u64);

impl Silence {
    /// Tells those who are silent to leave; whether that is everybody.
    fn has_come(&mut self, open: &[Connection]) -> bool {
        let now = Instant::now();
        let mut seen = HashMap::with_capacity(open.len());
        let mut all = true;
        for connection in open {
            let activity = (connection.messages(), connection.bytes_in(), connection.bytes_out());
            let before = self.seen.get(&connection.id()).filter(|(before, _)| *before == activity);
            let since = before.map_or(now, |(_, since)| *since);
            if now.duration_since(since) >= self.long {
                connection.signal(ControlSignal::Drain);
            } else {
                all = false;
            }
            seen.insert(connection.id(), (activity, since));
        }
        self.seen = seen;
        all
    }
}
