//! An MQTT 3.1.1 broker. Try it: `mosquitto_sub -t 'home/#' -v`, then `mosquitto_pub -t home/light -m on -q 1 -r`.
//!
//! A session ends with its connection, also with clean session = 0, so CONNACK never announces an earlier session. The
//! highest QoS is 1. User names and passwords are ignored. Numbers in comments are sections of the standard.

mod protocol;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::settings::{Limits, Timeouts};

use crate::protocol::{Codec, MAX_FILTERS, MAX_NAME, Message, Request, Response, matches};

// Every collection and every length has a limit. A session is a connection, so this also limits the sessions.
const MAX_CONNECTIONS: usize = 1000;
const MAX_RETAINED: usize = 500;
const MAX_PACKET: usize = 16 * 1024;
/// Messages that wait to be written to a client. All retained messages must fit.
const MAX_QUEUED: usize = 1000;
/// QoS 1 messages without an acknowledgement of the client.
const MAX_UNACKNOWLEDGED: usize = 10_000;

#[derive(Default)]
struct Broker(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    clients: HashMap<Arc<str>, Client>,
    /// By topic.
    retained: BTreeMap<Arc<str>, Message>,
}

struct Client {
    pusher: Pusher<Response>,
    /// Each with its QoS. A message is compared with the filters of all clients.
    filters: HashMap<Arc<str>, u8>,
    last_id: u16,
    unacknowledged: HashSet<u16>,
}

/// State of a connection after CONNECT.
struct Session {
    client: Arc<str>,
    will: Option<Message>,
}

type Cx = Context<Option<Session>, Response>;

impl Handler<Request, Response> for Broker {
    const NEEDS: Needs = Needs::Stream;

    type State = Option<Session>;

    async fn message(&self, cx: &mut Cx, request: Request) -> Result<Reply<Response>> {
        Ok(self.reply(cx, request))
    }

    async fn close(&self, cx: &mut Cx, _: CloseReason) {
        let Some(Session { client, will }) = cx.state.take() else { return };
        let mut shared = self.lock();
        if shared.client(&client, cx.id()).is_some() {
            shared.clients.remove(&client);
        }
        if let Some(will) = will {
            shared.publish(&will);
        }
    }
}

impl Broker {
    /// Ignores poisoning: a panic while the lock is held leaves the maps usable.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, cx: &mut Cx, request: Request) -> Reply<Response> {
        let (mut shared, connection) = (self.lock(), cx.id());
        let Some(session) = &mut cx.state else { return shared.connect(cx, request) };
        let Some(client) = shared.client(&session.client, connection) else { return Reply::close() };
        match request {
            Request::Connect { .. } | Request::ConnectOtherVersion => Reply::close(), // 3.1
            Request::Publish(message, id) => match shared.publish(&message) {
                false => Reply::close(),
                true if message.qos == 0 => Reply::none(),
                true => Reply::send(Response::Puback(id)),
            },
            Request::Puback(id) => {
                client.unacknowledged.remove(&id);
                Reply::none()
            }
            Request::Subscribe(id, filters) => {
                shared.subscribe(&session.client, id, filters);
                Reply::none()
            }
            Request::Unsubscribe(id, filters) => {
                client.filters.retain(|filter, _| !filters.contains(filter));
                Reply::send(Response::Unsuback(id))
            }
            Request::Ping => Reply::send(Response::Pong),
            Request::Disconnect => {
                session.will = None;
                Reply::finish()
            }
        }
    }
}

impl Shared {
    /// The client of a connection. `None` if another connection has taken its session over.
    fn client(&mut self, client: &str, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(client).filter(|client| client.pusher.connection().id() == connection)
    }

    /// Handles the first packet of a connection.
    fn connect(&mut self, cx: &mut Cx, request: Request) -> Reply<Response> {
        let (client, keep_alive, will) = match request {
            Request::ConnectOtherVersion => return Reply::send(Response::Connack(1)).then_finish(),
            Request::Connect { client, is_clean, .. }
                if client.len() > MAX_NAME || (client.is_empty() && !is_clean) =>
            {
                return Reply::send(Response::Connack(2)).then_finish();
            }
            Request::Connect { client, keep_alive, will, .. } => (client, keep_alive, will),
            _ => return Reply::close(), // 3.1
        };
        // The codec rejects NUL, so no client can choose the id of another one that has none.
        let client = if client.is_empty() { format!("\0{}", cx.id()).into() } else { client };
        cx.set_input_timeout(Duration::from_secs(keep_alive.into()) * 3 / 2); // 3.1.2.10
        cx.state = Some(Session { client: client.clone(), will });
        let new = Client { pusher: cx.pusher(), filters: HashMap::new(), last_id: 0, unacknowledged: HashSet::new() };
        if let Some(old) = self.clients.insert(client, new) {
            old.pusher.connection().close(); // 3.1.4
        }
        Reply::send(Response::Connack(0))
    }

    /// Returns false if the message cannot be retained. Then nobody receives it.
    fn publish(&mut self, message: &Message) -> bool {
        if message.retain && message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if message.retain {
            if self.retained.len() >= MAX_RETAINED && !self.retained.contains_key(&message.topic) {
                return false;
            }
            self.retained.insert(message.topic.clone(), message.clone());
        }
        for client in self.clients.values_mut() {
            if let Some(qos) = granted(&client.filters, &message.topic) {
                client.deliver(message, qos, false);
            }
        }
        true
    }

    /// The acknowledgement and the retained messages are queued under the lock, so they come before newer messages.
    fn subscribe(&mut self, client: &str, id: u16, filters: Vec<(Arc<str>, u8)>) {
        let Some(client) = self.clients.get_mut(client) else { return };
        let (mut new, mut codes) = (HashMap::new(), Vec::new());
        for (filter, qos) in filters {
            if client.filters.len() >= MAX_FILTERS && !client.filters.contains_key(&filter) {
                codes.push(0x80);
            } else {
                client.filters.insert(filter.clone(), qos.min(1));
                new.insert(filter, qos.min(1));
                codes.push(qos.min(1));
            }
        }
        let _ = client.pusher.push_or_close(Response::Suback(id, codes));
        for message in self.retained.values() {
            if let Some(qos) = granted(&new, &message.topic) {
                client.deliver(message, qos, true);
            }
        }
    }
}

impl Client {
    /// Queues a message. `push_or_close` never waits: it closes a connection whose queue is full.
    fn deliver(&mut self, message: &Message, granted: u8, retain: bool) {
        if self.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
            return self.pusher.connection().close();
        }
        let qos = message.qos.min(granted);
        if qos > 0 {
            self.last_id = self.last_id % u16::MAX + 1;
            while !self.unacknowledged.insert(self.last_id) {
                self.last_id = self.last_id % u16::MAX + 1;
            }
        }
        let message = Message { qos, retain, ..message.clone() };
        let _ = self.pusher.push_or_close(Response::Publish(message, self.last_id));
    }
}

/// The highest QoS of the filters that match a topic.
fn granted(filters: &HashMap<Arc<str>, u8>, topic: &str) -> Option<u8> {
    filters.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, qos)| *qos).max()
}

/// The settings of the protocol, which the server and its tests have in common.
fn configure(server: Server) -> Server<impl Framing<In = Request, Out = Response>> {
    server
        .framing(framing::custom(|limit| Codec { limit }))
        .limits(Limits::default().connections(MAX_CONNECTIONS).frame(MAX_PACKET).outbox(MAX_QUEUED))
        .timeouts(Timeouts::default().first_message(Duration::from_secs(10)))
}

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:1883".into());
    configure(Server::bind(address)).run(Broker::default()).await
}
