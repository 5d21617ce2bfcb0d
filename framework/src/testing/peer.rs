//! The client of a connection in a test.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{Instant, timeout};

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::server::Running;
use crate::testing::pipe::{Pipe, Received};
use crate::testing::transcript::{excerpt, excerpt_at, seconds};
use crate::testing::wait::{bounded, until};

/// A client of a server in a test. [`Running::connect`](crate::testing::Running::connect) creates it.
///
/// It behaves like a client over TCP. It reads all the time, until [`stop_reading`](Self::stop_reading). Dropping it
/// closes the connection.
///
/// Every wait has a bound: 60 s, or a day of paused time. An expectation that fails panics with the bytes that it
/// expected, the bytes that came, and the conversation.
///
/// ```
/// # use switchboard::prelude::*;
/// # use switchboard::testing;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let server = testing::Server::new(echo).framing(Lines::default()).start().await;
/// let mut peer = server.connect().await;
/// peer.send("one\ntwo\n").await.expect("one\n").await.expect("two\n").await;
/// peer.half_close().expect_closed(CloseReason::PeerClosed).await;
/// # }
/// ```
pub struct Peer {
    pipe: Arc<Pipe>,
    /// Received bytes that no expectation has consumed.
    received: BytesMut,
    connection: Arc<OnceLock<Connection>>,
    server: Weak<Running>,
}

/// Why an expectation stops to wait.
enum Stopped {
    Closed(Received),
    Silent(Duration),
}

impl Peer {
    pub(super) fn new(pipe: Arc<Pipe>, connection: Arc<OnceLock<Connection>>, server: Weak<Running>) -> Self {
        Self { pipe, received: BytesMut::new(), connection, server }
    }

