//! A test client for any byte stream, with exact expectations.

use std::fmt::Debug;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The timeout of every wait in a test. Only a failing test on real time waits this long; a busy machine can need most
/// of it.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A client in a test. Every wait has a timeout, and every failure shows the bytes received.
#[derive(Debug)]
pub struct Client<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let sent = timeout(TEST_TIMEOUT, self.0.write_all(bytes.as_ref())).await;
        sent.expect("the peer reads before the timeout").expect("the peer is connected");
        self.0.flush().await.expect("the peer is connected");
        self
    }

    /// Reads as many bytes as `bytes` has and compares them.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = std::panic::Location::caller();
        async move {
            let expected = bytes.as_ref();
            let mut got = Vec::with_capacity(expected.len());
            let reading = timeout(TEST_TIMEOUT, (&mut self.0).take(expected.len() as u64).read_to_end(&mut got)).await;
            let ending = match reading {
                Err(_) => "then a timeout",
                Ok(Err(_)) => "then an error",
                Ok(Ok(_)) => "then end of stream",
            };
            let (got, expected) = (got.escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert_eq!(got, expected, "{ending}, at {caller}");
            self
        }
    }

    /// Expects the end of the stream, with no more bytes before it.
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let rest = self.rest().await;
            assert!(rest.is_empty(), "{:?} before the end of the stream, at {caller}", rest.escape_ascii().to_string());
        }
    }

    /// Expects that no bytes arrive for this long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) -> impl Future<Output = &mut Self> {
        let caller = std::panic::Location::caller();
        async move {
            let mut byte = [0];
            let read = timeout(time, self.0.read(&mut byte)).await;
            assert!(read.is_err(), "expected no bytes, got {read:?} {byte:?}, at {caller}");
            self
        }
    }

    /// Reads to the end of the stream. A reset counts as the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = timeout(TEST_TIMEOUT, self.0.read_to_end(&mut rest)).await;
        let _ = read.unwrap_or_else(|_| panic!("no end of stream after {:?}", rest.escape_ascii().to_string()));
        rest
    }

    /// Shuts down the write side; the read side stays open.
    pub async fn half_close(&mut self) -> &mut Self {
        let _ = self.0.shutdown().await;
        self
    }
}
