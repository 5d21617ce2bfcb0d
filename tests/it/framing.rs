//! Framings: the same messages for any read sizes, exact limits, and no partial message for a handler.

use bytes::BufMut;
use harness::{Client, unique};
use serde_json::json;
use switchboard::framing::{self, AnyFraming, ByteOrder, FrameError};
use switchboard::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec, LinesCodec};

use crate::support::{Probe, Rng, connect, limits};

/// Decodes a stream that arrives in these pieces: the messages, and the result at the end.
fn decode(framing: &AnyFraming, limit: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), String>) {
    let mut codec = framing.codec(limit);
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error.to_string())),
            }
        }
    }
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(message)) => messages.push(message.to_vec()),
            Ok(None) if buffer.is_empty() => return (messages, Ok(())),
            Ok(None) => return (messages, Err("cut off".into())),
            Err(error) => return (messages, Err(error.to_string())),
        }
    }
}

fn encode(framing: &AnyFraming, messages: &[Vec<u8>]) -> Vec<u8> {
    let (mut codec, mut buffer) = (framing.codec(usize::MAX), BytesMut::new());
    for message in messages {
        codec.encode(Bytes::copy_from_slice(message), &mut buffer).unwrap();
    }
    buffer.to_vec()
}

fn length(width: usize, order: ByteOrder, offset: usize) -> AnyFraming {
    AnyFraming::new(Length::new(width, order, offset).unwrap())
}

fn delimited(delimiter: &str) -> AnyFraming {
    AnyFraming::new(Delimited::new(delimiter).unwrap())
}

fn lines() -> AnyFraming {
    AnyFraming::new(Lines::default())
}

/// Every framing that preserves message boundaries, with messages it can encode.
fn all() -> Vec<(AnyFraming, Vec<Vec<u8>>)> {
    let odd: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"a".to_vec(),
        b"\0".to_vec(),
        b"\xff\xfe\x00\xc3\x28".to_vec(),
        b"a\rb".to_vec(),
        b"".to_vec(),
        b"hello, world".to_vec(),
    ];
    let mut all = vec![
        (lines(), odd.clone()),
        (delimited("|"), odd.clone()),
        (delimited("\r\n"), odd.clone()),
        (delimited("aab"), vec![b"".to_vec(), b"x".to_vec(), b"a".to_vec(), b"xaa".to_vec(), b"aaa".to_vec()]),
        (delimited("||"), vec![b"a|b".to_vec(), b"".to_vec(), b"x".to_vec()]),
        (AnyFraming::new(JsonLines::default()), vec![b"1".to_vec(), b"{\"a\": [null]}".to_vec(), b"\"\"".to_vec()]),
    ];
    for width in [1, 2, 3, 4, 8] {
        for order in [ByteOrder::Big, ByteOrder::Little] {
            all.push((length(width, order, 0), odd.clone()));
            let headed = odd.iter().map(|message| [b"\n\xffT", &message[..]].concat()).collect();
            all.push((length(width, order, 3), headed));
        }
    }
    all
}

#[test]
fn messages_do_not_depend_on_the_read_sizes() {
    for (framing, messages) in all() {
        let bytes = encode(&framing, &messages);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let decoded = decode(&framing, 100, &pieces);
                assert_eq!(decoded, (messages.clone(), Ok(())), "{framing:?} cut at {first} and {second}");
            }
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&framing, 100, &bytewise), (messages, Ok(())), "{framing:?} byte by byte");
    }
}

