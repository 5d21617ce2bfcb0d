//! Plays the steps of a script, one after the other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::sleep;
use tokio_util::codec::Encoder;

use super::client::{Client, recorded_address};
use super::options::Replay;
use super::outcome::{ReplayFailure, Replayed};
use super::watch::Watch;
use crate::address::{Address, Endpoint};
use crate::error::Result;
use crate::framing::{AnyFraming, Framing};
use crate::listener_spec::ListenerSpec;
use crate::registry::HandlerInstance;
use crate::script::{Action, Data, Step};
use crate::server::ListenerSet;
use crate::settings::{Access, Timeouts};
use crate::transport::Transports;

/// How long a step may take, if the script does not say it.
const STEP: Duration = Duration::from_secs(5);
/// In paused time, it passes when nothing else can be done.
const SETTLE: Duration = Duration::from_millis(1);

/// A message of the script cannot be sent.
#[derive(Debug, thiserror::Error)]
enum NotPlayable {
    #[error(
        "step {0}: only {1} of {2} bytes of the message are known; record whole messages with a larger recorder.message"
    )]
    Partial(usize, usize, usize),
    #[error("step {0}: the message cannot be sent: {1}")]
    Invalid(usize, crate::error::BoxError),
}

impl Replay<'_> {
    /// Starts the handler, plays the script and stops the handler.
    ///
    /// # Errors
    ///
    /// The handler cannot be started, or the script cannot be played: it contains a message that was recorded in part.
    pub async fn run(&self, handler: &HandlerInstance) -> Result<Replayed> {
        play(self, handler).await
    }
}

async fn play(replay: &Replay<'_>, handler: &HandlerInstance) -> Result<Replayed> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("replay-{}", NEXT.fetch_add(1, Relaxed));
    let spec = replay.spec.clone().unwrap_or_else(|| {
        let spec = ListenerSpec::new("main", Endpoint::Memory(name.clone()));
        ListenerSpec { framing: replay.framing.clone().unwrap_or_default(), ..spec }
    });
    let spec = ListenerSpec {
        endpoint: Endpoint::Memory(name.clone()),
        tls: None,
        proxy: None,
        recorder: None,
        fleet: None,
        access: Access::default(),
        debug_log: true,
        ..spec
    };
    let (watch, timeouts) = (Watch::default(), spec.timeouts);
    let mut listeners = ListenerSet::new(Transports::default());
    listeners.listen(spec, &handler.clone().around(watch.clone()));
    let running = listeners.start().await?;
    let mut player = Player::new(replay, handler, &name, watch, timeouts);
    let played = player.steps(&replay.script.steps).await;
    let (messages, replies) = (player.messages, player.replies);
    drop(player); // closes the connections, or the drain would wait for them
    running.drain().await;
    played.map(|failure| Replayed { messages, replies, failure })
}

/// The state of a replay.
pub(super) struct Player<'a> {
    pub(super) handler: &'a HandlerInstance,
    server: &'a str,
    /// The framing of the messages. None if the data are bytes.
    framing: Option<&'a AnyFraming>,
    /// Each message is one read of the server.
    is_raw: bool,
    pub(super) watch: Watch,
    pub(super) clients: Vec<Option<Client>>,
    /// The recorded address of the only client.
    address: Option<Address>,
    pub(super) timeout: Duration,
    /// The timeouts of the listener.
    pub(super) timeouts: Timeouts,
    pub(super) messages: usize,
    pub(super) replies: usize,
}

impl<'a> Player<'a> {
    fn new(
        replay: &'a Replay<'_>,
        handler: &'a HandlerInstance,
        server: &'a str,
        watch: Watch,
        timeouts: Timeouts,
    ) -> Self {
        let script = replay.script;
        let is_raw = replay.framing.as_ref().is_none_or(|framing| framing.name() == "raw");
        Self {
            handler,
            server,
            framing: replay.framing.as_ref().filter(|_| script.framing.is_some() && !is_raw),
            is_raw,
            watch,
            clients: (0..script.peer_count()).map(|_| None).collect(),
            address: recorded_address(script),
            timeout: STEP,
            timeouts,
            messages: 0,
            replies: 0,
        }
    }

