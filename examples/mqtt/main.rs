//! An MQTT 3.1.1 broker. Try it: `mosquitto_sub -t 'home/#' -v`, then `mosquitto_pub -t home/light -m on -q 1 -r`.
//!
//! A session ends with its connection, also with clean session = 0, so CONNACK never announces an earlier session. The
//! highest QoS is 1. User names and passwords are ignored. Numbers in comments are sections of the standard.

mod protocol;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mqtt_proto::v3::{
    Connack, Connect, ConnectReturnCode as Code, LastWill, Packet, Publish, Suback, Subscribe, SubscribeReturnCode,
};
use mqtt_proto::{ClientId, Pid, Protocol, QoS, QosPid, TopicFilter, TopicName};
use switchboard::prelude::*;
use switchboard::settings::{Limits, Timeouts};
use switchboard::tokio::time::Instant;

use crate::protocol::{Codec, MAX_NAME, matches};

// Every collection and every length has a limit. A session is a connection, so this also limits the sessions.
const MAX_CONNECTIONS: usize = 1000;
/// Of a client. Each message is compared with the filters of all clients.
const MAX_FILTERS: usize = 50;
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
    clients: HashMap<ClientId, Client>,
    retained: BTreeMap<TopicName, Publish>,
}

struct Client {
    pusher: Pusher<Packet>,
    filters: HashMap<TopicFilter, QoS>,
    /// How long the client may send nothing. Zero: without a limit.
    keep_alive: Duration,
    last_packet: Instant,
    last_id: Pid,
    unacknowledged: HashSet<Pid>,
}

/// State of a connection after CONNECT.
struct Session {
    client: ClientId,
    will: Option<LastWill>,
}

type State = Option<Session>;

impl Handler<Packet, Packet> for Broker {
    const NEEDS: Needs = Needs::Stream;

    type State = State;

    async fn message(&self, cx: &mut Context<State, Packet>, packet: Packet) -> Result<Reply<Packet>> {
        let reply = self.reply(cx, packet);
        tokio::task::yield_now().await; // In a burst, the connections of the subscribers write between two messages.
        Ok(reply)
    }

    async fn close(&self, cx: &mut Context<State, Packet>, _: CloseReason) {
        let Some(Session { client, will }) = cx.state.take() else { return };
        let mut shared = self.lock();
        if shared.client(&client, cx.id()).is_some() {
            shared.clients.remove(&client);
        }
        if let Some(LastWill { qos, retain, topic_name, message }) = will {
            let qos_pid = if qos == QoS::Level0 { QosPid::Level0 } else { QosPid::Level1(Pid::default()) };
            shared.publish(&Publish { retain, ..Publish::new(qos_pid, topic_name, message) });
        }
    }
}

impl Broker {
    /// Ignores poisoning: a panic while the lock is held leaves the maps usable.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, cx: &mut Context<State, Packet>, packet: Packet) -> Reply<Packet> {
        let (mut shared, connection) = (self.lock(), cx.id());
        let Some(session) = &mut cx.state else {
            return match packet {
                Packet::Connect(connect) => shared.connect(cx, connect),
                _ => Reply::close(), // 3.1
            };
        };
        let Some(client) = shared.client(&session.client, connection) else { return Reply::close() };
        client.last_packet = Instant::now();
        match packet {
            Packet::Publish(publish) => match publish.qos_pid {
                QosPid::Level0 if shared.publish(&publish) => Reply::none(),
                QosPid::Level1(id) if shared.publish(&publish) => Reply::send(Packet::Puback(id)),
                _ => Reply::close(),
            },
            Packet::Puback(id) => {
                client.unacknowledged.remove(&id);
                Reply::none()
            }
            Packet::Subscribe(subscribe) if subscribe.topics.len() <= MAX_FILTERS => {
                shared.subscribe(&session.client, subscribe);
                Reply::none()
            }
            Packet::Unsubscribe(unsubscribe) => {
                client.filters.retain(|filter, _| !unsubscribe.topics.contains(filter));
                Reply::send(Packet::Unsuback(unsubscribe.pid))
            }
            Packet::Pingreq => Reply::send(Packet::Pingresp),
            Packet::Disconnect => {
                session.will = None;
                Reply::finish()
            }
            _ => Reply::close(), // a second CONNECT (3.1), or a packet that a client does not send
        }
    }
}