#[test]
fn a_thousand_random_splits_of_random_messages_give_the_same_messages() {
    for seed in 1..=1000 {
        let mut rng = Rng::new(seed);
        let kinds = all();
        let (framing, _) = &kinds[rng.below(kinds.len())];
        if matches!(framing.name(), "json-lines" | "delimited") {
            continue; // these framings cannot encode every message
        }
        let alphabet: &[u8] = if *framing == lines() { b"ab\0\xff|" } else { b"ab\0\xff\r\n|" };
        let messages: Vec<Vec<u8>> = (0..rng.below(20))
            .map(|_| (0..3 + rng.below(200)).map(|_| alphabet[rng.below(alphabet.len())]).collect())
            .collect();
        let bytes = encode(framing, &messages);
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((1 + rng.below(60)).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        assert_eq!(decode(framing, 250, &pieces), (messages, Ok(())), "{framing:?}, seed {seed}");
    }
}

#[test]
fn frames_up_to_the_limit_are_accepted_and_larger_ones_rejected() {
    for (framing, _) in all() {
        let (fill, offset) = match framing.name() {
            "json-lines" => (b'1', 0),
            "length" if encode(&framing, &[b"abc".to_vec()])[..3] == *b"abc" => (b'x', 3),
            _ => (b'x', 0),
        };
        for size in [9, 10, 11] {
            let message = vec![fill; size + offset];
            let bytes = encode(&framing, std::slice::from_ref(&message));
            for piece in 1..=bytes.len() {
                let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
                let (messages, end) = decode(&framing, 10, &pieces);
                if size <= 10 {
                    assert_eq!((messages, end), (vec![message.clone()], Ok(())), "{framing:?} {size} by {piece}");
                } else {
                    let error = end.unwrap_err();
                    assert_eq!(
                        error, "a message is larger than 10 bytes (limits.frame)",
                        "{framing:?} {size} by {piece}"
                    );
                    assert!(messages.is_empty());
                }
            }
        }
    }
}

#[test]
fn a_frame_truncated_by_the_end_of_input_is_an_error_except_the_last_line() {
    for (framing, messages) in all() {
        let message = messages.iter().max_by_key(|message| message.len()).unwrap();
        let bytes = encode(&framing, std::slice::from_ref(message));
        for end in 1..bytes.len() {
            let (got, end_of_it) = decode(&framing, 100, &[&bytes[..end]]);
            match framing.name() {
                "lines" => assert_eq!((got, end_of_it), (vec![bytes[..end].to_vec()], Ok(()))),
                "json-lines" if end == bytes.len() - 1 => assert_eq!(got, std::slice::from_ref(message)),
                _ => assert!(got.is_empty() && end_of_it.is_err(), "{framing:?} cut at {end}: {got:?} {end_of_it:?}"),
            }
        }
    }
}

#[test]
fn exactly_one_carriage_return_before_lf_is_removed() {
    let (got, _) = decode(&lines(), 4, &[b"a\r\nb\r\r\n\r\n\n\rc\r\nfour\r\nlast\r"]);
    let expected: [&[u8]; 6] = [b"a", b"b\r", b"", b"", b"\rc", b"four"];
    assert_eq!(got, expected);
    let (got, end) = decode(&lines(), 5, &[b"last\r"]);
    assert_eq!((got, end), (vec![b"last\r".to_vec()], Ok(())));
}

#[test]
fn an_announced_length_allocates_nothing_until_bytes_arrive() {
    for (framing, head) in [
        (length(8, ByteOrder::Big, 0), &b"\x00\x00\x00\x00\x3f\xff\xff\xff"[..]),
        (length(4, ByteOrder::Little, 0), b"\xff\xff\xff\x3f"),
    ] {
        let mut codec = framing.codec(0x4000_0000);
        let mut buffer = BytesMut::from(head);
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        assert!(buffer.capacity() < 1000, "{}", buffer.capacity());
        let mut codec = framing.codec(0x3fff_fffe);
        let error = codec.decode(&mut BytesMut::from(head)).unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { limit: 0x3fff_fffe }), "{error}");
    }
    let mut codec = length(8, ByteOrder::Big, 0).codec(usize::MAX);
    assert!(matches!(codec.decode(&mut BytesMut::from(&[0xff; 8][..])), Ok(None)));
    assert!(codec.decode(&mut BytesMut::from(&[0xff; 100][..])).unwrap().is_none());
}