    async fn steps(&mut self, steps: &[Step]) -> Result<Option<ReplayFailure>> {
        for (nth, step) in steps.iter().enumerate() {
            match step {
                Step::Wait(time) => sleep(*time).await,
                Step::Timeout(time) => self.timeout = *time,
                Step::Peer(peer, action) => {
                    if let Some(failure) = self.act(nth, *peer, action).await? {
                        return Ok(Some(failure));
                    }
                }
            }
        }
        self.settle().await;
        Ok(self.defect(None))
    }

    async fn act(&mut self, nth: usize, peer: usize, action: &Action) -> Result<Option<ReplayFailure>> {
        let is_known = matches!(action, Action::ExpectClosed(_));
        if self.clients[peer].is_none() {
            if is_known {
                return Ok(None); // the client has closed the connection
            }
            let client = Client::connect(self.server, self.address.clone(), self.framing).await?;
            self.clients[peer] = Some(client);
        }
        let time = self.timeout;
        match action {
            Action::Send(data) => self.send(nth, peer, data).await?,
            Action::HalfClose => self.client(peer).end().await,
            Action::Close | Action::Reset => {
                self.settle().await;
                let defect = self.defect(Some(nth));
                self.clients[peer] = None;
                return Ok(defect);
            }
            Action::Expect(data) => return self.expect(nth, peer, data).await,
            Action::ExpectEnd | Action::ExpectReset | Action::ExpectClosed(None) => {
                let is_open = !self.client(peer).ended(time).await;
                let what = match self.client(peer).surplus() {
                    0 => is_open.then(|| "the connection is still open".to_owned()),
                    surplus => Some(format!("the server sent {surplus} bytes that no step expects")),
                };
                let Some(what) = what else { return Ok(None) };
                return Ok(Some(self.failure(nth, what).await));
            }
            Action::ExpectClosed(Some(reason)) => return Ok(self.expect_closed(nth, peer, *reason).await),
            Action::ExpectNothing(time) => {
                sleep(*time).await;
                let client = self.client(peer);
                let what = match client.surplus() {
                    0 if !client.has_ended() => return Ok(None),
                    0 => "the server closed the connection".to_owned(),
                    surplus => format!("the server sent {surplus} bytes that no step expects"),
                };
                return Ok(Some(self.failure(nth, what).await));
            }
            // Reading all the time does not change what is compared.
            _ => {}
        }
        Ok(None)
    }

    /// Waits for what the last message causes, and for the error of a connection that the server has closed.
    pub(super) async fn settle(&mut self) {
        sleep(SETTLE).await;
        for client in self.clients.iter_mut().flatten().filter(|client| client.has_ended()) {
            client.end().await; // the server waits for it
            sleep(SETTLE).await;
        }
    }

    pub(super) fn client(&mut self, peer: usize) -> &mut Client {
        self.clients[peer].as_mut().expect("the client has connected")
    }

    async fn send(&mut self, nth: usize, peer: usize, data: &Data) -> Result<()> {
        let known = data.to_bytes();
        let bytes =
            known.ok_or_else(|| NotPlayable::Partial(nth + 1, data.first_unknown().unwrap_or_default(), data.len()))?;
        let mut encoded = BytesMut::new();
        match self.framing {
            None => encoded.extend_from_slice(&bytes),
            Some(framing) => framing
                .codec(usize::MAX)
                .encode(Bytes::from(bytes), &mut encoded)
                .map_err(|error| NotPlayable::Invalid(nth + 1, error.into()))?,
        }
        let time = self.timeout;
        self.client(peer).send(&encoded, time).await;
        self.messages += 1;
        if self.is_raw {
            sleep(SETTLE).await;
        }
        Ok(())
    }
}
