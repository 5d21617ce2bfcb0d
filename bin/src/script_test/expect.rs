//! The steps that expect something of the server.

use std::task::Poll;
use std::time::Duration;

use switchboard::script::Data;
use switchboard::{CloseReason, Endpoint};
use tokio::time::Instant;

use super::compare::{Comparison, compare, compare_normalised, missing, unexpected};
use super::connection::Connection;
use super::outcome::Mismatch;
use super::play::Player;
use super::received::Closed;
use crate::dial::sent_tls_alert;

/// At the end of a script, how long to wait for bytes that no step expects.
const SURPLUS_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a server may take to fail as it did when a conversation was recorded.
const DEFECT_TIMEOUT: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Mismatch>;

impl Player<'_> {
    /// Waits for the data of a step.
    pub(super) async fn expect(&mut self, peer: usize, data: &Data) -> Result<()> {
        loop {
            let (mut equal, handler) = (0, self.handler);
            let compared = self.until(peer, self.timeout, |connection, _| {
                let compared = match handler {
                    Some(handler) => compare_normalised(data, &connection.received, handler),
                    None => compare(data, &connection.received, &mut equal),
                };
                match compared {
                    Comparison::Incomplete if connection.closed.is_none() => Poll::Pending,
                    comparison => Poll::Ready(comparison),
                }
            });
            let compared = compared.await.unwrap_or(Comparison::Incomplete);
            let (time, address) = (self.timeout, self.server.address.to_string());
            let is_tcp = matches!(self.server.address, Endpoint::Tcp(_));
            let connection = self.connection(peer);
            match compared {
                Comparison::Equal => {
                    connection.received.consume(data.len());
                    return Ok(());
                }
                Comparison::Differs(mut mismatch) => {
                    if is_tcp && sent_tls_alert(connection.received.front()) {
                        mismatch.what += "; the server sent a TLS alert, so it expects TLS (tls://)";
                    }
                    return Err(*mismatch);
                }
                Comparison::Incomplete => {
                    if connection.closed == Some(Closed::Refused) && connection.try_next_address().await {
                        continue;
                    }
                    return Err(missing(data, connection, equal, time, &address));
                }
            }
        }
    }

    /// Waits until the server has closed the connection.
    pub(super) async fn expect_closed(
        &mut self,
        peer: usize,
        what: &str,
        fits: impl Fn(&Closed) -> bool,
    ) -> Result<()> {
        let closed = self
            .until(peer, self.timeout, |connection, _| match &connection.closed {
                _ if connection.received.len() > 0 => Poll::Ready(None),
                None => Poll::Pending,
                Some(closed) => Poll::Ready(Some(closed.clone())),
            })
            .await;
        self.check_consumed(peer, &format!("expected {what}"))?;
        match closed.flatten() {
            Some(closed) if fits(&closed) => Ok(()),
            Some(closed) => {
                let came = closed.sentence(&self.server.address.to_string());
                Err(Mismatch::new(format!("expected {what}; {came}")))
            }
            None => {
                let time = humantime::format_duration(self.timeout);
                Err(Mismatch::new(format!("expected {what}; the connection is still open after {time}")))
            }
        }
    }

    /// The end of a recording. If the handler had failed, the server must not close the connection again.
    pub(super) async fn expect_no_defect(&mut self, nth: usize, peer: usize, reason: CloseReason) -> Result<()> {
        if !reason.is_handler_failure() || self.connections[peer].is_none() {
            return Ok(());
        }
        let reacts = |connection: &mut Connection| connection.closed.is_some() || connection.received.len() > 0;
        let reacted =
            self.until(
                peer,
                DEFECT_TIMEOUT,
                |connection, _| {
                    if reacts(connection) { Poll::Ready(()) } else { Poll::Pending }
                },
            );
        let _ = reacted.await; // a server that neither closes nor replies has not failed
        let connection = self.connection(peer);
        if connection.closed.is_none() || connection.received.len() > 0 {
            return Ok(());
        }
        let what = format!("the server closed the connection, as when it was recorded ({reason})");
        Err(Mismatch { step: Some(nth), ..Mismatch::new(what) })
    }

    /// Waits, and fails if something comes.
    pub(super) async fn expect_nothing(&mut self, peer: usize, duration: Duration) -> Result<()> {
        let began = Instant::now();
        let came = self.until(peer, duration, |connection, _| {
            let is_quiet = connection.received.len() == 0 && connection.closed.is_none();
            if is_quiet { Poll::Pending } else { Poll::Ready(()) }
        });
        if came.await.is_none() {
            return Ok(());
        }
        let time = humantime::format_duration(Duration::from_millis(began.elapsed().as_millis() as u64));
        self.check_consumed(peer, "expected nothing")?;
        let address = self.server.address.to_string();
        let closed = self.connection(peer).closed.as_ref().map(|closed| closed.sentence(&address));
        Err(Mismatch::new(format!("expected nothing; {} after {time}", closed.unwrap_or_default())))
    }

    /// Checks that everything that has arrived was expected.
    pub(super) fn check_consumed(&mut self, peer: usize, context: &str) -> Result<()> {
        let connection = self.connection(peer);
        match connection.received.len() {
            0 => Ok(()),
            _ => Err(unexpected(&connection.received, context)),
        }
    }

    /// After the last step, nothing more may arrive at an open connection.
    pub(super) async fn expect_no_more(&mut self) -> Result<()> {
        let can_receive = |connection: &Connection| connection.closed.is_none() && !connection.is_paused;
        if self.connections.iter().flatten().any(can_receive) {
            self.read_for(SURPLUS_TIMEOUT).await;
        }
        for peer in 0..self.connections.len() {
            if self.connections[peer].is_some() {
                let name = self.peers.get(peer).map(|name| format!(" of {name}")).unwrap_or_default();
                self.check_consumed(peer, &format!("the script{name} is at its end"))?;
            }
        }
        Ok(())
    }
}
