//! An MQTT 3.1.1 broker. Try it: `mosquitto_sub -t 'home/#' -v`, then `mosquitto_pub -t home/light -m on -q 1 -r`.
//!
//! A session ends with its connection, also with clean session = 0, so CONNACK never announces an earlier session. The
//! highest QoS is 1. User names and passwords are ignored. Numbers in comments are sections of the standard.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use mqtt_proto::v3::{self, Packet, Publish, Subscribe, SubscribeReturnCode};
use mqtt_proto::{Error, Pid, Protocol, QoS, QosPid, TopicFilter, TopicName, total_len};
use switchboard::framing::FrameError;
use switchboard::prelude::*;
use switchboard::settings::{Limits, Timeouts};
use switchboard::tokio_util::codec::{Decoder, Encoder};
use tokio::sync::Mutex;

// Every collection and every length has a limit. A session is a connection, so this also limits the sessions.
const MAX_CONNECTIONS: usize = 1000;
const MAX_RETAINED: usize = 500;
const MAX_PACKET: usize = 16 * 1024;
const MAX_NAME: usize = 256; // bytes of a client id, a topic and a filter
const MAX_FILTERS: usize = 50; // of a client; a message is compared with the filters of all clients
const MAX_QUEUED: usize = 1000; // messages that a client can be behind; all retained messages must fit

/// The room of the clients that have filters. All messages go there, and each client takes those that match.
const ALL: &str = "all";

#[derive(Default)]
struct Broker(Mutex<Shared>);

struct Shared {
    messages: Hub<Publish>,
    /// By the number of the connection.
    clients: HashMap<u64, Client>,
    retained: BTreeMap<TopicName, Publish>,
}

struct Client {
    id: Arc<str>,
    pusher: Pusher<Packet>,
    will: Option<Publish>,
    filters: HashMap<TopicFilter, QoS>,
    delivery: Arc<Delivery>,
}

/// Makes the packets for one client.
struct Delivery {
    connection: Connection,
    /// The last packet id, and the number of QoS 1 messages without an acknowledgement of the client.
    ids: StdMutex<(Pid, u16)>,
}

impl Default for Shared {
    fn default() -> Self {
        let messages = Hub::new().queue(MAX_QUEUED).slow(Slow::Close);
        Self { messages, clients: HashMap::new(), retained: BTreeMap::new() }
    }
}

impl Handler<Option<Packet>, Packet> for Broker {
    const NEEDS: Needs = Needs::Stream;
    type State = ();

    async fn message(&self, cx: &mut Context<(), Packet>, packet: Option<Packet>) -> Result<Reply<Packet>> {
        let mut shared = self.0.lock().await;
        let Some(client) = shared.clients.get_mut(&cx.id()) else { return Ok(shared.connect(cx, packet)) };
        Ok(match packet {
            Some(Packet::Publish(message)) => shared.publish(&message),
            Some(Packet::Puback(_)) => {
                client.delivery.acknowledged();
                Reply::none()
            }
            Some(Packet::Subscribe(request)) => shared.subscribe(cx, request)?,
            Some(Packet::Unsubscribe(request)) => {
                client.filters.retain(|filter, _| !request.topics.contains(filter));
                let view = client.view();
                shared.messages.join_with(cx, ALL, view)?;
                Reply::send(Packet::Unsuback(request.pid))
            }
            Some(Packet::Pingreq) => Reply::send(Packet::Pingresp),
            Some(Packet::Disconnect) => {
                client.will = None;
                Reply::finish()
            }
            _ => Reply::close(), // a second CONNECT (3.1), or a packet of a server or of QoS 2
        })
    }

    /// A client must not miss a message of QoS 1.
    async fn gap(&self, _: &mut Context<(), Packet>, _: &str, _: u64) -> Result<Reply<Packet>> {
        Ok(Reply::close())
    }

    async fn close(&self, cx: &mut Context<(), Packet>, _: CloseReason) {
        self.0.lock().await.remove(cx.id());
    }
}

impl Shared {
    fn remove(&mut self, connection: u64) {
        let Some(client) = self.clients.remove(&connection) else { return };
        client.pusher.connection().close();
        client.will.map(|will| self.publish(&will));
    }

