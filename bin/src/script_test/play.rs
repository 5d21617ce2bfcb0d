//! Plays a script: one step after the other, while every connection reads.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use switchboard::framing::AnyFraming;
use switchboard::registry::HandlerInstance;
use switchboard::script::{Action, Data, Script, Step};
use tokio::time::{Instant, timeout};

use super::connection::{Connection, failed};
use super::load::Loaded;
use super::outcome::{Mismatch, Played};
use super::received::Closed;
use crate::dial::Server;

type Result<T> = std::result::Result<T, Mismatch>;

/// Plays a script with new connections.
pub(super) async fn play(loaded: &Loaded, server: &Server, timeout: Duration) -> Played {
    play_as(loaded, server, timeout, None, false).await
}

/// Plays a recording: without its pauses, and the server must not fail as it did. A handler normalises the replies.
pub(crate) async fn replay(
    loaded: &Loaded,
    server: &Server,
    timeout: Duration,
    handler: Option<&HandlerInstance>,
) -> Played {
    play_as(loaded, server, timeout, handler, true).await
}

async fn play_as(
    loaded: &Loaded,
    server: &Server,
    timeout: Duration,
    handler: Option<&HandlerInstance>,
    is_replay: bool,
) -> Played {
    let script = loaded.file.script();
    let mut player = Player {
        server,
        framing: loaded.framing.as_ref(),
        handler,
        peers: &script.peers,
        timeout,
        connections: (0..script.peer_count()).map(|_| None).collect(),
        has_closed: vec![false; script.peer_count()],
        expected: expected_bytes(script),
        unseen_reasons: 0,
        is_replay,
    };
    let began = Instant::now();
    let result = player.steps(&script.steps).await;
    Played { result, time: began.elapsed(), unseen_reasons: player.unseen_reasons }
}

fn expected_bytes(script: &Script) -> Vec<usize> {
    let mut expected = vec![0; script.peer_count()];
    for step in &script.steps {
        if let Step::Peer(peer, Action::Expect(data)) = step {
            expected[*peer] += data.len();
        }
    }
    expected
}

/// The state of a script that is played.
pub(super) struct Player<'a> {
    pub(super) server: &'a Server,
    framing: Option<&'a AnyFraming>,
    /// Normalises the replies.
    pub(super) handler: Option<&'a HandlerInstance>,
    pub(super) peers: &'a [String],
    pub(super) timeout: Duration,
    /// The connection of each peer.
    pub(super) connections: Vec<Option<Connection>>,
    /// The connection of the peer was closed, by either side.
    has_closed: Vec<bool>,
    /// The bytes that the steps of each peer expect.
    expected: Vec<usize>,
    unseen_reasons: usize,
    is_replay: bool,
}

