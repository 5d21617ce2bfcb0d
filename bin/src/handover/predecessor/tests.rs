//! Tests of `handover/predecessor.rs` and `handover/successor.rs`.

use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;

use switchboard::prelude::*;
use switchboard::transport::memory;

use super::*;
use crate::handover::successor::Successor;

async fn started(name: &str) -> Arc<Running> {
    let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    Arc::new(Server::bind(format!("mem:{name}")).start(echo).await.unwrap())
}

fn history() -> Arc<History> {
    Arc::new(History::new(std::time::Instant::now()))
}

fn accepted(running: &Arc<Running>) -> u64 {
    running.report()[0].accepted
}

/// The process that receives these lines after the commit, at the end of the stream.
async fn received(name: &str, lines: &str) -> Arc<Running> {
    let running = started(name).await;
    let (ours, mut theirs) = StdStream::pair().unwrap();
    // The first lines were read together with the commit.
    let (read, rest) = lines.split_at(lines.len() / 2);
    theirs.write_all(rest.as_bytes()).unwrap();
    drop(theirs);
    let predecessor = Predecessor::new(ours, read.as_bytes().to_vec(), running.clone(), history()).unwrap();
    predecessor.ended().await;
    predecessor.handed_over().await;
    running
}

fn line(count: u64) -> String {
    format!("{{\"counts\":{{\"of\":{{\"listener\":\"main\"}},\"counts\":{{\"accepted\":{count},\"later\":1}}}}}}\n")
}

#[tokio::test]
async fn repeated_counts_are_added_once_and_lines_of_newer_versions_are_ignored() {
    let lines = format!("{{\"version\":1}}\n{}{{\"later\":{{}}}}\n[]\nx\n{}\"handed-over\"\n", line(3), line(5));
    assert_eq!(accepted(&received("predecessor-a", &lines).await), 5);
    // A count that has become smaller changes nothing.
    let lines = format!("{{\"version\":1}}\n{}{}{}\"ended\"\n", line(3), line(2), line(4));
    assert_eq!(accepted(&received("predecessor-b", &lines).await), 4);
}

#[tokio::test]
async fn counts_of_another_version_and_lines_that_are_too_long_end_the_transfer() {
    let lines = format!("{{\"version\":2}}\n{}", line(3));
    assert_eq!(accepted(&received("predecessor-c", &lines).await), 0);
    assert_eq!(accepted(&received("predecessor-d", &line(3)).await), 0, "no version");
    let lines = format!("{{\"version\":1}}\n{}\"{}\"\n{}", line(3), "x".repeat(MAX_COUNTS), line(4));
    assert_eq!(accepted(&received("predecessor-e", &lines).await), 3);
    assert_eq!(accepted(&received("predecessor-f", "").await), 0);
}

#[tokio::test]
async fn the_counts_of_one_process_reach_the_other() {
    let (old, new) = (started("predecessor-g").await, started("predecessor-h").await);
    let connect = async || {
        let before = accepted(&old);
        let client = memory::connect("predecessor-g").await.unwrap();
        while accepted(&old) == before {
            tokio::task::yield_now().await;
        }
        client
    };
    let _one = connect().await;
    let (ours, theirs) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut successor = Successor::new(UnixStream::from_std(theirs).unwrap(), old.counts()).await;
    let predecessor = Predecessor::new(ours, Vec::new(), new.clone(), history()).unwrap();
    let _two = connect().await;
    successor.hand_over(old.counts(), Vec::new()).await;
    predecessor.handed_over().await;
    assert_eq!(accepted(&new), 2);
    let _three = connect().await;
    successor.send_counts(old.counts()).await;
    let _four = connect().await;
    successor.end(old.counts()).await;
    predecessor.ended().await;
    assert_eq!(accepted(&new), 4);
}
