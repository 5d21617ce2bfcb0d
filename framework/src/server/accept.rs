//! The accept loop: takes clients in, and never ends in silence.
//!
//! It does nothing that a client could make slow: handshakes run in the connection's own task.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use nix::errno::Errno;
use tokio::task::coop::unconstrained;
use tower::ServiceExt;

use crate::connection::reason_of;
use crate::error::chain;
use crate::io::{Accepted, Established, Incoming, StreamListener};
use crate::layer::Panicked;
use crate::pace::Pace;
use crate::reason::CloseReason;
use crate::registry::ConnectionService;
use crate::roster::{Connection, Kind, Lane, Order, Place, Roster};

/// The pause after running out of something, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// So many clients in a row may fail before the loop takes a breath.
const FAILURES_IN_A_ROW: u32 = 128;

/// What an error of accept is about, and so what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// About nothing: try again.
    Again,
    /// About that one client: go on at once.
    Connection,
    /// Descriptors or memory are exhausted: pause, or the loop would spin on a client that cannot be let in.
    Exhausted,
    /// The listener itself is broken: bind again.
    Listener,
    /// Not known: pause, neither spin nor give up.
    Other,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Connection => "connection",
            Self::Exhausted => "exhausted",
            Self::Listener => "listener",
            Self::Other => "other",
        }
    }
}

/// Sorts errors of accept. Linux also reports network errors of the new connection here, which accept(2) says to treat
/// like "again".
pub(crate) fn classify(error: &io::Error) -> Class {
    use Errno as E;
    if let Some(code) = error.raw_os_error() {
        return match E::from_raw(code) {
            E::EINTR | E::EAGAIN => Class::Again,
            E::ECONNABORTED | E::ECONNRESET | E::EPROTO | E::EPERM | E::ETIMEDOUT => Class::Connection,
            E::ENETDOWN | E::ENETUNREACH | E::EHOSTDOWN | E::EHOSTUNREACH | E::ENONET => Class::Connection,
            E::ENOPROTOOPT | E::EOPNOTSUPP => Class::Connection,
            E::EMFILE | E::ENFILE | E::ENOBUFS | E::ENOMEM => Class::Exhausted,
            E::EBADF | E::ENOTSOCK | E::EINVAL | E::EFAULT => Class::Listener,
            _ => Class::Other,
        };
    }
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Class::Again,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => {
            Class::Connection
        }
        io::ErrorKind::OutOfMemory => Class::Exhausted,
        _ => Class::Other,
    }
}

/// How an accept loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A drain has begun.
    Draining,
    /// The transport says that nobody will come any more.
    NoMore,
    /// The listener is broken.
    Broken,
}

/// Takes in the clients of one listener.
pub(crate) struct Door {
    pub(crate) lane: Arc<Lane>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) limit: usize,
    /// How long a transport's handshake may take.
    pub(crate) handshake: Duration,
    pub(crate) backlog: u32,
    pub(crate) service: ConnectionService,
    pub(crate) failed: Pace,
    pub(crate) refused: Pace,
}

impl Door {
    /// Accepts until a drain begins, nobody will come any more, or the listener is broken.
    pub(crate) async fn accept_from(&mut self, listener: &mut dyn StreamListener) -> Ended {
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
                        () = self.roster.left() => {}
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
        let (peer, local) = (accepted.peer.clone(), accepted.local.clone());
        let connection = Connection::new(self.lane.clone(), peer, local, Kind::Stream);
        match self.roster.enter(&connection, self.limit) {
            Some(place) => {
                tokio::spawn(serve(self.service.clone(), accepted, self.handshake, connection, place));
            }
            None => self.refuse(&connection, CloseReason::Limit),
        }
    }

    fn refuse(&mut self, connection: &Connection, why: CloseReason) {
        if let Some(count) = self.refused.count() {
            let (listener, peer, why) = (connection.listener(), connection.peer(), why.as_str());
            tracing::warn!(listener, %peer, why, count, "connection refused");
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

/// One connection from its handshake to its end.
async fn serve(
    service: ConnectionService,
    accepted: Accepted,
    handshake: Duration,
    connection: Connection,
    place: Place,
) {
    let patience = if handshake.is_zero() { Duration::MAX } else { handshake };
    // Nothing of a message can have arrived before the handshake is over, so a drain does not wait for it.
    let told = std::future::poll_fn(|cx| match connection.order(cx.waker()) {
        Order::Stay => Poll::Pending,
        order => Poll::Ready(order.at_once().unwrap_or(CloseReason::Drain)),
    });
    let establish = AssertUnwindSafe(accepted.establish())
        .catch_unwind()
        .map(|established| established.unwrap_or_else(|payload| Err(io::Error::other(Panicked::new(&*payload)))));
    let io = tokio::select! {
        biased; // who needs no handshake is in, whatever is told
        io = tokio::time::timeout(patience, establish) => match io {
            Ok(Ok(Established { io, tls })) => {
                // Before anybody can ask.
                tls.into_iter().for_each(|facts| connection.secured(facts));
                Ok(io)
            }
            Ok(Err(error)) => Err((CloseReason::Handshake, Some(error.to_string()))),
            Err(_) => Err((CloseReason::Handshake, Some(format!("not finished within {handshake:?}")))),
        },
        reason = told => Err((reason, None)),
    };
    let (listener, peer) = (connection.listener(), connection.peer());
    tracing::info!(listener, %peer, "connection opened");
    let error = match io {
        Err((reason, error)) => {
            connection.finish(reason);
            error
        }
        Ok(io) => {
            let incoming = Incoming { connection: connection.clone(), io };
            let served = AssertUnwindSafe(service.oneshot(incoming)).catch_unwind().await;
            let error = served.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())).err();
            // What a driver ended has its reason already; this is for layers that refused it.
            connection.finish(error.as_ref().map_or(CloseReason::HandlerClosed, |error| reason_of(&**error)));
            error.map(|error| chain(&*error))
        }
    };
    let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed).as_str();
    let (messages, bytes_in, bytes_out) = (connection.messages(), connection.bytes_in(), connection.bytes_out());
    let seconds = connection.opened().elapsed().as_secs_f64();
    tracing::info!(listener, %peer, reason, messages, bytes_in, bytes_out, seconds, error, "connection closed");
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_sorted() {
        let table = [
            (Class::Again, &[Errno::EINTR, Errno::EAGAIN][..]),
            (
                Class::Connection,
                &[
                    Errno::ECONNABORTED,
                    Errno::ECONNRESET,
                    Errno::EPROTO,
                    Errno::EPERM,
                    Errno::ETIMEDOUT,
                    Errno::ENETDOWN,
                    Errno::ENETUNREACH,
                    Errno::EHOSTDOWN,
                    Errno::EHOSTUNREACH,
                    Errno::ENONET,
                    Errno::ENOPROTOOPT,
                    Errno::EOPNOTSUPP,
                ],
            ),
            (Class::Exhausted, &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]),
            (Class::Listener, &[Errno::EBADF, Errno::ENOTSOCK, Errno::EINVAL, Errno::EFAULT]),
            (Class::Other, &[Errno::EIO, Errno::ELOOP]),
        ];
        for (class, errors) in table {
            for error in errors {
                assert_eq!(classify(&io::Error::from(*error)), class, "{error}");
            }
        }
        assert_eq!(classify(&io::Error::from(io::ErrorKind::ConnectionReset)), Class::Connection);
        assert_eq!(classify(&io::Error::other("a transport's own")), Class::Other);
    }
}
