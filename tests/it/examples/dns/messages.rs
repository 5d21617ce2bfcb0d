//! The example `dns`, with messages that dig does not send: truncation at the byte, pipelining, malformed messages.

use std::{io, iter};

use harness::{Client, TEST_TIMEOUT};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::examples::{connect, serve, stop};

const NOERROR: u8 = 0;
const FORMERR: u8 = 1;
const REFUSED: u8 = 5;

/// A question with the id 0x1234 and RD for the A records of this name.
fn question(name: &str) -> Vec<u8> {
    question_of(&labels(name))
}

fn question_of(name: &[u8]) -> Vec<u8> {
    [&b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"[..], name, b"\x00\x01\x00\x01"].concat()
}

fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// Adds a record to the additional section. The class of an OPT record (41) is the size of the largest UDP reply.
fn with_record(mut message: Vec<u8>, owner: &[u8], rtype: u8, class: u16, data: &[u8]) -> Vec<u8> {
    message[11] += 1;
    let length = data.len() as u16;
    [&message[..], owner, &[0, rtype], &class.to_be_bytes(), &[0; 4], &length.to_be_bytes(), data].concat()
}

fn with_edns(message: Vec<u8>, size: u16) -> Vec<u8> {
    with_record(message, b"\0", 41, size, b"")
}

/// Adds a record with random data until the message has `size` bytes.
fn padded(message: Vec<u8>, size: usize) -> Vec<u8> {
    let padding = vec![0; size - message.len() - 11];
    with_record(message, b"\0", 16, 1, &padding)
}

/// Replaces a byte.
fn patched(mut message: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    message[at] = byte;
    message
}

fn rcode(reply: &[u8]) -> u8 {
    reply[3] & 0x0f
}

fn is_truncated(reply: &[u8]) -> bool {
    reply[2] & 0x02 != 0
}

/// Sends a datagram to the server.
struct Udp(UdpSocket);

impl Udp {
    async fn connect(at: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(at).await.unwrap();
        Self(socket)
    }

    async fn receive(&self) -> Vec<u8> {
        let mut reply = vec![0; 65_536];
        let received = timeout(TEST_TIMEOUT, self.0.recv(&mut reply)).await;
        reply.truncate(received.expect("the server replies").unwrap());
        reply
    }

    async fn ask(&self, message: &[u8]) -> Vec<u8> {
        self.0.send(message).await.unwrap();
        self.receive().await
    }
}

fn prefixed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

async fn receive_tcp(client: &mut Client<TcpStream>) -> Vec<u8> {
    let read = async {
        let mut reply = vec![0; client.0.read_u16().await?.into()];
        client.0.read_exact(&mut reply).await?;
        io::Result::Ok(reply)
    };
    timeout(TEST_TIMEOUT, read).await.expect("the server replies").expect("the connection is open")
}

#[tokio::test]
async fn a_udp_reply_fits_the_client_and_is_at_most_three_times_its_question() {
    let (server, at) = serve("dns");
    let [several, many] = ["several.example.com", "many.example.com"].map(question);
    let edns = |size| with_edns(several.clone(), size);
    // The reply for `several` has 837 bytes, and 848 with an OPT record.
    for (message, is_cut) in [
        (padded(several.clone(), 1000), true),
        (padded(edns(0), 1000), true),
        (padded(edns(512), 1000), true),
        (padded(edns(847), 1000), true),
        (padded(edns(848), 1000), false),
        (padded(edns(65_535), 1000), false),
        (padded(edns(1232), 282), true),
        (padded(edns(1232), 283), false),
        (edns(1232), true),
        (padded(with_edns(many.clone(), 65_535), 1000), true),
        (many, true),
    ] {
        let udp = Udp::connect(&at).await;
        // Short replies leave a budget, but the limit is the one of each question.
        for message in iter::repeat_n(question("example.org"), 30).chain([message.clone()]) {
            let reply = udp.ask(&message).await;
            assert!(reply.len() <= 3 * message.len(), "{} bytes for {}", reply.len(), message.len());
        }
        let reply = udp.ask(&message).await;
        assert_eq!((is_truncated(&reply), reply.len() < 100), (is_cut, is_cut), "{} bytes", message.len());
        let mut tcp = connect(&at).await;
        let reply = receive_tcp(tcp.send(prefixed(&message)).await).await;
        assert!(!is_truncated(&reply) && reply.len() > 800, "{} bytes", reply.len());
    }
    let udp = Udp::connect(&at).await;
    for name in ["example.com", "www.example.com", "alias.example.com", "dangling.example.com", "x.example.com"] {
        for rtype in 0..=255 {
            let message = question(name);
            let message = patched(message.clone(), message.len() - 3, rtype);
            let sizes = [udp.ask(&message).await.len(), message.len()];
            assert!(sizes[0] <= 3 * sizes[1], "{name} {rtype}: {sizes:?}");
        }
    }
    stop(server);
}

#[tokio::test]
async fn pipelined_questions_are_answered_with_their_id_and_letter_case() {
    let (server, at) = serve("dns");
    let name = labels("wWw.ExAmPlE.cOm");
    let ask = |id: u16| [&id.to_be_bytes(), &question_of(&name)[2..]].concat();
    let all: Vec<u8> = (0..1000).flat_map(|id| prefixed(&ask(id))).collect();
    let mut client = connect(&at).await;
    client.send(all).await.half_close().await;
    for id in 0_u16..1000 {
        let reply = receive_tcp(&mut client).await;
        assert_eq!((&reply[..2], rcode(&reply)), (&id.to_be_bytes()[..], NOERROR));
        assert_eq!(reply[12..12 + name.len()], name, "{}", reply.escape_ascii());
    }
    client.expect_end().await;
    // A message can arrive byte by byte.
    let mut client = connect(&at).await;
    for byte in prefixed(&ask(7)) {
        client.send([byte]).await;
    }
    assert_eq!(receive_tcp(&mut client).await[..2], [0, 7]);
    // The end of the input within a message closes the connection.
    client.send(&prefixed(&ask(8))[..20]).await.half_close().await.expect_end().await;
    stop(server);
}

/// Messages with the response code of their reply. `None`: there is no reply, and a connection closes.
fn hostile() -> Vec<(Vec<u8>, Option<u8>)> {
    let plain = question("example.com");
    let edns = with_edns(plain.clone(), 1232);
    let long = labels(&vec!["x".repeat(63); 4].join("."));
    let loops = with_record(plain.clone(), b"\xc0\x1d", 1, 1, b"\0\0\0\0"); // its owner is at 29 = 0x1d
    let chain: Vec<u8> = (12_u8..200).step_by(2).flat_map(|at| [0xc0, at + 2]).collect();
    let malformed = [
        question_of(b"\xc0\x0c"),         // a pointer to itself
        question_of(b"\xc0\x0e\xc0\x0c"), // two pointers to each other
        question_of(b"\x01a\xc0\x0c"),    // a label and a pointer to it
        question_of(b"\xff\xff"),         // a pointer behind the end
        question_of(&chain),              // pointers to the next one
        question_of(b"\x40a\0"),          // label types that are not in use
        question_of(b"\x80a\0"),
        question_of(b"\x3fa\0"), // a label behind the end
        question_of(&long),      // a name of more than 255 bytes
        loops,
        with_edns(edns.clone(), 1232),                                   // two OPT records
        with_record(plain.clone(), b"\x01a\0", 41, 1232, b""),           // not at the root
        with_record(plain.clone(), b"\0", 41, 1232, b"\0\x0a\0\x08abc"), // an option behind the end
        with_record(plain.clone(), b"\0", 41, 1232, b"\0"),
        [&plain[..], b"\0"].concat(), // bytes behind the message
        patched(edns.clone(), 11, 0), // counts: the OPT record is not counted
        patched(edns.clone(), 11, 2),
        patched(edns.clone(), 10, 0xff),
        patched(plain.clone(), 5, 0), // no question, many questions, other records that do not exist
        patched(plain.clone(), 5, 2),
        patched(plain.clone(), 4, 0xff),
        patched(plain.clone(), 7, 1),
        patched(plain.clone(), 9, 0xff),
        [&patched(plain.clone(), 5, 2)[..], &plain[12..]].concat(),
        b"\x12\x34\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        [0x12, 0x34, 1, 0].into_iter().chain([0xc0; 60_000]).collect(),
    ];
    let replies = [patched(plain.clone(), 2, 0x80), patched(plain, 2, 0x85), [0xff; 500].to_vec()];
    let mut all: Vec<_> = malformed.into_iter().map(|message| (message, Some(FORMERR))).collect();
    all.extend(replies.into_iter().map(|message| (message, None)));
    all.extend((0..edns.len()).map(|end| (edns[..end].to_vec(), (end >= 12).then_some(FORMERR))));
    all.push((question_of(b"\xc0\x06"), Some(REFUSED))); // a pointer to a zero byte of the header is the root
    all
}

#[tokio::test]
async fn the_server_survives_hostile_messages() {
    let (server, at) = serve("dns");
    let (valid, udp) = (patched(question("example.com"), 0, 0xab), Udp::connect(&at).await);
    let mut reused = connect(&at).await;
    for (message, expected) in hostile() {
        let text = message[..message.len().min(80)].escape_ascii().to_string();
        let check = |reply: &[u8]| {
            assert_eq!(Some(rcode(reply)), expected, "{text}");
            assert_eq!((&reply[..2], reply[2]), (&b"\x12\x34"[..], 0x81), "id and flags: {text}");
            assert!(reply.len() <= message.len(), "{text}");
        };
        // The replies of one socket are in the order of its questions.
        udp.0.send(&message).await.unwrap();
        udp.0.send(&valid).await.unwrap();
        if expected.is_some() {
            check(&udp.receive().await);
        }
        assert_eq!(udp.receive().await[..2], *b"\xab\x34", "{text}");

        let both = [prefixed(&valid), prefixed(&message), prefixed(&valid)].concat();
        reused.send(both).await;
        assert_eq!(receive_tcp(&mut reused).await[..2], *b"\xab\x34", "{text}");
        if expected.is_some() {
            check(&receive_tcp(&mut reused).await);
            assert_eq!(receive_tcp(&mut reused).await[..2], *b"\xab\x34", "{text}");
        } else {
            reused.expect_end().await;
            reused = connect(&at).await;
        }
    }
    drop(reused);
    stop(server);
}