impl Player<'_> {
    async fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for (nth, step) in steps.iter().enumerate() {
            let done = match step {
                Step::Wait(_) if self.is_replay => Ok(()),
                Step::Wait(duration) => {
                    self.read_for(*duration).await;
                    Ok(())
                }
                Step::Timeout(duration) => {
                    self.timeout = *duration;
                    Ok(())
                }
                Step::Peer(peer, Action::ExpectClosed(Some(reason)))
                    if self.is_replay && !reason.is_caused_by_messages() =>
                {
                    return self.expect_no_defect(nth, *peer, *reason).await;
                }
                Step::Peer(peer, action) => self.act(*peer, action).await,
                _ => Err(Mismatch::error("this program cannot play the step")),
            };
            done.map_err(|mismatch| Mismatch { step: Some(nth), ..mismatch })?;
        }
        if self.is_replay { Ok(()) } else { self.expect_no_more().await }
    }

    async fn act(&mut self, peer: usize, action: &Action) -> Result<()> {
        if self.connections[peer].is_none() {
            if matches!(action, Action::ExpectClosed(Some(_))) && self.has_closed[peer] {
                self.unseen_reasons += 1;
                return Ok(());
            }
            let connection = Connection::open(self.server, self.framing, self.expected[peer]).await;
            self.connections[peer] = Some(connection.map_err(Mismatch::error)?);
            self.has_closed[peer] = false;
        }
        match action {
            Action::Open => Ok(()),
            Action::Send(data) => self.send(peer, data).await,
            Action::HalfClose => {
                self.require_stream(peer, "> end")?;
                self.end(peer).await
            }
            Action::Close => self.close(peer).await,
            Action::Reset => {
                self.require_stream(peer, "> reset")?;
                let reset = self.forget(peer).map_or(Ok(()), Connection::reset);
                reset.map_err(|error| match error.kind() {
                    io::ErrorKind::Unsupported => Mismatch::error("a Unix socket has no reset; use tcp:// or > close"),
                    _ => Mismatch::error(failed(&error, self.server)),
                })
            }
            Action::Pause | Action::Resume => {
                self.connection(peer).is_paused = matches!(action, Action::Pause);
                Ok(())
            }
            Action::Expect(data) => self.expect(peer, data).await,
            Action::ExpectEnd => {
                self.require_stream(peer, "< end")?;
                self.expect_closed(peer, "the end of the connection", |closed| *closed == Closed::Ended).await
            }
            Action::ExpectReset => {
                self.require_stream(peer, "< reset")?;
                self.expect_closed(peer, "a reset", |closed| *closed == Closed::Reset).await?;
                self.forget(peer);
                Ok(())
            }
            Action::ExpectClosed(reason) => {
                // Only the server knows when it forgets a peer.
                self.require_stream(peer, "< closed")?;
                self.unseen_reasons += usize::from(reason.is_some());
                self.expect_closed(peer, "the end of the connection", |closed| !matches!(closed, Closed::Invalid(_)))
                    .await?;
                self.forget(peer);
                Ok(())
            }
            Action::ExpectNothing(duration) => self.expect_nothing(peer, *duration).await,
            _ => Err(Mismatch::error("this program cannot play the step")),
        }
    }

    pub(super) fn connection(&mut self, peer: usize) -> &mut Connection {
        self.connections[peer].as_mut().expect("the peer has connected")
    }

    /// Removes the connection, which is closed.
    fn forget(&mut self, peer: usize) -> Option<Connection> {
        self.has_closed[peer] = true;
        self.connections[peer].take()
    }

    fn require_stream(&mut self, peer: usize, step: &str) -> Result<()> {
        if self.connection(peer).is_datagram() {
            return Err(Mismatch::error(format!(
                "datagrams have no {step}; remove the line for {}",
                self.server.address
            )));
        }
        Ok(())
    }

    async fn send(&mut self, peer: usize, data: &Data) -> Result<()> {
        let framing = self.framing;
        let connection = self.connection(peer);
        let bytes = data.to_bytes().unwrap_or_default();
        let encoded = connection.encode(bytes, framing);
        let mut bytes = encoded.map_err(|error| Mismatch::error(format!("the message cannot be sent: {error}")))?;
        if connection.is_datagram() {
            let sent = connection.send_datagram(bytes).await;
            return sent.map_err(|error| Mismatch::error(failed(&error, self.server)));
        }
        let sent = self.until(peer, self.timeout, |connection, cx| connection.poll_send(cx, &mut bytes)).await;
        match sent {
            Some(result) => result.map_err(|error| Mismatch::error(failed(&error, self.server))),
            None => {
                let (left, time) = (bytes.len(), humantime::format_duration(self.timeout));
                Err(Mismatch::new(format!("the server has not read the last {left} bytes within {time}")))
            }
        }
    }

    async fn end(&mut self, peer: usize) -> Result<()> {
        let ended = self.until(peer, self.timeout, Connection::poll_end).await;
        ended.unwrap_or(Ok(())).map_err(|error| Mismatch::error(failed(&error, self.server)))
    }

    async fn close(&mut self, peer: usize) -> Result<()> {
        self.check_consumed(peer, "the client closes the connection")?;
        self.end(peer).await?;
        self.forget(peer);
        Ok(())
    }

    /// Reads everything that arrives within a time.
    pub(super) async fn read_for(&mut self, duration: Duration) {
        let reading = poll_fn(|cx| {
            self.poll_receive(cx);
            Poll::<()>::Pending
        });
        let _ = timeout(duration, reading).await; // the time always ends it
    }

    /// Runs a step of a peer while every connection reads. `None`: it is not done within the time.
    pub(super) async fn until<T>(
        &mut self,
        peer: usize,
        duration: Duration,
        mut poll: impl FnMut(&mut Connection, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let step = poll_fn(|cx| {
            self.poll_receive(cx);
            poll(self.connection(peer), cx)
        });
        timeout(duration, step).await.ok()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) {
        for connection in self.connections.iter_mut().flatten() {
            connection.poll_receive(cx, self.server, self.framing);
        }
    }
}
