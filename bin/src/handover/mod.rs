//! Sockets that are open already when a process starts: passed by a service manager, or by the process before this one.
//!
//! `passed` is the side that gets them, `upgrade` the side that starts the next process with them. Both speak over a stream of
//! their own: the one before tells what it passes, the next one says that it is ready, and then is told that all of it is its own.

mod inherited;
mod new_process;

pub(crate) use inherited::{InheritedSockets, OldProcess};
pub(crate) use new_process::{Program, upgrade};

use serde::{Deserialize, Serialize};
use switchboard::Endpoint;
use switchboard::server::Inherited;
use switchboard::transport::SharedSocket;

/// The name of the stream between the two, which is passed first.
const STREAM: &str = "switchboard-upgrade";
/// What the next process says when it accepts.
const READY: &str = "ready";
/// What it is told then.
const YOURS: &str = "yours";
/// The first descriptor that is passed.
const FIRST: i32 = 3;

/// What is said about the sockets, in the order in which they are passed.
#[derive(Debug, Serialize, Deserialize)]
struct SocketList(Vec<Item>);

/// What is said about one socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Item {
    /// From the service manager, under this name.
    Systemd(String),
    /// Of a listener.
    Listener(Listener),
    /// Of the endpoint for operators.
    Admin(Listener),
}

/// A listener whose socket is passed.
#[derive(Debug, Serialize, Deserialize)]
struct Listener {
    name: String,
    endpoint: String,
    address: String,
    owns_path: bool,
}

impl Listener {
    fn of(inherited: &Inherited) -> Self {
        let Inherited { listener, endpoint, address, owns_path, .. } = inherited;
        let (endpoint, address) = (endpoint.to_string(), address.to_string());
        Self { name: listener.clone(), endpoint, address, owns_path: *owns_path }
    }

    /// `None` for an address that this version does not know; whoever is told to listen there says so.
    fn inherited(self, socket: SharedSocket) -> Option<Inherited> {
        let (endpoint, address): (Endpoint, Endpoint) = (self.endpoint.parse().ok()?, self.address.parse().ok()?);
        let mut inherited = Inherited::new(self.name, endpoint, address, socket);
        inherited.owns_path = self.owns_path;
        Some(inherited)
    }
}