    /// Handles the first packet of a connection.
    fn connect(&mut self, cx: &mut Context<(), Packet>, packet: Option<Packet>) -> Reply<Packet> {
        use v3::ConnectReturnCode::{Accepted, IdentifierRejected, UnacceptableProtocolVersion};
        let answer = |code| Reply::send(v3::Connack::new(false, code));
        let connect = match packet {
            Some(Packet::Connect(connect)) if connect.protocol == Protocol::V311 => connect,
            None | Some(Packet::Connect(_)) => return answer(UnacceptableProtocolVersion).then_finish(),
            Some(_) => return Reply::close(), // 3.1
        };
        let id = connect.client_id;
        if id.len() > MAX_NAME || id.contains('\0') || (id.is_empty() && !connect.clean_session) {
            return answer(IdentifierRejected).then_finish();
        }
        let will = connect.last_will.map(|will| {
            let qos_pid = if will.qos == QoS::Level0 { QosPid::Level0 } else { QosPid::Level1(Pid::default()) };
            Publish { retain: will.retain, ..Publish::new(qos_pid, will.topic_name, will.message) }
        });
        if !will.as_ref().is_none_or(is_valid) || (connect.password.is_some() && connect.username.is_none()) {
            return Reply::close(); // 3.1.2.9
        }
        cx.set_input_timeout(Duration::from_secs(connect.keep_alive.into()) * 3 / 2); // 3.1.2.10
        let same_id = self.clients.values().find(|client| client.id == id && !id.is_empty());
        if let Some(connection) = same_id.map(|client| client.pusher.connection().id()) {
            self.remove(connection); // 3.1.4
        }
        let delivery = Arc::new(Delivery { connection: cx.connection().clone(), ids: StdMutex::default() });
        self.clients.insert(cx.id(), Client { id, pusher: cx.pusher(), will, filters: HashMap::new(), delivery });
        answer(Accepted)
    }

    /// Nobody receives a message that is not valid or cannot be retained.
    fn publish(&mut self, message: &Publish) -> Reply<Packet> {
        let is_full = self.retained.len() >= MAX_RETAINED && !self.retained.contains_key(&message.topic_name);
        match (message.retain, message.payload.is_empty()) {
            _ if !is_valid(message) => return Reply::close(),
            (true, true) => drop(self.retained.remove(&message.topic_name)),
            (true, false) if is_full => return Reply::close(),
            (true, false) => drop(self.retained.insert(message.topic_name.clone(), message.clone())),
            (false, _) => {}
        }
        self.messages.publish(ALL, message.clone());
        message.qos_pid.pid().map_or(Reply::none(), |pid| Reply::send(Packet::Puback(pid)))
    }

    /// Joins and queues the answer and the retained messages under the lock, so that they come before newer messages.
    fn subscribe(&mut self, cx: &Context<(), Packet>, Subscribe { pid, topics }: Subscribe) -> Result<Reply<Packet>> {
        let Some(client) = self.clients.get_mut(&cx.id()) else { return Ok(Reply::close()) };
        let mut new = HashMap::new();
        let subscribe = |(filter, qos): (TopicFilter, QoS)| {
            let is_full = client.filters.len() >= MAX_FILTERS && !client.filters.contains_key(&filter);
            let has_bad_level = filter.split('/').any(|level| level.len() > 1 && level.contains(['+', '#'])); // 4.7.1
            if is_full || has_bad_level || filter.len() > MAX_NAME {
                return SubscribeReturnCode::Failure;
            }
            client.filters.insert(filter.clone(), qos.min(QoS::Level1));
            new.insert(filter, qos.min(QoS::Level1));
            qos.min(QoS::Level1).into()
        };
        let codes = topics.into_iter().map(subscribe).collect();
        self.messages.join_with(cx, ALL, client.view())?;
        // Never waits: `push_or_close` closes a connection whose queue is full.
        let _ = client.pusher.push_or_close(v3::Suback::new(pid, codes));
        for message in self.retained.values() {
            if let Some(packet) = client.delivery.packet(&new, message.clone(), true) {
                let _ = client.pusher.push_or_close(packet);
            }
        }
        Ok(Reply::none())
    }
}

impl Client {
    /// Makes the packets for the messages that are published while the client has these filters.
    fn view(&self) -> impl FnMut(Publish) -> Option<Packet> + use<> {
        let (filters, delivery) = (self.filters.clone(), self.delivery.clone());
        move |message| delivery.packet(&filters, message, false)
    }
}