#[test]
fn a_frame_too_long_for_the_length_field_is_rejected() {
    let mut out = BytesMut::new();
    for (width, fits) in [(1, 255), (2, 65_535)] {
        let mut codec = length(width, ByteOrder::Big, 0).codec(usize::MAX);
        codec.encode(vec![b'x'; fits].into(), &mut out).unwrap();
        assert!(codec.encode(vec![b'x'; fits + 1].into(), &mut out).is_err());
    }
    assert!(length(1, ByteOrder::Big, 2).codec(9).encode("x".into(), &mut out).is_err());
    for (width, offset) in [(0, 0), (5, 0), (6, 0), (7, 0), (9, 0), (4, 256)] {
        assert!(Length::new(width, ByteOrder::Big, offset).is_err(), "{width} {offset}");
    }
    assert!(Delimited::new("").is_err() && Delimited::new("x".repeat(256)).is_err());
    assert!(Delimited::new("x".repeat(255)).is_ok());
}

#[tokio::test]
async fn a_line_without_a_json_value_closes_the_connection_as_bad_frame() {
    for line in ["\n", "\r\n", " \n", "\t \r\n", "\n\n", "[]\n\n", "\u{feff}\n", " "] {
        let (probe, name) = (Probe::default(), unique("json"));
        let server = Server::bind(format!("mem:{name}")).framing(JsonLines::default());
        let _running = server.start(probe.clone()).await.unwrap();
        let mut client = connect(&name).await;
        client.send("1\n").await.expect("1\n").await.send(line).await.half_close().await;
        let expected = if line.starts_with("[]") { "[]\n" } else { "" };
        assert_eq!(client.rest().await, expected.as_bytes(), "{line:?}");
        assert_eq!(probe.reason().await, "bad_frame", "{line:?}");
    }
}

#[test]
fn a_json_line_has_exactly_one_json_value() {
    let framing = AnyFraming::new(JsonLines::default());
    for good in ["{}", "[1, 2]", "null", "\"a\\nb\"", " 1 ", "1\r", "\"\u{e9}\""] {
        assert_eq!(decode(&framing, 100, &[good.as_bytes(), b"\n"]).0.len(), 1, "{good:?}");
    }
    for bad in [&b""[..], b" ", b"\r", b"{}{}", b"1 2", b"{", b"nul", b"{'a':1}", b"\"\xff\"", b"\xef\xbb\xbf1", b"NaN"]
    {
        let (got, end) = decode(&framing, 100, &[bad, b"\n"]);
        assert!(got.is_empty() && end.is_err(), "{:?} {got:?} {end:?}", bad.escape_ascii().to_string());
    }
    let deep = [vec![b'['; 50_000], vec![b']'; 50_000]].concat();
    let _ = decode(&framing, 200_000, &[&deep, b"\n"]); // must not exhaust the stack; any result is fine
    let mut out = BytesMut::new();
    for unfit in ["", "x", "1\n", "[1,\n2]"] {
        assert!(framing.codec(100).encode(unfit.into(), &mut out).is_err(), "{unfit:?}");
    }
}

#[test]
fn raw_returns_each_read_and_splits_it_at_the_limit() {
    let raw = AnyFraming::new(Raw::default());
    let (got, end) = decode(&raw, 4, &[b"abc", b"defghij", b"", b"\0"]);
    let expected: [&[u8]; 4] = [b"abc", b"defg", b"hij", b"\0"];
    assert_eq!((got, end), (expected.map(<[u8]>::to_vec).to_vec(), Ok(())));
}

/// Starts a probe with this framing and connects to it.
async fn start_and_connect<F>(framing: F, frame: usize) -> (Running, Client<DuplexStream>, Probe, String)
where
    F: Framing<In = Bytes, Out = Bytes>,
{
    let (name, probe) = (unique("framing"), Probe::default());
    let server = Server::bind(format!("mem:{name}")).framing(framing).limits(limits(|l| l.frame = frame));
    let running = server.start(probe.clone()).await.unwrap();
    let client = connect(&name).await;
    (running, client, probe, name)
}

