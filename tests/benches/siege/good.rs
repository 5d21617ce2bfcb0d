//! Good clients: each sends a small message, waits for its echo, thinks for a moment, and remembers how long it took.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Those that stay connected.
const CLIENTS: usize = 50;
/// How long they think between two messages.
const THINKING: Duration = Duration::from_millis(20);
/// So long a client waits before it says that it was not served.
const PATIENCE: Duration = Duration::from_secs(5);
/// Four bytes of length, big endian, then the message.
const MESSAGE: [u8; 68] = {
    let mut message = [b'x'; 68];
    [message[0], message[1], message[2], message[3]] = [0, 0, 0, 64];
    message
};

/// How long answers took, and how many clients were not served.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    times: Vec<Duration>,
    pub(crate) failed: usize,
}

impl Figures {
    pub(crate) fn add(&mut self, more: Self) {
        self.times.extend(more.times);
        self.failed += more.failed;
    }

    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.times.sort_unstable();
        self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// Fifty clients that stay and one after another that come, ask once and go, for so long.
pub(crate) fn measure(address: &str, time: Duration) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for nth in 0..CLIENTS {
            let address = address.to_owned();
            tasks.spawn(async move {
                sleep(THINKING * nth as u32 / CLIENTS as u32).await; // not all at the same moment
                stay(&address, end).await
            });
        }
        let address = address.to_owned();
        tasks.spawn(async move { come_and_go(&address, end).await });
        let mut figures = Figures::default();
        while let Some(one) = tasks.join_next().await {
            figures.add(one.expect("no panic"));
        }
        figures
    })
}

async fn stay(address: &str, end: Instant) -> Figures {
    let mut figures = Figures::default();
    let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await else {
        return Figures { failed: 1, ..figures };
    };
    while Instant::now() < end {
        let begun = Instant::now();
        match timeout(PATIENCE, ask(&mut stream)).await {
            Ok(Ok(())) => figures.times.push(begun.elapsed()),
            _ => return Figures { failed: 1, ..figures },
        }
        sleep(THINKING).await;
    }
    figures
}

async fn come_and_go(address: &str, end: Instant) -> Figures {
    let mut figures = Figures::default();
    while Instant::now() < end {
        let begun = Instant::now();
        let once = async {
            let mut stream = TcpStream::connect(address).await?;
            ask(&mut stream).await
        };
        match timeout(PATIENCE, once).await {
            Ok(Ok(())) => figures.times.push(begun.elapsed()),
            _ => figures.failed += 1,
        }
        sleep(THINKING).await;
    }
    figures
}

async fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&MESSAGE).await?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo).await?;
    if echo == MESSAGE { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