impl Delivery {
    /// The packet for a message; `None` if no filter matches.
    fn packet(&self, filters: &HashMap<TopicFilter, QoS>, message: Publish, retain: bool) -> Option<Packet> {
        let granted = granted(filters, &message.topic_name)?;
        let qos = message.qos_pid.qos().min(granted);
        let mut copy = Publish { dup: false, retain, qos_pid: QosPid::Level0, ..message };
        if qos > QoS::Level0 {
            let (last, unacknowledged) = &mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(number) = unacknowledged.checked_add(1) else {
                self.connection.close();
                return None;
            };
            *unacknowledged = number;
            *last += 1;
            copy.qos_pid = QosPid::Level1(*last);
        }
        Some(copy.into())
    }

    fn acknowledged(&self) {
        let (_, unacknowledged) = &mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        *unacknowledged = unacknowledged.saturating_sub(1);
    }
}

fn is_valid(message: &Publish) -> bool {
    let has_valid_flags = matches!((message.qos_pid, message.dup), (QosPid::Level0, false) | (QosPid::Level1(_), _));
    has_valid_flags && (1..=MAX_NAME).contains(&message.topic_name.len())
}

/// The highest QoS of the filters that match a topic.
fn granted(filters: &HashMap<TopicFilter, QoS>, topic: &str) -> Option<QoS> {
    filters.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, qos)| *qos).max()
}

fn matches(filter: &str, topic: &str) -> bool {
    let is_hidden = topic.starts_with('$') && filter.starts_with(['+', '#']); // 4.7.2
    let (mut parts, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (parts.next(), levels.next()) {
            _ if is_hidden => return false,
            (Some("#"), _) | (None, None) => return true, // `a/#` matches `a`, too
            (part, level) if part == level || (part == Some("+") && level.is_some()) => {}
            _ => return false,
        }
    }
}

struct Codec(usize); // the maximum length of a packet, which is checked before the packet is buffered

impl Decoder for Codec {
    /// `None` is CONNECT of another version.
    type Item = Option<Packet>;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Option<Packet>>, FrameError> {
        const MALFORMED: FrameError = FrameError::Malformed("a packet violates the standard");
        let length = match v3::Header::decode(buffer) {
            Err(error) if error.is_eof() => return Ok(None),
            header => header.and_then(|header| total_len(header.remaining_len as usize)).map_err(|_| MALFORMED)?,
        };
        if length > self.0 {
            return Err(FrameError::TooLarge { limit: self.0 });
        } else if length > buffer.len() {
            return Ok(None);
        }
        let bytes = buffer.split_to(length);
        match Packet::decode(&bytes) {
            Err(Error::InvalidProtocol(..) | Error::UnexpectedProtocol(_)) => Ok(Some(None)),
            // The crate ignores surplus bytes and some flags. Its own encoding of the packet does not contain them.
            Ok(Some(packet)) if packet.encode().is_ok_and(|again| again.as_ref() == bytes) => Ok(Some(Some(packet))),
            _ => Err(MALFORMED),
        }
    }
}

impl Encoder<Packet> for Codec {
    type Error = FrameError;

    fn encode(&mut self, packet: Packet, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let bytes = packet.encode().map_err(|_| FrameError::Malformed("a packet cannot be encoded"))?;
        buffer.extend_from_slice(bytes.as_ref());
        if let Packet::Suback(v3::Suback { topics, .. }) = packet {
            let codes = buffer.len() - topics.len();
            buffer[codes..].iter_mut().filter(|code| **code == 3).for_each(|code| *code = 0x80); // the crate writes 3
        }
        Ok(())
    }
}

/// The settings of the protocol, which the server and its tests have in common.
fn configure(server: Server) -> Server<impl Framing<In = Option<Packet>, Out = Packet>> {
    server
        .framing(framing::custom(Codec))
        .limits(Limits::default().connections(MAX_CONNECTIONS).frame(MAX_PACKET).outbox(MAX_QUEUED))
        .timeouts(Timeouts::default().first_message(Duration::from_secs(10)))
}

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:1883".into());
    configure(Server::bind(address)).run(Broker::default()).await
}
