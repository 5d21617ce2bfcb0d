//! Publish and subscribe at the server of a fleet.
//!
//! Channels are sharded ones: all channels of a fleet have the same hash tag, so they belong to the node of a cluster
//! that has the keys. A server before Redis 7 has no sharded channels and gets the older commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, RedisError, ServerError, Value, cmd};
use tokio::sync::mpsc;

use super::client::Connector;
use super::failure::LinkFailure;
use super::report::FailureClass;
use crate::settings::FleetSettings;

/// Maximum received messages that wait. Further messages are dropped, and [`BusReceiver::has_dropped`] reports it.
const MAX_RECEIVED: usize = 4_096;

/// The closure that the client crate calls for each message of a subscription.
pub(super) type PushSender = Box<dyn Fn(PushInfo) -> Result<(), ()> + Send + Sync>;

/// Connects to channels.
pub(crate) struct Bus {
    connector: Connector,
    prefix: String,
}

/// What a [`BusSender`] does.
pub(crate) enum BusCommand {
    Subscribe(String),
    Unsubscribe(String),
    Publish(String, Vec<u8>),
    /// Writes nothing, but fails at a server that is a replica now: its channels reach no other instance.
    Check,
}

/// A message of a channel.
pub(crate) struct BusMessage {
    /// The name without the name of the fleet.
    pub(crate) channel: String,
    pub(crate) payload: Bytes,
}

#[derive(Default)]
struct Shared {
    has_dropped: AtomicBool,
    /// The server has ended a subscription: the node has no longer the keys.
    is_moved: AtomicBool,
    unsubscribing: AtomicUsize,
}

pub(crate) struct BusSender<'a> {
    bus: &'a mut Bus,
    connection: MultiplexedConnection,
    is_sharded: bool,
    shared: Arc<Shared>,
}

pub(crate) struct BusReceiver {
    messages: mpsc::Receiver<BusMessage>,
    shared: Arc<Shared>,
}

impl Bus {
    pub(super) fn new(settings: &FleetSettings) -> Self {
        Self { connector: Connector::new(settings), prefix: format!("{{{}}}:", settings.name) }
    }

    /// Connects, and subscribes to a channel.
    pub(crate) async fn connect(&mut self, channel: &str) -> Result<(BusSender<'_>, BusReceiver), LinkFailure> {
        let shared = Arc::<Shared>::default();
        let (sender, messages) = mpsc::channel(MAX_RECEIVED);
        let pushes = push_sender(sender, shared.clone(), self.prefix.clone());
        let connection = self.connector.connect(Some(pushes)).await?;
        let receiver = BusReceiver { messages, shared: shared.clone() };
        let mut sender = BusSender { bus: self, connection, is_sharded: true, shared };
        let mut replies = sender.replies(&[BusCommand::Subscribe(channel.to_owned())]).await?;
        if replies.iter().any(|reply| matches!(reply, Err(error) if is_unknown_command(error))) {
            sender.is_sharded = false;
            replies = sender.replies(&[BusCommand::Subscribe(channel.to_owned())]).await?;
        }
        sender.check(replies)?;
        Ok((sender, receiver))
    }
}

impl BusSender<'_> {
    /// Sends commands together, and waits for the replies. After an error, drop it and connect again.
    pub(crate) async fn send(&mut self, commands: &[BusCommand]) -> Result<(), LinkFailure> {
        if self.shared.is_moved.load(SeqCst) {
            return Err(self.failed(FailureClass::Unreachable, "the server has ended a subscription"));
        }
        let replies = self.replies(commands).await?;
        self.check(replies)
    }

    async fn replies(&mut self, commands: &[BusCommand]) -> Result<Vec<Result<(), ServerError>>, LinkFailure> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(self.command(command));
        }
        let sent = self.connection.send_packed_commands(&pipeline, 0, commands.len());
        let values = sent.await.map_err(|error| self.bus.connector.failure(&error))?;
        let result = |value| if let Value::ServerError(error) = value { Err(error) } else { Ok(()) };
        Ok(values.into_iter().map(result).collect())
    }

    fn command(&self, command: &BusCommand) -> redis::Cmd {
        let name = |sharded, plain| cmd(if self.is_sharded { sharded } else { plain });
        let full = |channel: &str| format!("{}{channel}", self.bus.prefix);
        match command {
            BusCommand::Subscribe(channel) => name("SSUBSCRIBE", "SUBSCRIBE").arg(full(channel)).take(),
            BusCommand::Unsubscribe(channel) => {
                self.shared.unsubscribing.fetch_add(1, SeqCst);
                name("SUNSUBSCRIBE", "UNSUBSCRIBE").arg(full(channel)).take()
            }
            BusCommand::Publish(channel, payload) => {
                name("SPUBLISH", "PUBLISH").arg(full(channel)).arg(payload.as_slice()).take()
            }
            BusCommand::Check => cmd("DEL").arg(full("check")).take(),
        }
    }

    /// The first failure. A server without memory still transports messages.
    fn check(&mut self, replies: Vec<Result<(), ServerError>>) -> Result<(), LinkFailure> {
        for error in replies.into_iter().filter_map(Result::err) {
            let failure = self.bus.connector.failure(&RedisError::from(error));
            if failure.class != FailureClass::OutOfMemory {
                return Err(failure);
            }
        }
        Ok(())
    }

    fn failed(&self, class: FailureClass, reason: &str) -> LinkFailure {
        LinkFailure::new(class, &self.bus.connector.settings, reason)
    }
}

impl BusReceiver {
    /// The next message. `None` if the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<BusMessage> {
        self.messages.recv().await
    }

    /// Whether messages were dropped since the last call, because too many waited.
    pub(crate) fn has_dropped(&self) -> bool {
        self.shared.has_dropped.swap(false, SeqCst)
    }
}

/// The closure owns the sender, and the client crate drops it with the connection.
fn push_sender(messages: mpsc::Sender<BusMessage>, shared: Arc<Shared>, prefix: String) -> PushSender {
    Box::new(move |PushInfo { kind, data }| {
        match kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(message) = message(data, &prefix)
                    && messages.try_send(message).is_err()
                {
                    shared.has_dropped.store(true, SeqCst);
                }
            }
            PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                let expected = shared.unsubscribing.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1));
                if expected.is_err() {
                    shared.is_moved.store(true, SeqCst);
                }
            }
            _ => {}
        }
        Ok(())
    })
}

fn message(data: Vec<Value>, prefix: &str) -> Option<BusMessage> {
    let [Value::BulkString(channel), Value::BulkString(payload)] = <[Value; 2]>::try_from(data).ok()? else {
        return None;
    };
    let channel = std::str::from_utf8(&channel).ok()?.strip_prefix(prefix)?.to_owned();
    Some(BusMessage { channel, payload: payload.into() })
}

fn is_unknown_command(error: &ServerError) -> bool {
    error.details().is_some_and(|details| details.starts_with("unknown command"))
}
