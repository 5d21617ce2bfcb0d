//! Hands the listening sockets over to a new process without rejecting connections.
//!
//! Both processes have handles to the same sockets. The new process accepts before the old one stops accepting and
//! drains.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::address::Endpoint;
use crate::connection::{Connection, ControlSignal};
use crate::deadline_timer;
use crate::server::inherited::Inherited;
use crate::server::listener::ListenerHandle;
use crate::server::running::{BACKLOG_TIMEOUT, Running};
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

    /// Stops accepting, because another process now listens on the same sockets. After the method has returned, this
    /// process accepts no client, so that each new one reaches the other process.
    ///
    /// Call [`close_idle`](Self::close_idle) afterwards, then [`drain`](Self::drain): its deadline begins with this
    /// call, and it skips the announcement. Reloads are rejected from now on.
    /// [`readiness`](Self::readiness) stays [`Ready`](crate::server::Readiness::Ready), because the other process
    /// accepts clients.
    pub async fn hand_over(&self) {
        let deadline = deadline_after(Instant::now(), self.state().drain.deadline);
        // The first call counts. Before `draining`, because readiness depends on both.
        let _ = self.handed_over.set(deadline);
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        self.set_paths_kept(true);
        let listeners = self.all_listeners();
        listeners.iter().for_each(ListenerHandle::retire);
        let _ = deadline_timer::timeout(BACKLOG_TIMEOUT, join_all(listeners.iter().map(ListenerHandle::closed))).await;
    }

    /// Closes idle connections after [`hand_over`](Self::hand_over).
    ///
    /// A connection is idle after 10 s without activity (at most a third of the drain deadline). The method returns
    /// when all connections have been signalled to close, or after two thirds of the drain deadline.
    pub async fn close_idle(&self) {
        let (now, deadline) = (Instant::now(), self.state().drain.deadline);
        let until = deadline_after(now, deadline / 3 * 2);
        let (idle_timeout, mut last_seen) = (IDLE_TIMEOUT.min(deadline / 3), HashMap::new());
        while !signal_idle(&self.connections(), idle_timeout, &mut last_seen) && Instant::now() < until {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// The messages, bytes in and bytes out of a connection, and for how long they are unchanged.
type Activity = ((u64, u64, u64), Duration);

/// Signals idle connections to close. Returns whether all connections were idle. Time is counted in checks: a process
/// that was stopped has not seen the input of that time.
fn signal_idle(open: &[Connection], idle_timeout: Duration, last_seen: &mut HashMap<u64, Activity>) -> bool {
    let mut all_idle = true;
    let seen = open.iter().map(|connection| {
        let activity = (connection.messages(), connection.bytes_in(), connection.bytes_out());
        let unchanged = last_seen.get(&connection.id()).filter(|(before, _)| *before == activity);
        let idle = unchanged.map_or(Duration::ZERO, |(_, idle)| *idle + POLL_INTERVAL);
        if idle >= idle_timeout {
            connection.signal(ControlSignal::Drain);
        } else {
            all_idle = false;
        }
        (connection.id(), (activity, idle))
    });
    *last_seen = seen.collect();
    all_idle
}
