//! Tests of `transport/proxy/listener.rs`.

use super::*;
use crate::transport::proxy::parser;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_header_is_read_for_any_read_sizes_and_later_bytes_stay_unread() {
    for header in parser::tests::valid_headers() {
        let glued = [&*header, b"PROXY \r\nbehind"].concat();
        for piece in [1, 2, 3, 7, glued.len()] {
            let (mut ours, mut theirs) = tokio::io::duplex(piece);
            let sent = glued.clone();
            let sender = tokio::spawn(async move { ours.write_all(&sent).await });
            read(&mut theirs).await.unwrap_or_else(|error| panic!("{}: {error}", header.escape_ascii()));
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).await.expect("the rest can be read");
            assert_eq!(rest, b"PROXY \r\nbehind", "{}", header.escape_ascii());
            sender.await.expect("no panic").expect("all is taken");
        }
    }
}

#[tokio::test]
async fn an_incomplete_header_is_an_error() {
    for (bytes, part) in [("", "missing"), ("PROXY TCP4 1.2.3\x1b", "ended after \"PROXY TCP4 1.2.3\\x1b\"")] {
        let error = read(&mut bytes.as_bytes()).await.expect_err(bytes).to_string();
        assert!(error.contains(part), "{error}");
    }
}
