//! Well-behaved clients: each sends a small message, waits for the echo, pauses, and records the latency.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Clients with a persistent connection.
const CLIENTS: usize = 50;
/// Pause between two messages of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// A client counts as failed after this time.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A 4-byte length in network byte order, then the payload.
const MESSAGE: [u8; 68] = {
    let mut message = [b'x'; 68];
    [message[0], message[1], message[2], message[3]] = [0, 0, 0, 64];
    message
};

/// Latencies, and the number of failed clients.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    times: Vec<Duration>,
    pub(crate) failed: usize,
}

impl Latencies {
    pub(crate) fn add(&mut self, more: Self) {
        self.times.extend(more.times);
        self.failed += more.failed;
    }

    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.times.sort_unstable();
        self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// Runs the persistent clients, and a client that reconnects for each message, for the given time.
pub(crate) fn measure(address: &str, time: Duration) -> Latencies {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for nth in 0..CLIENTS {
            let address = address.to_owned();
            tasks.spawn(async move {
                sleep(PAUSE * nth as u32 / CLIENTS as u32).await; // Spreads the clients over the pause.
                persistent(&address, end).await
            });
        }
        let address = address.to_owned();
        tasks.spawn(async move { reconnecting(&address, end).await });
        let mut latencies = Latencies::default();
        while let Some(one) = tasks.join_next().await {
            latencies.add(one.expect("no panic"));
        }
        latencies
    })
}

async fn persistent(address: &str, end: Instant) -> Latencies {
    let mut latencies = Latencies::default();
    let Ok(Ok(mut stream)) = timeout(TIMEOUT, TcpStream::connect(address)).await else {
        return Latencies { failed: 1, ..latencies };
    };
    while Instant::now() < end {
        let started = Instant::now();
        match timeout(TIMEOUT, exchange(&mut stream)).await {
            Ok(Ok(())) => latencies.times.push(started.elapsed()),
            _ => return Latencies { failed: 1, ..latencies },
        }
        sleep(PAUSE).await;
    }
    latencies
}

async fn reconnecting(address: &str, end: Instant) -> Latencies {
    let mut latencies = Latencies::default();
    while Instant::now() < end {
        let started = Instant::now();
        let once = async {
            let mut stream = TcpStream::connect(address).await?;
            exchange(&mut stream).await
        };
        match timeout(TIMEOUT, once).await {
            Ok(Ok(())) => latencies.times.push(started.elapsed()),
            _ => latencies.failed += 1,
        }
        sleep(PAUSE).await;
    }
    latencies
}

async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&MESSAGE).await?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo).await?;
    if echo == MESSAGE { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
