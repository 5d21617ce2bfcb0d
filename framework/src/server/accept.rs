//! The accept loop: takes clients in, and never ends in silence.
//!
//! It does nothing that a client could make slow: handshakes run in the connection's own task.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::coop::unconstrained;
use tower::ServiceExt;

use crate::error::chain;
use crate::io::{Accepted, StreamListener};
use crate::layer::Panicked;
use crate::pace::Pace;
use crate::registry::ConnectionService;
use crate::roster::{Connection, Kind, Lane};
use crate::server::classify::{Class, classify};
use crate::server::serve;
use crate::transport::{Bind, BoxTransport, Listener};

/// The pause after running out of something, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// So many clients in a row may fail before the loop takes a breath.
const FAILURES_IN_A_ROW: u32 = 128;
/// Pauses between attempts to bind a broken listener again.
const FIRST_REBIND: Duration = Duration::from_millis(100);
const LONGEST_REBIND: Duration = Duration::from_secs(5);

/// Runs the accept loop of a listener; when the listener breaks, binds it again until that succeeds or a drain begins.
pub(super) async fn keep_open(
    mut door: Door,
    mut listener: Box<dyn StreamListener>,
    transport: BoxTransport,
    bind: Bind,
) {
    loop {
        // Not even a transport that panics closes the door in silence.
        let ended = AssertUnwindSafe(door.accept_from(&mut *listener)).catch_unwind().await;
        let ended = ended.unwrap_or_else(|payload| {
            let error = Panicked::new(&*payload).to_string();
            tracing::error!(listener = &*door.lane.name, error, "a listener is broken");
            Ended::Broken
        });
        if ended != Ended::Broken {
            return;
        }
        drop(listener);
        let mut drain = door.lane.drain.clone();
        let again = tokio::select! {
            () = drain.draining() => return,
            again = bind_again(&door.lane, &transport, &bind) => again,
        };
        listener = again;
    }
}

async fn bind_again(lane: &Lane, transport: &BoxTransport, bind: &Bind) -> Box<dyn StreamListener> {
    let mut pause = FIRST_REBIND;
    loop {
        let bound = AssertUnwindSafe(transport.clone().oneshot(bind.clone())).catch_unwind().await;
        match bound.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())) {
            Ok(Listener::Stream(listener)) => {
                tracing::warn!(listener = &*lane.name, address = %bind.endpoint, "listening again");
                return listener;
            }
            Ok(Listener::Datagram(_)) => tracing::error!(listener = &*lane.name, "it now brings datagrams"),
            Err(error) => {
                let error = chain(&*error);
                tracing::error!(listener = &*lane.name, address = %bind.endpoint, error, "cannot listen again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_REBIND);
    }
}

/// How an accept loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A drain has begun.
    Draining,
    /// The transport says that nobody will come any more.
    NoMore,
    /// The listener is broken.
    Broken,
}

/// Takes in the clients of one listener.
pub(super) struct Door {
    pub(super) lane: Arc<Lane>,
    /// How long the handshakes of one client may take.
    pub(super) handshake: Duration,
    pub(super) backlog: u32,
    pub(super) service: ConnectionService,
    pub(super) failed: Pace,
}

impl Door {
    /// Accepts until a drain begins, nobody will come any more, or the listener is broken.
    pub(super) async fn accept_from(&mut self, listener: &mut dyn StreamListener) -> Ended {
        let mut drain = self.lane.drain.clone();
        let mut pause = FIRST_PAUSE;
        let mut in_a_row = 0;
        loop {
            let accepted = tokio::select! {
                () = drain.draining() => {
                    if drain.deadline().is_some() {
                        self.last_call(listener).await;
                    }
                    return Ended::Draining;
                }
                accepted = listener.accept() => accepted,
            };
            let error = match accepted {
                Ok(Some(accepted)) => {
                    (pause, in_a_row) = (FIRST_PAUSE, 0);
                    self.admit(accepted);
                    continue;
                }
                Ok(None) => return Ended::NoMore,
                Err(error) => error,
            };
            in_a_row += 1;
            match self.tell(&error) {
                Class::Again | Class::Connection if in_a_row < FAILURES_IN_A_ROW => {}
                Class::Listener => return Ended::Broken,
                Class::Again | Class::Connection | Class::Exhausted | Class::Other => {
                    // A connection that leaves gives its descriptor back: no need to wait longer than that.
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.lane.roster.left() => {}
                        () = drain.draining() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes in those whom the system has already let in: they connected before the drain began.
    async fn last_call(&mut self, listener: &mut dyn StreamListener) {
        tokio::task::yield_now().await; // so that the runtime hears of them
        for _ in 0..self.backlog {
            // However many there are: this is no time to give way.
            match unconstrained(listener.accept()).now_or_never() {
                Some(Ok(Some(accepted))) => self.admit(accepted),
                Some(Err(error)) if classify(&error) == Class::Connection => {}
                _ => break,
            }
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        let Accepted { peer, local, credentials, stage } = accepted;
        let connection = Connection::with(self.lane.clone(), Kind::Stream, peer, local, credentials);
        match self.lane.gate.enter(&self.lane.roster, &connection) {
            Ok(place) => {
                serve::spawn(self.service.clone(), stage, self.handshake, connection, place);
            }
            Err(turned_away) => self.lane.gate.tell(&connection, turned_away),
        }
    }

    fn tell(&mut self, error: &io::Error) -> Class {
        let class = classify(error);
        if class != Class::Again
            && let Some(count) = self.failed.count()
        {
            let (listener, class) = (&*self.lane.name, class.as_str());
            tracing::warn!(listener, %error, class, count, "accept failed");
        }
        class
    }
}
