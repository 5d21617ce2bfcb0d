//! The MQTT broker: real clients, exact packets, malformed packets, and slow subscribers.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::{Client, Program, tool};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{connect, run, serve, stop};

const ACCEPTED: &[u8] = b"\x20\x02\0\0";
const PING: &[u8] = b"\xc0\0";
const PONG: &[u8] = b"\xd0\0";
const DISCONNECT: &[u8] = b"\xe0\0";

type Peer = Client<TcpStream>;

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let (mut packet, mut length) = (vec![first], body.len());
    while length > 127 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    [packet, body].concat()
}

fn hello(id: &str) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0", &text(id)])
}

/// CONNECT with a will: its flags, its topic and its payload.
fn hello_with_will(id: &str, flags: u8, topic: &str, payload: &str) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04", &[6 | flags], b"\0\0", &text(id), &text(topic), &text(payload)])
}

/// PUBLISH with QoS 0.
fn publish(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x30, &[&text(topic), payload.as_bytes()])
}

fn retain(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x31, &[&text(topic), payload.as_bytes()])
}

/// PUBLISH with QoS 1.
fn publish_1(id: u8, topic: &str, payload: &str) -> Vec<u8> {
    packet(0x32, &[&text(topic), &[0, id], payload.as_bytes()])
}

async fn join(at: &str, id: &str) -> Peer {
    let mut peer = connect(at).await;
    peer.send(hello(id)).await.expect(ACCEPTED).await;
    peer
}

async fn subscribe(peer: &mut Peer, filter: &str, qos: u8) {
    peer.send(packet(0x82, &[b"\0\x07", &text(filter), &[qos]])).await.expect([0x90, 3, 0, 7, qos.min(1)]).await;
}

/// Waits until the broker has handled all packets of a client.
async fn ping(peer: &mut Peer) {
    peer.send(PING).await.expect(PONG).await;
}

