//! Complete paths, from the received bytes or datagram to the bytes of the reply.

use std::net::UdpSocket;

use divan::Bencher;
use divan::counter::ItemsCount;
use harness::unique;
use hot::HotPath;
use switchboard::prelude::*;
use switchboard::transport::memory;
use switchboard_handlers::Echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// Batches per iteration, so that the cost of entering the runtime is negligible.
const BATCHES: usize = 64;

/// The driver without a transport; see the crate `hot`.
#[divan::bench(args = HotPath::ALL)]
fn hot(bencher: Bencher<'_, '_>, path: HotPath) {
    let mut hot = path.open();
    bencher.counter(ItemsCount::new(BATCHES * path.depth())).bench_local(|| hot.run(BATCHES));
}

/// A batch of lines through the memory transport. The time includes the client, which runs in the same thread.
#[divan::bench(args = [1, 16])]
fn memory_lines(bencher: Bencher<'_, '_>, depth: usize) {
    let runtime = runtime();
    let name = unique("micro");
    let (_running, mut client) = runtime.block_on(async {
        let running = Server::bind(&*format!("mem:{name}")).framing(Lines::default()).start(Echo).await.unwrap();
        (running, memory::connect(&name).await.unwrap())
    });
    let batch = format!("{}\n", "x".repeat(64)).repeat(depth);
    let mut reply = vec![0; batch.len()];
    bencher.counter(ItemsCount::new(depth)).bench_local(|| {
        runtime.block_on(async {
            client.write_all(batch.as_bytes()).await.unwrap();
            client.read_exact(&mut reply).await.unwrap();
        });
    });
    assert_eq!(reply, batch.as_bytes());
}

/// The round trip of a datagram through real sockets. Most of the time is spent in the kernel.
#[divan::bench]
fn udp(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let running = runtime.block_on(Server::bind("udp://127.0.0.1:0").start(Echo)).unwrap();
    let server = running.address().unwrap().to_string();
    let (client, datagram, mut reply) = runtime.block_on(async {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.trim_start_matches("udp://")).unwrap();
        client.set_nonblocking(true).unwrap();
        (tokio::net::UdpSocket::from_std(client).unwrap(), [7; 64], [0; 64])
    });
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        runtime.block_on(async {
            client.send(&datagram).await.unwrap();
            client.recv(&mut reply).await.unwrap();
        });
    });
    assert_eq!(reply, datagram);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
