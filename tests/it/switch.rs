//! Changes of the protocol of an open connection: another framing, and TLS on request of the handler.

use std::sync::{Arc, Mutex};

use harness::{TEST_TIMEOUT, unique};
use switchboard::prelude::*;
use switchboard::settings::TlsStart;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::codec::{BytesCodec, Decoder, Encoder, LinesCodec};

use crate::support::{connect, limits, secs};
use crate::tls::{Authority, tls_connect};

/// Commands are lines; after `data`, a message ends with a dot on its own line, as in SMTP.
#[derive(Clone, Default)]
struct Mail {
    messages: Arc<Mutex<Vec<String>>>,
    closed: Arc<watch::Sender<Vec<CloseReason>>>,
    pusher: Arc<Mutex<Option<Pusher>>>,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    New,
    Greeted,
    Data,
}

impl Mail {
    async fn reason(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        timeout(TEST_TIMEOUT, closed.wait_for(|closed| !closed.is_empty())).await.expect("it closes").unwrap()[0]
    }

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

impl Handler for Mail {
    type State = Phase;

    async fn open(&self, cx: &mut Context<Phase>) -> Result<Reply> {
        *self.pusher.lock().unwrap() = Some(cx.pusher());
        Ok(Reply::none())
    }

    async fn message(&self, cx: &mut Context<Phase>, message: Bytes) -> Result<Reply> {
        let text = message.escape_ascii().to_string();
        self.messages.lock().unwrap().push(text.clone());
        if cx.state == Phase::Data {
            cx.state = Phase::Greeted;
            return Ok(Reply::send(format!("accepted {text}")).then_framing(Lines::default()));
        }
        Ok(match &*text {
            "helo" => {
                cx.state = Phase::Greeted;
                Reply::send(format!("hello, tls {}", cx.tls().is_some()))
            }
            "state" => Reply::send(if cx.state == Phase::Greeted { "greeted" } else { "new" }),
            "data" => {
                cx.state = Phase::Data;
                let text = framing::duplex(Delimited::new("\r\n.\r\n")?, Lines::default());
                Reply::send("go ahead").then_framing(text)
            }
            "later" => Reply::later(async {
                sleep(secs(5)).await;
                Ok(Reply::send("later"))
            }),
            "starttls" => Reply::send("go").then_tls(),
            "later-starttls" => Reply::later(async {
                sleep(secs(5)).await;
                Ok(Reply::send("go"))
            })
            .then_tls(),
            "late-switch" => Reply::later(async { Ok(Reply::send("go").then_tls()) }),
            "numbers" => Reply::send("no").then_framing(framing::custom(|_| NumberCodec)),
            _ => Reply::send(message),
        })
    }

    async fn close(&self, _: &mut Context<Phase>, reason: CloseReason) {
        self.closed.send_modify(|closed| closed.push(reason));
    }
}

/// Takes bytes and produces numbers.
struct NumberCodec;

impl Decoder for NumberCodec {
    type Item = u8;
    type Error = framing::FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<u8>, framing::FrameError> {
        Ok(buffer.split_to(buffer.len().min(1)).first().copied())
    }
}

impl Encoder<Bytes> for NumberCodec {
    type Error = framing::FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), framing::FrameError> {
        buffer.extend_from_slice(&frame);
        Ok(())
    }
}