#[tokio::test]
async fn connect_is_answered_with_its_return_code() {
    let (server, at) = serve("mqtt");
    let long = "x".repeat(257);
    let custom = |head: &[u8], id: &str| packet(0x10, &[head, &text(id)]);
    for (request, answer) in [
        (custom(b"\0\x04MQTT\x04\x02\0\0", "a"), &b"\x20\x02\0\0"[..]),
        (custom(b"\0\x04MQTT\x04\0\0\0", "a"), b"\x20\x02\0\0"), // no clean session, and no session present
        (custom(b"\0\x04MQTT\x04\x02\0\0", ""), b"\x20\x02\0\0"),
        (packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\0", &text("a"), &text("user"), &text("key")]), b"\x20\x02\0\0"),
        (custom(b"\0\x04MQTT\x04\0\0\0", ""), b"\x20\x02\0\x02"),
        (custom(b"\0\x04MQTT\x04\x02\0\0", &long), b"\x20\x02\0\x02"),
        (custom(b"\0\x04MQTT\x03\x02\0\0", "a"), b"\x20\x02\0\x01"),
        (custom(b"\0\x04MQTT\0\x02\0\0", "a"), b"\x20\x02\0\x01"),
        (custom(b"\0\x04MQTT\xff\x02\0\0", "a"), b"\x20\x02\0\x01"),
        (custom(b"\0\x06MQIsdp\x03\x02\0\0", "a"), b"\x20\x02\0\x01"), // MQTT 3.1
        (custom(b"\0\x04MQTT\x05\x02\0\0\0", "a"), b"\x20\x02\0\x01"), // MQTT 5 with empty properties
        (custom(b"\0\x04mqtt\x04\x02\0\0", "a"), b"\x20\x02\0\x01"),
        (custom(b"\0\0\x04\x02\0\0", "a"), b"\x20\x02\0\x01"),
        (custom(b"\0\x04MQTT\x04\x03\0\0", "a"), b""), // a reserved flag
        (custom(b"\0\x04MQTT\x04\x22\0\0", "a"), b""), // will retain without a will
        (custom(b"\0\x04MQTT\x04\x0a\0\0", "a"), b""), // will QoS without a will
        (custom(b"\0\x04MQTT\x04\x02\0\0", "a\0"), b"\x20\x02\0\x02"),
        (packet(0x10, &[b"\0\x04MQTT\x04\x42\0\0", &text("a"), &text("key")]), b""), // a password without a user
        (packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0", &text("a"), b"x"]), b""),
        (packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0", &text(b"\xff")]), b""),
        (hello_with_will("a", 0x18, "w", ""), b""), // will QoS 3
        (hello_with_will("a", 0, "w/+", ""), b""),
        (hello_with_will("a", 0, "", ""), b""),
        (packet(0x11, &[b"\0\x04MQTT\x04\x02\0\0", &text("a")]), b""),
        (PING.to_vec(), b""),
        (publish("a", "x"), b""),
        (packet(0x82, &[b"\0\x01", &text("a"), b"\0"]), b""),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), b""),
    ] {
        let mut client = connect(&at).await;
        client.send(&request).await.half_close().await;
        let got = client.rest().await;
        assert_eq!(got, answer, "the answer to {}", request.escape_ascii());
    }
    let mut client = join(&at, "twice").await;
    client.send(hello("twice")).await.expect_end().await;
    stop(server);
}

#[tokio::test]
async fn malformed_packets_close_their_connection_and_no_other() {
    let (server, at) = serve("mqtt");
    let mut other = join(&at, "other").await;
    subscribe(&mut other, "#", 1).await;
    let connect_packet = packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\0", &text("cut"), &text("user"), &text("key")]);
    for end in 1..connect_packet.len() {
        let mut client = connect(&at).await;
        client.send(&connect_packet[..end]).await.half_close().await.expect_end().await;
        // The same bytes with a matching length.
        if end > 2 {
            let mut client = connect(&at).await;
            client.send(packet(0x10, &[&connect_packet[2..end]])).await.expect_end().await;
        }
    }
    let long = "x".repeat(257);
    for wrong in [
        b"\x30\x80\x80\x80\x80\x01".to_vec(), // a remaining length of five bytes
        b"\x30\xff\xff\xff\x7f".to_vec(),     // 256 MiB
        packet(0x30, &[&text(b"\xff"), b"x"]),
        packet(0x30, &[&text(b"\xc0\xaf"), b"x"]),
        publish("a/+", "x"),
        publish("#", "x"),
        publish("", "x"),
        publish(&long, "x"),
        publish_1(0, "a", "x"),
        packet(0x34, &[&text("a"), b"\0\x01", b"x"]), // QoS 2
        packet(0x36, &[&text("a"), b"\0\x01", b"x"]), // QoS 3
        packet(0x38, &[&text("a"), b"x"]),            // DUP with QoS 0
        packet(0x82, &[b"\0\0", &text("a"), b"\0"]),
        packet(0x82, &[b"\0\x01", &text("a+"), b"\0"]),
        packet(0x80, &[b"\0\x01", &text("a"), b"\0"]),
        packet(0x62, &[b"\0\x01"]), // PUBREL
        packet(0x20, &[b"\0\0"]),   // packets of a server
        packet(0x90, &[b"\0\x01\0"]),
        PONG.to_vec(),
    ] {
        let mut client = join(&at, "client").await;
        client.send(&wrong).await;
        assert_eq!(client.rest().await, b"", "after {}", wrong.escape_ascii());
        ping(&mut other).await;
    }
    stop(server);
}

#[tokio::test]
async fn filters_match_by_level() {
    let (server, at) = serve("mqtt");
    let mut publisher = join(&at, "publisher").await;
    for (filter, matching, others) in [
        ("a/b", &["a/b"][..], &["a", "a/b/", "/a/b", "A/b", "a/b/c"][..]),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c", "/a"]),
        ("+", &["a", "x y"], &["a/b", "/a", "$SYS"]),
        ("+/+", &["/a", "a/b", "/"], &["a", "a/b/c", "$SYS/a"]),
        ("/+", &["/a"], &["a", "/a/b"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d/c"]),
        ("a/#", &["a", "a/", "a/b", "a/b/c"], &["ab", "b/a", "/a"]),
        ("#", &["a", "/", "a/b/c"], &["$SYS", "$SYS/a"]),
        ("+/#", &["a", "a/b"], &["$SYS/a"]),
        ("$SYS/#", &["$SYS", "$SYS/a"], &["a", "SYS/a"]),
        ("a/+/#", &["a/b", "a/b/c"], &["a", "b/c"]),
    ] {
        let mut subscriber = join(&at, "subscriber").await;
        subscribe(&mut subscriber, filter, 0).await;
        for topic in others.iter().chain(matching) {
            publisher.send(publish(topic, filter)).await;
        }
        for topic in matching {
            subscriber.expect(publish(topic, filter)).await;
        }
        ping(&mut publisher).await;
        ping(&mut subscriber).await; // nothing else comes
    }
    stop(server);
}

#[tokio::test]
async fn qos_1_is_acknowledged_in_both_directions() {
    let (server, at) = serve("mqtt");
    let (mut sender, mut receiver) = (join(&at, "sender").await, join(&at, "receiver").await);
    subscribe(&mut receiver, "a/#", 1).await;
    sender.send(publish_1(9, "a", "one")).await.expect(b"\x40\x02\0\x09").await;
    sender.send(publish_1(9, "a", "two")).await.expect(b"\x40\x02\0\x09").await;
    let first = receiver.expect(b"\x32\x08\0\x01a\0").await.0.read_u8().await.unwrap();
    receiver.expect("one").await.expect(b"\x32\x08\0\x01a\0").await;
    let second = receiver.0.read_u8().await.unwrap();
    receiver.expect("two").await;
    assert!(first > 0 && second > 0 && first != second, "{first} {second}"); // both are unacknowledged
    receiver.send([0x40, 2, 0, first]).await.send([0x40, 2, 0, second]).await;
    receiver.send(b"\x40\x02\x55\x55").await; // an unknown id is ignored
    ping(&mut receiver).await;
    // The lower of both levels, once for overlapping filters, and QoS 1 for a request of QoS 2.
    sender.send(publish("a", "three")).await;
    receiver.expect(publish("a", "three")).await;
    subscribe(&mut receiver, "a/#", 0).await;
    sender.send(publish_1(9, "a", "four")).await.expect(b"\x40\x02\0\x09").await;
    receiver.expect(publish("a", "four")).await;
    subscribe(&mut receiver, "+/b", 2).await;
    sender.send(publish_1(9, "a/b", "five")).await.expect(b"\x40\x02\0\x09").await;
    receiver.expect(b"\x32\x0b\0\x03a/b\0").await.0.read_u8().await.unwrap();
    receiver.expect("five").await;
    // UNSUBSCRIBE, also of an unknown filter.
    receiver.send(packet(0xa2, &[b"\0\x05", &text("a/#"), &text("?")])).await.expect(b"\xb0\x02\0\x05").await;
    sender.send(publish("a", "six")).await.send(publish("a/b", "seven")).await;
    receiver.expect(publish("a/b", "seven")).await;
    ping(&mut receiver).await;
    stop(server);
}

#[tokio::test]
async fn the_last_retained_message_is_sent_to_new_subscribers() {
    let (server, at) = serve("mqtt");
    let mut publisher = join(&at, "publisher").await;
    let mut early = join(&at, "early").await;
    subscribe(&mut early, "r/#", 1).await;
    publisher.send(retain("r/a", "old")).await.send(retain("r/a", "new")).await.send(retain("r/b", "b")).await;
    publisher.send(publish("r/b", "not retained")).await;
    ping(&mut publisher).await;
    // The flag is 0 for an existing subscription.
    early.expect(publish("r/a", "old")).await.expect(publish("r/a", "new")).await.expect(publish("r/b", "b")).await;
    early.expect(publish("r/b", "not retained")).await;
    let mut late = join(&at, "late").await;
    subscribe(&mut late, "r/+", 1).await;
    late.expect(retain("r/a", "new")).await.expect(retain("r/b", "b")).await;
    publisher.send(retain("r/a", "")).await;
    ping(&mut publisher).await;
    early.expect(publish("r/a", "")).await;
    late.expect(publish("r/a", "")).await;
    subscribe(&mut late, "r/+", 1).await; // again
    late.expect(retain("r/b", "b")).await;
    ping(&mut late).await;
    // The table is full with 500 topics: another topic is refused, a new value is not.
    for topic in 1..500 {
        publisher.send(retain(&format!("full/{topic}"), "x")).await;
    }
    ping(&mut publisher).await;
    publisher.send(retain("full/1", "y")).await;
    ping(&mut publisher).await;
    publisher.send(retain("full/500", "x")).await.expect_end().await;
    subscribe(&mut late, "full/#", 0).await;
    let mut all: Vec<String> = (1..500).map(|topic| format!("full/{topic}")).collect();
    all.sort();
    for topic in &all {
        late.expect(retain(topic, if topic == "full/1" { "y" } else { "x" })).await;
    }
    ping(&mut late).await;
    early.send(DISCONNECT).await.expect_end().await;
    stop(server);
}

#[tokio::test]
async fn a_will_is_published_after_every_end_but_disconnect() {
    let (server, at) = serve("mqtt");
    let mut watcher = join(&at, "watcher").await;
    subscribe(&mut watcher, "will/#", 1).await;
    let join = async |id: &str| {
        let mut client = connect(&at).await;
        client.send(hello_with_will(id, 0, &format!("will/{id}"), "gone")).await.expect(ACCEPTED).await;
        client
    };
    join("polite").await.send(DISCONNECT).await.expect_end().await;
    drop(join("dropped").await);
    watcher.expect(publish("will/dropped", "gone")).await;
    join("wrong").await.send("\0").await.send("\0").await.expect_end().await;
    watcher.expect(publish("will/wrong", "gone")).await;
    let mut first = join("taken").await;
    let mut second = join("taken").await;
    first.expect_end().await;
    watcher.expect(publish("will/taken", "gone")).await;
    second.send(DISCONNECT).await.expect_end().await;
    // A will with QoS 1 that is retained.
    let mut retained = connect(&at).await;
    retained.send(hello_with_will("r", 0x28, "will/r", "gone")).await.expect(ACCEPTED).await;
    drop(retained);
    watcher.expect(b"\x32\x0e\0\x06will/r\0").await.0.read_u8().await.unwrap();
    watcher.expect("gone").await;
    subscribe(&mut watcher, "will/+", 0).await;
    watcher.expect(retain("will/r", "gone")).await;
    ping(&mut watcher).await;
    stop(server);
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    let (server, at) = serve("mqtt");
    let mut publisher = join(&at, "publisher").await;
    for _ in 0..20 {
        let mut first = join(&at, "same").await;
        subscribe(&mut first, "old", 0).await;
        // These packets may be handled after the takeover. They do not change the new session.
        let late = packet(0x82, &[b"\0\x01", &text("new"), b"\0"]);
        first.send(late.repeat(50)).await;
        let mut second = join(&at, "same").await;
        first.rest().await;
        publisher.send(publish("old", "x")).await.send(publish("new", "x")).await;
        ping(&mut publisher).await;
        subscribe(&mut second, "new", 0).await;
        publisher.send(publish("new", "y")).await;
        second.expect(publish("new", "y")).await.send(DISCONNECT).await.expect_end().await;
    }
    stop(server);
}

#[tokio::test]
async fn a_client_has_a_limited_number_of_subscriptions() {
    let (server, at) = serve("mqtt");
    let mut client = join(&at, "client").await;
    for number in 0..49 {
        subscribe(&mut client, &format!("a/{number}"), 0).await;
    }
    let three = packet(0x82, &[b"\0\x01", &text("b"), b"\0", &text("c"), b"\0", &text("a/1"), b"\x01"]);
    client.send(three).await.expect(b"\x90\x05\0\x01\0\x80\x01").await;
    let long = packet(0x82, &[b"\0\x02", &text("a/0"), b"\0", &text("x".repeat(257)), b"\0"]);
    client.send(long).await.expect(b"\x90\x04\0\x02\0\x80").await;
    let many = packet(0x82, &[b"\0\x03", &[text("d"), vec![0]].concat().repeat(4000)]);
    client.send(many).await.expect(b"\x90\xa2\x1f\0\x03").await.expect([0x80; 4000]).await;
    client.send(publish("c", "x")).await.send(publish("b", "x")).await.expect(publish("b", "x")).await;
    stop(server);
}

#[tokio::test]
async fn a_slow_subscriber_is_disconnected_and_a_fast_one_gets_all_messages() {
    let (server, at) = serve("mqtt");
    let (mut publisher, mut fast) = (join(&at, "publisher").await, join(&at, "fast").await);
    let (mut slow, mut watcher) = (connect(&at).await, join(&at, "watcher").await);
    slow.send(hello_with_will("slow", 0, "gone", "slow")).await.expect(ACCEPTED).await;
    subscribe(&mut slow, "data", 0).await;
    subscribe(&mut fast, "data", 0).await;
    subscribe(&mut watcher, "gone", 0).await;
    let batch = publish("data", &"x".repeat(15_000)).repeat(100);
    let mut received = [0; 12];
    let mut sent = 0;
    let notice = loop {
        publisher.send(&batch).await;
        fast.expect(&batch).await;
        sent += batch.len();
        assert!(sent < 1_000_000_000, "the slow subscriber is connected after {sent} bytes");
        if let Ok(read) = watcher.0.try_read(&mut received) {
            break &received[..read];
        }
    };
    assert_eq!(notice, publish("gone", "slow"));
    assert!(slow.rest().await.len() < sent);
    publisher.send(publish("data", "end")).await;
    fast.expect(publish("data", "end")).await;
    stop(server);
}

/// Starts `mosquitto_pub`, which publishes the lines of its standard input, with a will.
fn start_mosquitto_pub(path: &PathBuf, at: &str, id: &str) -> Child {
    let port = at.rsplit(':').next().unwrap();
    let args = ["-V", "311", "-p", port, "-i", id, "-t", "hello", "-l", "--will-topic", "will", "--will-payload", id];
    let mut child = Command::new(path).args(args).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{id}").unwrap();
    child
}

#[tokio::test]
async fn mosquitto_clients_publish_and_subscribe() {
    let (Some(publisher), Some(subscriber)) = (tool("mosquitto_pub"), tool("mosquitto_sub")) else { return };
    let (server, at) = serve("mqtt");
    let port = at.rsplit(':').next().unwrap();
    let publish_with = |args: &[&str]| Program::at(&publisher).args(["-p", port]).args(args).run();
    let subscribe_with =
        |args: &[&str]| Program::at(&subscriber).args(["-V", "311", "-p", port, "-W", "50", "-v"]).args(args);
    for qos in ["0", "1"] {
        let args = ["-V", "311", "-q", qos, "-r", "-t", &format!("home/{qos}/light"), "-m", "on"];
        assert_eq!(publish_with(&args).code(), Some(0));
    }
    for (filter, topics) in [("home/0/light", 1), ("home/+/light", 2), ("home/#", 2)] {
        let printed = run(subscribe_with(&["-q", "1", "-t", filter, "-C", &topics.to_string()]), "");
        let expected = ["home/0/light on\n", "home/1/light on\n"][..topics].concat();
        assert_eq!(printed, expected, "{filter}");
    }
    // An empty message deletes the retained one.
    assert_eq!(publish_with(&["-V", "311", "-r", "-n", "-t", "home/0/light"]).code(), Some(0));
    assert_eq!(run(subscribe_with(&["-t", "home/#", "-C", "1"]), ""), "home/1/light on\n");

    // Versions and levels that the broker does not support.
    for args in [["-V", "5", "-q", "0"], ["-V", "31", "-q", "0"], ["-V", "311", "-q", "2"]] {
        let ended = publish_with(&[&args[..], &["-t", "a", "-m", "x"]].concat());
        assert_ne!(ended.code(), Some(0), "{args:?}: {}", ended.stderr);
    }

    // A burst that fits into the queue, after the subscriber has received the retained message.
    let numbers: String = (0..900).map(|number| format!("burst {number}\n")).collect();
    assert_eq!(publish_with(&["-V", "311", "-r", "-t", "burst", "-m", "ready"]).code(), Some(0));
    let mut burst = subscribe_with(&["-q", "1", "-t", "burst", "-C", "901"]);
    let mut burst = burst.command().stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(burst.stdout.take().unwrap());
    let mut text = String::new();
    printed.read_line(&mut text).unwrap(); // the client has a limit of 50 s
    assert_eq!(text, "burst ready\n");
    run(Program::at(&publisher).args(["-V", "311", "-p", port, "-t", "burst", "-l"]), &numbers.replace("burst ", ""));
    printed.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("burst ready\n{numbers}"));
    burst.wait().unwrap();
    let mut watcher = join(&at, "watcher").await;

    // A process that is killed, and a takeover.
    subscribe(&mut watcher, "will", 0).await;
    subscribe(&mut watcher, "hello", 0).await;
    let mut killed = start_mosquitto_pub(&publisher, &at, "killed");
    watcher.expect(publish("hello", "killed")).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    watcher.expect(publish("will", "killed")).await;
    let mut first = join(&at, "taken").await;
    let mut taker = start_mosquitto_pub(&publisher, &at, "taken");
    first.expect_end().await;
    watcher.expect(publish("hello", "taken")).await;
    drop(taker.stdin.take()); // end of input: the client sends DISCONNECT
    assert!(taker.wait().unwrap().success());
    ping(&mut watcher).await;
    stop(server);
}

/// A Python that has paho-mqtt: of `PATH`, or of the distribution.
fn python_with_paho() -> Option<PathBuf> {
    let python = tool("python3")?;
    let found = [python, "/usr/bin/python3".into()].into_iter().find(|python| {
        Command::new(python).args(["-c", "import paho.mqtt.client"]).output().is_ok_and(|ran| ran.status.success())
    });
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "paho-mqtt is not installed, and CI must not skip tests");
        eprintln!("skipped: paho-mqtt (python3-paho-mqtt) is not installed");
    }
    found
}

