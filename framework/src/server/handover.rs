//! Hands the listening sockets over to a new process without rejecting connections.
//!
//! Both processes have handles to the same sockets. The new process accepts before the old one stops accepting and
//! drains.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Endpoint;
use crate::connection::{Connection, ControlSignal};
use crate::server::inherited::Inherited;
use crate::server::listener::ListenerHandle;
use crate::server::running::Running;
use crate::settings::deadline_after;
use crate::transport::{SharedSocket, Unreachable};

/// How long a connection must be idle before it is closed. Data that a client sends to a closing connection is lost, so
/// the time is generous.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between activity checks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Running {
    /// Handles to the sockets of all listeners, for a process that will [inherit](crate::ListenerSet::inherit) them.
    /// Excludes listeners whose transport cannot [share](crate::transport::StreamListener::share) sockets, Unix sockets
    /// whose path is lost, and sockets from the service manager, which the new process receives separately. A listener
    /// with a host name has one socket for each address.
    pub fn sockets(&self) -> Vec<Inherited> {
        let listeners = self.state().listeners.clone();
        let passed = |listener: &&ListenerHandle| matches!(listener.spec.endpoint, Endpoint::Systemd(_));
        let sockets = |listener: &ListenerHandle| {
            let (spec, endpoint) = (listener.spec.clone(), listener.endpoint.clone());
            let is_reachable = listener.problem() != Some(Unreachable::Path);
            let shared = listener.share().filter(|_| is_reachable).into_iter().flat_map(SharedSocket::split);
            shared.map(move |socket| {
                let file = socket.owned_file();
                let inherited = Inherited::new(&*spec.name, spec.endpoint.clone(), endpoint.clone(), socket);
                Inherited { owns_path: file.is_some(), file, ..inherited }
            })
        };
        listeners.iter().filter(|listener| !passed(listener)).flat_map(sockets).collect()
    }

    /// Takes ownership of the paths of [inherited](crate::ListenerSet::inherit) Unix sockets, after the old process has
    /// stopped using them. This process then removes the paths when it stops.
    pub fn take_socket_paths(&self) {
        self.set_paths_kept(false);
    }

    fn set_paths_kept(&self, keep: bool) {
        let sockets = self.all_listeners();
        sockets.iter().filter_map(ListenerHandle::share).for_each(|socket| socket.keep_path(keep));
    }

    /// Stops accepting, because another process now listens on the same sockets, and closes idle connections.
    ///
    /// A connection is idle after 10 s without activity (at most a third of the drain deadline). The method returns
    /// when all connections have been signalled to close, or after two thirds of the drain deadline. Call
    /// [`drain`](Self::drain) afterwards: its deadline begins with this call, and it skips the announcement. Reloads
    /// are rejected from now on.
    pub async fn hand_over(&self) {
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        self.set_paths_kept(true);
        let listeners = self.all_listeners();
        listeners.iter().for_each(ListenerHandle::retire);
        let (now, deadline) = (Instant::now(), self.state().drain.deadline);
        let _ = self.handed_over.set(deadline_after(now, deadline)); // the first call counts
        let until = deadline_after(now, deadline / 3 * 2);
        let (idle_timeout, mut last_seen) = (IDLE_TIMEOUT.min(deadline / 3), HashMap::new());
        while !close_idle(&self.connections(), idle_timeout, &mut last_seen) && Instant::now() < until {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// The messages, bytes in and bytes out of a connection, and since when they are unchanged.
type Activity = ((u64, u64, u64), Instant);

/// Signals idle connections to close. Returns whether all connections were idle.
fn close_idle(open: &[Connection], idle_timeout: Duration, last_seen: &mut HashMap<u64, Activity>) -> bool {
    let now = Instant::now();
    let mut all_idle = true;
    let seen = open.iter().map(|connection| {
        let activity = (connection.messages(), connection.bytes_in(), connection.bytes_out());
        let unchanged = last_seen.get(&connection.id()).filter(|(before, _)| *before == activity);
        let since = unchanged.map_or(now, |(_, since)| *since);
        if now.duration_since(since) >= idle_timeout {
            connection.signal(ControlSignal::Drain);
        } else {
            all_idle = false;
        }
        (connection.id(), (activity, since))
    });
    *last_seen = seen.collect();
    all_idle
}
