//! A client for any byte stream that says exactly what it expects.

use std::fmt::Debug;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a test waits for what must come. On paused time it costs nothing; on real time only a failure takes so long.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// One side of a conversation in a test. Every wait is bounded, and every failure shows what came instead.
#[derive(Debug)]
pub struct Client<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let sent = timeout(TEST_TIMEOUT, self.0.write_all(bytes.as_ref())).await;
        sent.expect("the other side takes what is sent").expect("the other side is there");
        self.0.flush().await.expect("the other side is there");
        self
    }

    /// Reads exactly so many bytes and holds them against these.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = std::panic::Location::caller();
        async move {
            let expected = bytes.as_ref();
            let mut got = Vec::with_capacity(expected.len());
            let reading = timeout(TEST_TIMEOUT, (&mut self.0).take(expected.len() as u64).read_to_end(&mut got)).await;
            let why = match reading {
                Err(_) => "and then nothing",
                Ok(Err(_)) => "and then an error",
                Ok(Ok(_)) => "and then the end",
            };
            let (got, expected) = (got.escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert_eq!(got, expected, "{why}, at {caller}");
            self
        }
    }

    /// Expects that the other side ends, with nothing more to read.
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let rest = self.rest().await;
            assert!(rest.is_empty(), "{:?} before the end, at {caller}", rest.escape_ascii().to_string());
        }
    }

    /// Expects that nothing comes for as long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) -> impl Future<Output = &mut Self> {
        let caller = std::panic::Location::caller();
        async move {
            let mut byte = [0];
            let read = timeout(time, self.0.read(&mut byte)).await;
            assert!(read.is_err(), "expected silence, got {read:?} {byte:?}, at {caller}");
            self
        }
    }

    /// Everything up to the end. A reset counts as the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = timeout(TEST_TIMEOUT, self.0.read_to_end(&mut rest)).await;
        let _ = read.unwrap_or_else(|_| panic!("no end after {:?}", rest.escape_ascii().to_string()));
        rest
    }

    /// Ends this side's output; the other side's can still be read.
    pub async fn half_close(&mut self) -> &mut Self {
        let _ = self.0.shutdown().await;
        self
    }
}