/// Each step waits for its event. `alarm` ends a script that hangs.
const PAHO: &str = r#"
import queue, signal, sys
import paho.mqtt.client as mqtt
signal.alarm(50)
events = queue.Queue()

def client(name, clean=True, will=None):
    options = dict(client_id=name, clean_session=clean, protocol=mqtt.MQTTv311)
    if hasattr(mqtt, "CallbackAPIVersion"):
        options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
    client = mqtt.Client(**options)
    client.on_connect = lambda c, u, flags, rc: events.put(("connect", flags["session present"], rc))
    client.on_subscribe = lambda c, u, mid, granted: events.put(("subscribe", *granted))
    client.on_unsubscribe = lambda c, u, mid: events.put(("unsubscribe",))
    client.on_message = lambda c, u, m: events.put((m.topic, m.payload.decode(), m.qos, int(m.retain)))
    if will: client.will_set(will, "gone", qos=1)
    client.connect("127.0.0.1", int(sys.argv[1]), keepalive=30)
    client.loop_start()
    return client

def show(): print(*events.get(timeout=50))

a = client("a", clean=False); show()
a.subscribe([("s/+", 1), ("s/#", 2), ("w", 1)]); show()
b = client("b", will="w"); show()
b.publish("s/x", "hello", qos=1).wait_for_publish(); show()
b.publish("s/x", "kept", qos=0, retain=True).wait_for_publish(); show()
a.unsubscribe(["s/+", "s/#"]); show()
b.publish("s/x", "unheard", qos=1).wait_for_publish()
a.subscribe("s/x", 0); show(); show()
for number in range(900): sent = b.publish("s/x", str(number), qos=1)
sent.wait_for_publish()
got = [events.get(timeout=50) for _ in range(900)]
print([payload for _, payload, *_ in got] == [str(number) for number in range(900)])
b.on_disconnect = lambda *_: events.put(("disconnect",))
b.reconnect_delay_set(600, 600)
taker = client("b")
for event in sorted([events.get(timeout=50) for _ in range(3)], key=str): print(*event)
taker.disconnect(); a.disconnect()
"#;

#[test]
fn paho_publishes_and_subscribes() {
    let Some(python) = python_with_paho() else { return };
    let (server, at) = serve("mqtt");
    let printed = run(Program::at(&python).args(["-c", PAHO, at.rsplit(':').next().unwrap()]), "");
    let expected = "connect 0 0\nsubscribe 1 1 1\nconnect 0 0\ns/x hello 1 0\ns/x kept 0 0\nunsubscribe\n\
        subscribe 0\ns/x kept 0 1\nTrue\nconnect 0 0\ndisconnect\nw gone 1 0\n";
    assert_eq!(printed, expected);
    stop(server);
}
