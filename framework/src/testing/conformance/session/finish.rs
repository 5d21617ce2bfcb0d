//! The end of a run: closes the clients, drains the server, and looks at what is left.

use std::time::Duration;

use super::{Client, Ended, Fault, MAX_STEP, Outcome, PATIENCE, Session, TICK};
use crate::connection::Connection;
use crate::testing::conformance::tasks::{alive_tasks, left_after_stop};

impl Session<'_> {
    /// Waits until the server has closed every connection, without the end of the input.
    pub(in crate::testing::conformance) async fn pass_until_closed(&mut self) -> Result<(), Fault> {
        let (mut step, mut waited) = (TICK, Duration::ZERO);
        while let Some(client) = self.clients.iter().position(|client| !client.is_closed) {
            if waited >= PATIENCE {
                return Err(self.fault(client, "the connection does not close"));
            }
            self.pass(step).await;
            waited += step;
            step = (step * 2).min(MAX_STEP);
        }
        Ok(())
    }

    /// Ends the input of all clients, and waits until each is closed.
    pub(in crate::testing::conformance) async fn close_all(&mut self) -> Result<(), Fault> {
        for client in 0..self.clients.len() {
            if !self.clients[client].is_closed {
                self.half_close(client);
            }
        }
        let (mut step, mut waited) = (TICK, Duration::ZERO);
        loop {
            self.pass(step).await;
            waited += step;
            let is_open = |client: &Client| {
                !client.is_closed || client.connection.get().is_none_or(|one| one.close_reason().is_none())
            };
            let open = self.clients.iter().position(is_open);
            if open.is_none() && self.server.open() == 0 {
                return Ok(());
            }
            if waited >= PATIENCE {
                return Err(match open {
                    Some(client) => self.fault(client, "the connection does not close"),
                    None => self.fault(0, "the connection is closed, but stays in the table of the server"),
                });
            }
            step = (step * 2).min(MAX_STEP);
        }
    }

    /// Closes all clients, drains the server, and checks what is left.
    pub(in crate::testing::conformance) async fn finish(mut self) -> Result<Ended, Fault> {
        self.close_all().await?;
        let mut clients = Vec::new();
        for number in 0..self.clients.len() {
            let connection = self.clients[number].connection.get();
            let reason = connection.and_then(Connection::close_reason);
            let reason = reason.ok_or_else(|| self.fault(number, "the server has not accepted the connection"))?;
            let calls = self.calls(number);
            if calls.closes.len() != 1 {
                let what = format!("close was called {} times, expected once", calls.closes.len());
                return Err(self.fault(number, what));
            }
            clients.push(Outcome { frames: self.frames(number), reason, calls });
        }
        if self.record.running() > 0 {
            let what = format!("{} futures of the handler are left after the close", self.record.running());
            return Err(self.fault(0, what));
        }
        let left_tasks = alive_tasks().saturating_sub(self.tasks + usize::from(self.drain.is_some()));
        let drained = match self.drain.take() {
            Some(drain) => drain.await.map_err(|_| self.fault(0, "the drain panicked"))?,
            None => self.server.drain().await,
        };
        if drained.stop_failures > 0 {
            return Err(self.fault(0, "stop of the handler failed or did not end"));
        }
        let Self { server, record, clients: ends, events, .. } = self;
        drop((server, ends));
        let (left_after_stop, largest_message) = (left_after_stop().await, record.largest_message());
        Ok(Ended { clients, left_tasks, left_after_stop, drained, largest_message, events })
    }
}