impl Shared {
    /// The client of a connection. `None` if another connection has taken its session over.
    fn client(&mut self, client: &str, connection: u64) -> Option<&mut Client> {
        self.clients.get_mut(client).filter(|client| client.pusher.connection().id() == connection)
    }

    fn connect(&mut self, cx: &mut Context<State, Packet>, connect: Connect) -> Reply<Packet> {
        let refuse = |code| Reply::send(Connack::new(false, code)).then_finish();
        let client = match connect.client_id {
            _ if connect.protocol != Protocol::V311 => return refuse(Code::UnacceptableProtocolVersion),
            id if id.len() > MAX_NAME || (id.is_empty() && !connect.clean_session) => {
                return refuse(Code::IdentifierRejected);
            }
            // The codec rejects the ids of clients that contain NUL.
            id if id.is_empty() => format!("\0{}", cx.id()).into(),
            id => id,
        };
        // 3.1.2.10. The idle timeout counts what the server writes, too; see `Client::deliver`.
        let keep_alive = Duration::from_secs(connect.keep_alive.into()) * 3 / 2;
        cx.set_idle_timeout(keep_alive);
        cx.state = Some(Session { client: client.clone(), will: connect.last_will });
        let new = Client {
            pusher: cx.pusher(),
            filters: HashMap::new(),
            keep_alive,
            last_packet: Instant::now(),
            last_id: Pid::default(),
            unacknowledged: HashSet::new(),
        };
        if let Some(old) = self.clients.insert(client, new) {
            old.pusher.connection().close(); // 3.1.4
        }
        Reply::send(Connack::new(false, Code::Accepted))
    }

    /// Returns false if the message cannot be retained. Then nobody receives it.
    fn publish(&mut self, publish: &Publish) -> bool {
        let topic = &publish.topic_name;
        if publish.retain && publish.payload.is_empty() {
            self.retained.remove(topic);
        } else if publish.retain {
            if self.retained.len() >= MAX_RETAINED && !self.retained.contains_key(topic) {
                return false;
            }
            self.retained.insert(topic.clone(), publish.clone());
        }
        for client in self.clients.values_mut() {
            if let Some(qos) = granted(&client.filters, topic) {
                client.deliver(publish, qos, false);
            }
        }
        true
    }

    /// The acknowledgement and the retained messages are queued under the lock, so they come before newer messages.
    fn subscribe(&mut self, client: &str, subscribe: Subscribe) {
        let Some(client) = self.clients.get_mut(client) else { return };
        let (mut new, mut codes) = (HashMap::new(), Vec::new());
        for (filter, qos) in subscribe.topics {
            if client.filters.len() >= MAX_FILTERS && !client.filters.contains_key(&filter) {
                codes.push(SubscribeReturnCode::Failure);
            } else {
                client.filters.insert(filter.clone(), qos);
                new.insert(filter, qos);
                codes.push(qos.min(QoS::Level1).into());
            }
        }
        let _ = client.pusher.push_or_close(Suback::new(subscribe.pid, codes));
        for publish in self.retained.values() {
            if let Some(qos) = granted(&new, &publish.topic_name) {
                client.deliver(publish, qos, true);
            }
        }
    }
}

impl Client {
    /// Queues a message. `push_or_close` never waits: it closes a connection whose queue is full.
    fn deliver(&mut self, publish: &Publish, granted: QoS, retain: bool) {
        // A write starts the idle timeout again, but only a packet of the client counts for the keep alive.
        let is_silent = !self.keep_alive.is_zero() && self.last_packet.elapsed() >= self.keep_alive;
        if is_silent || self.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
            return self.pusher.connection().close();
        }
        let qos_pid = if publish.qos_pid.qos().min(granted) == QoS::Level0 {
            QosPid::Level0
        } else {
            self.last_id += 1;
            while !self.unacknowledged.insert(self.last_id) {
                self.last_id += 1;
            }
            QosPid::Level1(self.last_id)
        };
        let _ = self.pusher.push_or_close(Publish { dup: false, retain, qos_pid, ..publish.clone() });
    }
}

/// The highest QoS of the filters that match a topic.
fn granted(filters: &HashMap<TopicFilter, QoS>, topic: &str) -> Option<QoS> {
    filters.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, qos)| *qos).max()
}

/// The settings of the protocol, which the server and its tests have in common.
fn configure(server: Server) -> Server<impl Framing<In = Packet, Out = Packet>> {
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
