//! Tests of `connect/stream.rs`.

use tokio::io::{BufReader, DuplexStream, duplex};

use super::*;
use crate::connect::output::{Output, Shape};
use crate::dial::{Server, TlsOptions};

fn target(framing: &str) -> Target {
    let framing = crate::config::read_framing(framing, &crate::registry()).unwrap();
    let server = Server::new("tcp://127.0.0.1:1".parse().unwrap(), &TlsOptions::default()).unwrap();
    Target { server, framing, wait: Duration::from_secs(1), hex: false, prints_parts: false }
}

/// Runs a session with these lines and this server; returns what the server read and what was printed.
async fn printed<F>(
    lines: &'static str,
    target: &Target,
    server: impl FnOnce(DuplexStream) -> F,
) -> (Result<Ended>, String)
where
    F: Future<Output = Vec<String>> + Send + 'static,
{
    let (near, far) = duplex(4096);
    let server = tokio::spawn(server(far));
    let mut output = Output { out: Vec::new(), shape: Shape::Bytes };
    let input = Input::Piped(BufReader::new(lines.as_bytes()), Vec::new());
    let ended = run(near, input, target, &mut output).await;
    let reads = server.await.unwrap();
    (ended, format!("{}|{}", reads.join(","), String::from_utf8_lossy(&output.out)))
}

/// Sends a greeting after a while, replies slowly to each read, and returns the reads.
async fn slow(mut far: DuplexStream) -> Vec<String> {
    let mut reads = Vec::new();
    let mut buffer = [0; 64];
    tokio::time::sleep(Duration::from_millis(100)).await;
    far.write_all(b"welcome!").await.unwrap();
    while let Ok(count @ 1..) = far.read(&mut buffer).await {
        reads.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        tokio::time::sleep(Duration::from_millis(300)).await;
        if reads.last().is_some_and(|read| read == "exit") {
            break;
        }
        far.write_all(b"ok").await.unwrap();
    }
    reads
}

#[tokio::test(start_paused = true)]
async fn piped_lines_stay_separate_messages_in_raw_framing() {
    let (status, text) = printed("a\nb\nc\n", &target("raw"), slow).await;
    assert_eq!((status.unwrap().has_unsent, text.as_str()), (false, "a,b,c|welcome!\nok\nok\nok\n"));
}

#[tokio::test(start_paused = true)]
async fn the_session_ends_when_the_server_closes() {
    let (status, text) = printed("a\nexit\nnever\n", &target("raw"), slow).await;
    assert_eq!((status.unwrap().has_unsent, text.as_str()), (false, "a,exit|welcome!\nok\n"));
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_input_the_client_waits_until_the_server_is_silent() {
    let (status, text) = printed("a\nb", &target("lines"), |mut far| async move {
        let mut got = String::new();
        far.read_to_string(&mut got).await.unwrap();
        for reply in ["one\n", "two\n", "three\n"] {
            tokio::time::sleep(Duration::from_millis(700)).await;
            far.write_all(reply.as_bytes()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        vec![got]
    })
    .await;
    assert_eq!((status.unwrap().has_unsent, text.as_str()), (false, "a\nb\n|one\ntwo\nthree\n"));
}

#[tokio::test(start_paused = true)]
async fn invalid_replies_and_invalid_input_lines_are_reported() {
    let (status, text) = printed("nonsense\n1\n", &target("json-lines"), |mut far| async move {
        let mut got = String::new();
        far.read_to_string(&mut got).await.unwrap();
        vec![got]
    })
    .await;
    assert_eq!((status.unwrap().has_unsent, text.as_str()), (true, "1\n|"));
    let (status, _) = printed("1\n", &target("json-lines"), |mut far| async move {
        far.write_all(b"nonsense\n").await.unwrap();
        Vec::new()
    })
    .await;
    assert!(status.unwrap_err().starts_with("a reply is invalid for the framing json-lines"));
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_line_is_printed_on_a_terminal_when_the_server_is_silent() {
    let target = Target { prints_parts: true, ..target("lines") };
    let (ended, text) = printed("a\n", &target, |mut far| async move {
        for part in ["wel", "come!", "\nlogin: ", "x\n"] {
            far.write_all(part.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(if part == "wel" { 100 } else { 300 })).await;
        }
        Vec::new()
    })
    .await;
    assert_eq!(text, "|welcome!\n\nlogin: \nx\n");
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tls_alert_names_the_address_with_tls() {
    let (ended, text) = printed("a\n", &target("raw"), |mut far| async move {
        far.write_all(&[21, 3, 3, 0, 2, 2, 50]).await.unwrap();
        Vec::new()
    })
    .await;
    let error = ended.unwrap_err();
    assert!(error.ends_with("use tls://127.0.0.1:1") && text == "|", "{error} {text}");
}