    /// Sends bytes. Waits while the server does not read. If the server has closed the connection, the bytes are lost,
    /// as with TCP, and the conversation shows it.
    ///
    /// # Panics
    ///
    /// The server does not read the bytes within the bound.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            let mut rest = bytes.as_ref();
            let sent = bounded(async {
                while !rest.is_empty() {
                    let sent = poll_fn(|cx| self.pipe.poll_send(cx, rest)).await;
                    rest = &rest[sent..];
                }
            });
            if sent.await.is_none() {
                self.fail(caller, format_args!("the server does not read the last {} bytes", rest.len()));
            }
            self
        }
    }

    /// Waits for exactly these bytes. Bytes after them are left for the next expectation.
    ///
    /// # Panics
    ///
    /// Other bytes come, the connection closes, or too few bytes come within the bound.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            let expected = bytes.as_ref();
            let mut equal = 0;
            while equal < expected.len() {
                let next = self.received[equal..].iter().zip(&expected[equal..]);
                equal += next.take_while(|(received, expected)| received == expected).count();
                if equal < expected.len() && equal < self.received.len() {
                    let (wanted, came) = (excerpt_at(expected, equal), excerpt_at(&self.received, equal));
                    self.fail(caller, format_args!("expected {wanted}, received {came}; byte {equal} differs"));
                }
                if equal < expected.len()
                    && let Err(stopped) = self.receive_more().await
                {
                    let wanted = excerpt_at(expected, equal);
                    self.fail_stopped(caller, &format!("expected {wanted}"), &stopped);
                }
            }
            self.received.advance(expected.len());
            self
        }
    }

    /// Waits for bytes up to a delimiter, and returns them with the delimiter. For bytes that the test cannot know.
    ///
    /// # Panics
    ///
    /// The connection closes, or the delimiter does not come within the bound.
    #[track_caller]
    pub fn receive_until(&mut self, delimiter: impl AsRef<[u8]>) -> impl Future<Output = Bytes> {
        let caller = Location::caller();
        async move {
            let delimiter = delimiter.as_ref();
            loop {
                if let Some(at) = memchr::memmem::find(&self.received, delimiter) {
                    return self.received.split_to(at + delimiter.len()).freeze();
                }
                if let Err(stopped) = self.receive_more().await {
                    let wanted = format!("expected bytes up to {}", excerpt(delimiter));
                    self.fail_stopped(caller, &wanted, &stopped);
                }
            }
        }
    }

    /// Checks that nothing comes for this long: no byte and no close. Paused time passes only while the server is idle.
    ///
    /// # Panics
    ///
    /// A byte comes, or the connection closes.
    #[track_caller]
    pub fn expect_nothing(&mut self, time: Duration) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            if self.received.is_empty()
                && let Ok(Received::Ended | Received::Reset) = timeout(time, self.receive()).await
            {
                self.fail(caller, format_args!("expected nothing; {}", self.closed()));
            }
            self.check_all_consumed(caller, "expected nothing");
            self
        }
    }

    /// Waits until the server has closed the connection, and checks the close reason that it has recorded. Then closes
    /// this end, and waits until the server counts the connection as closed.
    ///
    /// # Panics
    ///
    /// A received byte was not expected, the connection stays open, or the close reason is another one.
    #[track_caller]
    pub fn expect_closed(&mut self, reason: CloseReason) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let wanted = format!("expected the close reason {reason}");
            self.check_all_consumed(caller, &wanted);
            match self.receive_more().await {
                Err(Stopped::Closed(_)) => {}
                Err(stopped) => self.fail_stopped(caller, &wanted, &stopped),
                Ok(()) => self.check_all_consumed(caller, &wanted),
            }
            until(|| self.connection.get().is_some_and(|connection| connection.close_reason().is_some())).await;
            let recorded = self.connection.get().and_then(Connection::close_reason);
            if recorded != Some(reason) {
                self.fail(caller, format_args!("{wanted}; {}", self.closed()));
            }
            self.pipe.close();
            if !until(|| !self.is_open()).await {
                self.fail(caller, format_args!("{wanted}; the server does not finish the connection"));
            }
        }
    }

    /// Ends the output of the client (FIN). It still receives.
    pub fn half_close(&mut self) -> &mut Self {
        self.pipe.half_close();
        self
    }

    /// Resets the connection (RST). Reading and writing fail for the server, after it has read what was sent before.
    pub fn reset(&mut self) -> &mut Self {
        self.received.clear();
        self.pipe.reset();
        self
    }

    /// Stops reading: the server can write nothing more, as with a full window. Bytes that have arrived can still be
    /// expected.
    pub fn stop_reading(&mut self) -> &mut Self {
        self.pipe.set_reading(false);
        self
    }

    /// Reads again after [`stop_reading`](Self::stop_reading).
    pub fn resume_reading(&mut self) -> &mut Self {
        self.pipe.set_reading(true);
        self
    }

    async fn receive(&mut self) -> Received {
        poll_fn(|cx| self.pipe.poll_receive(cx, &mut self.received)).await
    }

    async fn receive_more(&mut self) -> Result<(), Stopped> {
        let began = Instant::now();
        match bounded(self.receive()).await {
            Some(Received::Bytes) => Ok(()),
            Some(closed) => Err(Stopped::Closed(closed)),
            None => Err(Stopped::Silent(began.elapsed())),
        }
    }

    /// Whether the connection is in the table of the server.
    fn is_open(&self) -> bool {
        let id = self.connection.get().map(Connection::id);
        id.zip(self.server.upgrade()).is_some_and(|(id, server)| server.is_open(id))
    }

    fn closed(&self) -> String {
        match self.connection.get().map(Connection::close_reason) {
            None => "the server has not accepted the connection".to_owned(),
            Some(None) => "the server has ended its output, but recorded no close reason".to_owned(),
            Some(Some(reason)) => format!("the server has closed the connection with reason {reason}"),
        }
    }

    #[track_caller]
    fn check_all_consumed(&self, caller: &Location<'_>, wanted: &str) {
        if !self.received.is_empty() {
            self.fail(caller, format_args!("{wanted}, received {}", excerpt(&self.received)));
        }
    }

    fn fail_stopped(&self, caller: &Location<'_>, wanted: &str, stopped: &Stopped) -> ! {
        let received = if self.received.is_empty() { String::new() } else { excerpt(&self.received) + ", then " };
        let what = match stopped {
            Stopped::Closed(Received::Reset) => format!("a reset; {}", self.closed()),
            Stopped::Closed(_) => format!("the end of the output; {}", self.closed()),
            Stopped::Silent(time) => format!("nothing for {}; the connection is open", seconds(*time)),
        };
        self.fail(caller, format_args!("{wanted}, received {received}{what}"))
    }

    fn fail(&self, caller: &Location<'_>, what: fmt::Arguments<'_>) -> ! {
        panic!("{what}\nat {caller}\n{}", self.pipe.transcript())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("connection", &self.connection.get()).finish_non_exhaustive()
    }
}