#[tokio::test(start_paused = true)]
async fn raw_one_write_is_one_message_after_any_earlier_traffic() {
    let (_running, mut client, probe, _) = start_and_connect(Raw::default(), 64 * 1024).await;
    let sizes = [1, 4096, 4097, 10_000, 5, 60_000, 64 * 1024, 7, 4096, 64 * 1024];
    for (nth, size) in sizes.into_iter().enumerate() {
        let message = "x".repeat(size);
        client.send(&message).await.expect(&message).await;
        assert_eq!(probe.calls().len(), nth + 2, "{size} bytes"); // plus the call of open
    }
}

#[tokio::test(start_paused = true)]
async fn every_framing_echoes_over_a_connection_for_any_read_sizes() {
    for (framing, messages) in all() {
        let bytes = encode(&framing, &messages);
        for piece in [1, 2, 3, 7, bytes.len()] {
            let (_running, mut client, probe, _) = start_and_connect(framing.clone(), 100).await;
            for piece in bytes.chunks(piece) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }
            client.half_close().await;
            client.expect(&bytes).await.expect_end().await;
            assert_eq!(probe.reason().await, "peer_closed", "{framing:?}");
            for (call, message) in probe.calls()[1..].iter().zip(&messages) {
                assert_eq!(*call, format!("message {}", message.escape_ascii()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_frame_reaches_no_handler_and_closes_with_bad_frame() {
    for (framing, _) in all() {
        if framing == lines() {
            continue;
        }
        let message = if framing.name() == "json-lines" { b"[1]".to_vec() } else { b"one".to_vec() };
        let bytes = encode(&framing, &[message.clone(), message]);
        let cut = bytes.len() - if framing.name() == "json-lines" { 2 } else { 1 };
        let (_running, mut client, probe, name) = start_and_connect(framing.clone(), 100).await;
        client.send(&bytes[..cut]).await.half_close().await;
        client.expect(&bytes[..bytes.len() / 2]).await.expect_end().await;
        assert_eq!(probe.reason().await, "bad_frame", "{framing:?}");
        assert_eq!(probe.calls().len(), 3, "{:?}", probe.calls());
        connect(&name).await.send(&bytes).await.expect(&bytes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_closes_with_frame_too_large_and_the_next_client_is_served() {
    for (framing, _) in all() {
        let fill = if framing.name() == "json-lines" { b'1' } else { b'x' };
        let (_running, mut client, probe, name) = start_and_connect(framing.clone(), 10).await;
        let good = encode(&framing, &[vec![fill; 9]]);
        client.send(&good).await.expect(&good).await;
        client.send(encode(&framing, &[vec![fill; 14]])).await.send(&good).await.expect_end().await;
        assert_eq!(probe.reason().await, "frame_too_large", "{framing:?}");
        connect(&name).await.send(&good).await.expect(&good).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_framing_has_an_optional_limit() {
    let framings = |max: usize| {
        [
            AnyFraming::new(Lines::default().max(max)),
            AnyFraming::new(Length::default().max(max)),
            AnyFraming::new(Delimited::new("|").unwrap().max(max)),
            AnyFraming::new(JsonLines::default().max(max)),
        ]
    };
    for (max, frame) in [(5000, 10), (5000, 1_000_000)] {
        for framing in framings(max) {
            let (_running, mut client, probe, _) = start_and_connect(framing.clone(), frame).await;
            let good = encode(&framing, &[vec![b'1'; 5000]]);
            client.send(&good).await.expect(&good).await;
            client.send(encode(&framing, &[vec![b'1'; 5001]])).await.expect_end().await;
            assert_eq!(probe.reason().await, "frame_too_large", "{framing:?}");
        }
    }
    let (_running, mut client, probe, _) = start_and_connect(Raw::default().max(3), 10).await;
    client.send("abcdefg").await.expect("abcdefg").await;
    assert_eq!(probe.calls(), ["open", "message abc", "message def", "message g"]);
}

#[tokio::test(start_paused = true)]
async fn any_tokio_util_codec_is_a_framing() {
    let (name, text) = (unique("text"), framing::custom(LinesCodec::new_with_max_length));
    let shout = handler_fn(|_: Context<(), String>, line: String| async move { Ok(Reply::send(line.to_uppercase())) });
    let server = Server::bind(format!("mem:{name}")).framing(text).limits(limits(|l| l.frame = 10));
    let _running = server.start(shout).await.unwrap();
    connect(&name).await.send("a\nbc\r\nd").await.half_close().await.expect("A\nBC\nD\n").await.expect_end().await;
    connect(&name).await.send("a\n01234567890\n").await.expect("A\n").await.expect_end().await;
    connect(&name).await.send(b"\xff\n").await.expect_end().await;
    connect(&name).await.send("next\n").await.expect("NEXT\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_custom_framing_has_a_largest_message_of_its_own() {
    for (max, limit) in [(1000, 10), (1000, 100_000)] {
        let framing = framing::custom(LinesCodec::new_with_max_length).max(max);
        let (name, echo) =
            (unique("text"), |_: Context<(), String>, line: String| async move { Ok(Reply::send(line)) });
        let server = Server::bind(format!("mem:{name}")).framing(framing).limits(limits(|l| l.frame = limit));
        let _running = server.start(handler_fn(echo)).await.unwrap();
        let line = "x".repeat(max) + "\n";
        let mut client = connect(&name).await;
        client.send(&line).await.expect(&line).await.send("x".repeat(max + 1)).await.expect_end().await;
    }
    // The server enforces it for a codec without a limit.
    let framing = framing::custom(move |_| UnlimitedCodec { greedy: false, kept: BytesMut::new() }).max(10_000);
    let (_running, mut client, probe, _) = start_and_connect(framing, 100).await;
    let line = "x".repeat(9_999) + "\n";
    client.send(&line).await.expect(&line).await;
    let _ = client.0.write_all(&[b'x'; 40_000]).await;
    client.half_close().await.rest().await;
    assert_eq!(probe.reason().await, "frame_too_large");
}

/// A handler that echoes and records the close reason of each connection.
struct EchoAndRecord(Probe);

impl Handler<BytesMut, Bytes> for EchoAndRecord {
    type State = u64;
    async fn message(&self, _: &mut Context<u64>, message: BytesMut) -> Result<Reply> {
        Ok(Reply::send(message.freeze()))
    }
    async fn close(&self, cx: &mut Context<u64>, reason: CloseReason) {
        Handler::close(&self.0, cx, reason).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_buffers_internally_is_limited_too() {
    let make = |limit| LengthDelimitedCodec::builder().max_frame_length(limit).length_field_length(2).new_codec();
    for (bytes, reason) in [
        (&b"\0\x02hi"[..], "peer_closed"),
        (b"\0\x02h", "bad_frame"),
        (b"\0\x02", "bad_frame"),
        (b"\0", "bad_frame"),
        (b"", "peer_closed"),
        (b"\xff\xff", "frame_too_large"),
    ] {
        let (name, probe) = (unique("length"), Probe::default());
        let server = Server::bind(format!("mem:{name}")).framing(framing::custom(make));
        let server = server.limits(limits(|l| l.frame = 100));
        let _running = server.start(EchoAndRecord(probe.clone())).await.unwrap();
        connect(&name).await.send(bytes).await.half_close().await.rest().await;
        assert_eq!(probe.reason().await, reason, "{:?}", bytes.escape_ascii().to_string());
    }
}

/// A codec without a limit. If greedy, it moves all bytes into its own buffer.
struct UnlimitedCodec {
    greedy: bool,
    kept: BytesMut,
}

impl Decoder for UnlimitedCodec {
    type Item = Bytes;
    type Error = FrameError;
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        if self.greedy {
            self.kept.put(buffer.split());
        }
        let from = if self.greedy { &mut self.kept } else { buffer };
        Ok(from.iter().position(|byte| *byte == b'\n').map(|end| from.split_to(end + 1).freeze()))
    }
}

impl Encoder<Bytes> for UnlimitedCodec {
    type Error = FrameError;
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.put(frame);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_without_a_limit_is_limited_by_the_server() {
    for greedy in [false, true] {
        let framing = framing::custom(move |_| UnlimitedCodec { greedy, kept: BytesMut::new() });
        let (_running, mut client, probe, _) = start_and_connect(framing, 100).await;
        client.send("x\n").await;
        for _ in 0..100 {
            if client.0.write_all(&[b'x'; 1000]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        client.half_close().await.rest().await;
        assert_eq!(probe.reason().await, "frame_too_large", "greedy: {greedy}");
    }
}

#[test]
fn a_number_without_a_line_ending_at_the_end_of_input_is_an_error() {
    let at_the_end = |text: &str| JsonLines::default().codec(100).decode_eof(&mut BytesMut::from(text));
    for whole in ["{\"a\": 1}", "[1]", "\"1\"", "true", "null", "12\n", "12\r\n"] {
        assert!(at_the_end(whole).unwrap().is_some(), "{whole}");
    }
    for cut in ["12", "-1", "1.5", "1e3", "{\"a\": 1"] {
        assert!(matches!(at_the_end(cut), Err(FrameError::Malformed(_))), "{cut}");
    }
}

/// Options of a framing that is not part of the framework.
#[derive(serde::Deserialize, switchboard::schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChunkOptions {
    /// Bytes of a message.
    size: usize,
}

#[test]
fn a_third_party_framing_is_selected_by_name_with_options() {
    use switchboard::registry::Registry;
    use tokio_util::codec::{Decoder, Encoder};

    struct Chunk(usize);
    impl Decoder for Chunk {
        type Item = Bytes;
        type Error = FrameError;
        fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
            match buffer.first() {
                Some(b'!') => Err(FrameError::TooLarge { limit: self.0 }),
                Some(b'?') => Err(std::io::Error::other("no such chunk").into()),
                _ if buffer.len() < self.0 => Ok(None),
                _ => Ok(Some(buffer.split_to(self.0).freeze())),
            }
        }
    }
    impl Encoder<Bytes> for Chunk {
        type Error = FrameError;
        fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
            buffer.extend_from_slice(&frame);
            Ok(())
        }
    }

    let mut registry = Registry::new();
    let build = |options: ChunkOptions| Ok(framing::custom(move |_| Chunk(options.size)));
    registry.framing("chunk", build).set_summary("messages of a fixed size");
    let entry = registry.framing_entry("chunk").unwrap();
    assert_eq!((entry.name(), entry.summary()), ("chunk", "messages of a fixed size"));
    assert_eq!(entry.options()["properties"]["size"]["description"], "Bytes of a message.");
    assert_eq!(entry.check_options(&json!({ "sze": 1 })).unwrap_err().path, ["sze"]);
    let chunk = |size| entry.build(json!({ "size": size })).unwrap();
    let (messages, end) = decode(&chunk(2), 100, &[b"ab", b"c", b"d"]);
    assert_eq!((messages, end.is_ok()), (vec![b"ab".to_vec(), b"cd".to_vec()], true));
    assert_eq!(decode(&chunk(2), 100, &[b"!"]).1.unwrap_err(), FrameError::TooLarge { limit: 2 }.to_string());
    assert!(decode(&chunk(2), 100, &[b"?"]).1.unwrap_err().contains("no such chunk"));
    assert_eq!(encode(&chunk(2), &[b"xy".to_vec()]), b"xy");
    assert_eq!((chunk(2) == chunk(2), chunk(2) == chunk(3), chunk(2).name()), (true, false, "chunk"));
    assert_ne!(AnyFraming::new(framing::custom(|_| Chunk(1))), AnyFraming::new(framing::custom(|_| Chunk(1))));
    let lines = registry.framing_entry("lines").unwrap();
    assert_eq!(lines.build(json!({ "max": "1KiB" })).unwrap(), AnyFraming::new(Lines::default().max(1024)));
    for (name, options, sentence) in [
        ("length", json!({ "width": 5 }), "width: a length of 5 bytes is not possible; 1, 2, 3, 4 or 8 are"),
        ("delimited", json!({ "delimiter": "" }), "delimiter: a delimiter cannot be empty; write it like \"|\""),
        ("lines", json!({ "max": "2GiB" }), "max: \"2GiB\" is out of range; 1B to 1GiB are possible"),
    ] {
        let error = registry.framing_entry(name).unwrap().check_options(&options).unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }
}