async fn start(handler: &Mail, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> (Running, String) {
    let name = unique("switch");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    (set(server).start(handler.clone()).await.unwrap(), name)
}

const DIALOGUE: &str = "helo\ndata\nfirst\nline\r\n.\r\nx\ndata\n\r\n.\r\ny\n";

#[tokio::test(start_paused = true)]
async fn the_framing_changes_behind_a_reply_wherever_the_input_is_cut() {
    let expected = "hello, tls false\ngo ahead\naccepted first\\nline\nx\ngo ahead\naccepted \ny\n";
    let handler = Mail::default();
    let (_running, name) = start(&handler, |server| server).await;
    for cut in 0..=DIALOGUE.len() {
        let mut client = connect(&name).await;
        client.send(&DIALOGUE[..cut]).await;
        sleep(secs(1)).await;
        client.send(&DIALOGUE[cut..]).await.expect(expected).await.half_close().await.expect_end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn replies_in_progress_are_written_with_the_old_framing() {
    let handler = Mail::default();
    let (_running, name) = start(&handler, |server| server).await;
    let mut client = connect(&name).await;
    client.send("later\nlater\ndata\nbody\r\n.\r\nx\n").await;
    sleep(secs(1)).await;
    assert_eq!(handler.messages().len(), 3, "nothing is decoded before the framing changes");
    client.expect("later\nlater\ngo ahead\naccepted body\nx\n").await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_the_new_framing_applies() {
    let handler = Mail::default();
    let (_running, name) = start(&handler, |server| server.limits(limits(|limits| limits.frame = 100))).await;
    let mut client = connect(&name).await;
    client.send(format!("data\n{}\r\n.\r\n", "x".repeat(200))).await.expect("go ahead\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::FrameTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_framing_of_other_messages_and_a_late_change_are_errors_of_the_handler() {
    for (sent, expected) in [("numbers\nx\n", "no\n"), ("late-switch\n", "")] {
        let handler = Mail::default();
        let (_running, name) = start(&handler, |server| server).await;
        connect(&name).await.send(sent).await.expect(expected).await.expect_end().await;
        assert_eq!(handler.reason().await, CloseReason::HandlerError);
        assert_eq!(handler.messages().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_typed_handler_changes_its_codec() {
    /// Lines of text, and then blocks of bytes as text.
    #[derive(Default)]
    struct Blocks(BytesCodec);

    impl Decoder for Blocks {
        type Item = String;
        type Error = std::io::Error;

        fn decode(&mut self, buffer: &mut BytesMut) -> std::io::Result<Option<String>> {
            Ok(self.0.decode(buffer)?.map(|block| format!("block {}", block.escape_ascii())))
        }
    }

    impl Encoder<String> for Blocks {
        type Error = std::io::Error;

        fn encode(&mut self, frame: String, buffer: &mut BytesMut) -> std::io::Result<()> {
            self.0.encode(Bytes::from(format!("<{frame}>")), buffer)
        }
    }

    let name = unique("typed");
    let lines = framing::custom(LinesCodec::new_with_max_length);
    let handler = handler_fn(|_: Context<(), String>, line: String| async move {
        let reply = Reply::send(line.clone());
        Ok(if line == "blocks" { reply.then_framing(framing::custom(|_| Blocks::default())) } else { reply })
    });
    let _running = Server::bind(format!("mem:{name}")).framing(lines).start(handler).await.unwrap();
    let mut client = connect(&name).await;
    client.send("one\nblocks\ntwo\n").await.expect("one\nblocks\n<block two\\n>").await;
    client.send("three").await.expect("<block three>").await;
}

#[tokio::test(start_paused = true)]
async fn an_encoder_can_change_its_decoder_between_two_messages() {
    /// Decodes single bytes after it has encoded `bytes`.
    struct Both(LinesCodec, bool);

    impl Decoder for Both {
        type Item = String;
        type Error = tokio_util::codec::LinesCodecError;

        fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<String>, Self::Error> {
            if !self.1 {
                return self.0.decode(buffer);
            }
            let byte = buffer.split_to(buffer.len().min(1));
            Ok((!byte.is_empty()).then(|| byte.escape_ascii().to_string()))
        }
    }

    impl Encoder<String> for Both {
        type Error = tokio_util::codec::LinesCodecError;

        fn encode(&mut self, frame: String, buffer: &mut BytesMut) -> Result<(), Self::Error> {
            self.1 |= frame == "bytes";
            self.0.encode(frame, buffer)
        }
    }

    let name = unique("both");
    let framing = framing::custom(|limit| Both(LinesCodec::new_with_max_length(limit), false));
    let echo = handler_fn(|_: Context<(), String>, line: String| async move { Ok(Reply::send(line)) });
    let _running = Server::bind(format!("mem:{name}")).framing(framing).start(echo).await.unwrap();
    connect(&name).await.send("one\nbytes\nabc").await.expect("one\nbytes\na\nb\nc\n").await;
}

/// A server with TLS on request, and the configuration of its clients.
async fn start_with_tls(handler: &Mail) -> (Running, String, Arc<ClientConfig>, Authority) {
    let authority = Authority::new();
    let settings = authority.settings().start(TlsStart::OnRequest);
    let (running, name) = start(handler, |server| server.tls(settings)).await;
    let config = Arc::new(authority.client(None));
    (running, name, config, authority)
}

#[tokio::test]
async fn a_handler_starts_tls_and_begins_with_a_new_state() {
    let handler = Mail::default();
    let (_running, name, config, _authority) = start_with_tls(&handler).await;
    for request in ["starttls\n", "later\nlater-starttls\n"] {
        let mut client = connect(&name).await;
        client.send("helo\nstate\n").await.expect("hello, tls false\ngreeted\n").await;
        client.send(request).await.expect(if request.contains("later") { "later\ngo\n" } else { "go\n" }).await;
        let mut client = tls_connect(&config, "localhost", client.0).await.unwrap();
        client.send("state\nhelo\nstate\n").await.expect("new\nhello, tls true\ngreeted\n").await;
        client.send("data\nbody\r\n.\r\nx\n").await.expect("go ahead\naccepted body\nx\n").await;
    }
}

#[tokio::test]
async fn the_handler_decides_what_stays_and_greets_inside_tls() {
    struct Keeps;
    impl Handler for Keeps {
        type State = u32;

        async fn message(&self, cx: &mut Context<u32>, _: Bytes) -> Result<Reply> {
            cx.state += 1;
            Ok(if cx.state == 2 { Reply::send("go").then_tls() } else { Reply::send(cx.state.to_string()) })
        }

        async fn secured(&self, cx: &mut Context<u32>) -> Result<Reply> {
            Ok(Reply::send(format!("secured {} {}", cx.state, cx.tls().unwrap().version)))
        }
    }
    let (authority, name) = (Authority::new(), unique("keeps"));
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let _running = server.tls(authority.settings().start(TlsStart::OnRequest)).start(Keeps).await.unwrap();
    let mut client = connect(&name).await;
    client.send("x\n").await.expect("1\n").await.send("x\n").await.expect("go\n").await;
    let mut client = tls_connect(&Arc::new(authority.client(None)), "localhost", client.0).await.unwrap();
    client.expect("secured 2 TLS 1.3\n").await.send("x\n").await.expect("3\n").await;
}

#[tokio::test(start_paused = true)]
async fn plaintext_behind_the_request_for_tls_closes_the_connection_wherever_it_is_cut() {
    let sent = "helo\nstarttls\nstate\ninjected\n";
    for cut in 0..=sent.len() {
        let handler = Mail::default();
        let (_running, name, ..) = start_with_tls(&handler).await;
        let mut client = connect(&name).await;
        client.send(&sent[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&sent[cut..]).await;
        let rest = client.rest().await.escape_ascii().to_string();
        // After `go`, a failed handshake sends an alert.
        let has_reply = rest.starts_with("hello, tls false\\ngo\\n");
        assert!(has_reply || rest == "hello, tls false\\n", "{cut}: {rest}");
        let reason = handler.reason().await;
        assert!([CloseReason::StarttlsInjection, CloseReason::Handshake].contains(&reason), "{cut}: {reason}");
        // Everything that has arrived before the reply is an injection.
        assert!(has_reply || reason == CloseReason::StarttlsInjection, "{cut}: {reason}");
        assert_eq!(handler.messages(), ["helo", "starttls"], "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn plaintext_that_arrives_while_a_later_reply_is_in_progress_is_an_injection() {
    let handler = Mail::default();
    let (_running, name, ..) = start_with_tls(&handler).await;
    let mut client = connect(&name).await;
    client.send("later-starttls\n").await;
    sleep(secs(1)).await;
    client.send("inj").await.expect("go\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::StarttlsInjection);
    assert_eq!(handler.messages(), ["later-starttls"]);
}

#[tokio::test]
async fn tls_cannot_start_twice_or_without_settings() {
    let handler = Mail::default();
    let (_running, name) = start(&handler, |server| server).await;
    connect(&name).await.send("starttls\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerError);

    let handler = Mail::default();
    let (_running, name, config, _authority) = start_with_tls(&handler).await;
    let mut client = connect(&name).await;
    client.send("starttls\n").await.expect("go\n").await;
    let mut client = tls_connect(&config, "localhost", client.0).await.unwrap();
    client.send("starttls\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerError);
}

#[tokio::test]
async fn frames_that_are_pushed_during_the_handshake_are_sent_inside_tls() {
    let handler = Mail::default();
    let (_running, name, config, _authority) = start_with_tls(&handler).await;
    let mut client = connect(&name).await;
    client.send("x\n").await.expect("x\n").await;
    let pusher = handler.pusher.lock().unwrap().clone().unwrap();
    pusher.push("before").await.unwrap();
    client.expect("before\n").await.send("starttls\n").await.expect("go\n").await;
    pusher.push("inside").await.unwrap();
    let mut client = tls_connect(&config, "localhost", client.0).await.unwrap();
    client.expect("inside\n").await.send("y\n").await.expect("y\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_handshake_ends_at_its_timeout_and_at_a_drain() {
    let handler = Mail::default();
    let (running, name, ..) = start_with_tls(&handler).await;
    let mut client = connect(&name).await;
    client.send("starttls\n").await.expect("go\n").await;
    sleep(secs(9)).await;
    assert!(handler.closed.borrow().is_empty());
    client.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::Handshake);

    let handler = Mail::default();
    let (running_two, name, ..) = start_with_tls(&handler).await;
    let mut client = connect(&name).await;
    client.send("starttls\n").await.expect("go\n").await;
    assert_eq!(running_two.drain().await.cut, 0);
    client.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::Drain);
    drop(running);
}

#[tokio::test]
async fn a_datagram_peer_cannot_change_its_protocol() {
    let running = Server::bind("udp://127.0.0.1:0").start(Mail::default()).await.unwrap();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.socket_addr().unwrap()).await.unwrap();
    for message in ["starttls", "numbers", "x"] {
        socket.send(message.as_bytes()).await.unwrap();
    }
    let mut reply = [0; 10];
    let count = timeout(TEST_TIMEOUT, socket.recv(&mut reply)).await.unwrap().unwrap();
    assert_eq!(&reply[..count], b"x");
    let failed = &running.report()[0].messages;
    assert!(failed.iter().any(|(outcome, count)| outcome.as_str() == "error" && *count == 2), "{failed:?}");
}
