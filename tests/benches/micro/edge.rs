//! Access lists, rate limits and configuration checks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures_util::FutureExt;
use harness::unique;
use switchboard::prelude::*;
use switchboard::settings::Network;
use switchboard::settings::Rate;
use switchboard::tower::{Layer, Service, service_fn};
use switchboard::transport::memory;
use switchboard::{Access, Address};
use switchboard_server::ConfigCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

/// Checks a peer against a deny list that does not contain it.
#[divan::bench(args = [0, 1000])]
fn access(bencher: Bencher<'_, '_>, rules: u32) {
    let deny = (0..rules).map(|rule| format!("10.{}.{}.0/25", rule / 256, rule % 256).parse::<Network>().unwrap());
    let access = Access::default().deny(deny.collect());
    let peer = Address::Inet(SocketAddr::from((Ipv4Addr::new(10, 1, 17, 200), 40_000)));
    assert!(access.allows(&peer));
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| access.allows(black_box(&peer)));
}

/// Passes a message through a rate limit that is not reached, and through a disabled one.
#[divan::bench(args = ["off", "on"])]
fn rate(bencher: Bencher<'_, '_>, setting: &str) {
    let connection = connection();
    let rate = if setting == "on" { Rate::per_second(u32::MAX) } else { Rate::default() };
    let inner = service_fn(|request: Request| std::future::ready(Ok::<Reply, BoxError>(Reply::send(request.message))));
    let mut service = RatePerSource::new(rate, u32::MAX).layer(inner);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let request = Request::new(Bytes::from_static(b"a message"), connection.clone());
        service.call(request).now_or_never().unwrap().unwrap()
    });
}

/// Returns a connection with a network address, as a handler sees it.
fn connection() -> Connection {
    let found = std::sync::Arc::new(Mutex::new(None));
    let seen = found.clone();
    let handler = handler_fn(move |cx: Context, message: Bytes| {
        *seen.lock().unwrap() = Some(cx.connection().clone());
        async move { Ok(Reply::send(message)) }
    });
    let name = unique("micro");
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let _running = Server::bind(&*format!("mem:{name}")).start(handler).await.unwrap();
        let mut client = memory::connect_from(&name, SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000))).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.read_u8().await.unwrap();
    });
    let connection = found.lock().unwrap().take();
    connection.unwrap()
}

/// Parses and validates a configuration file, as `switchboard check` does, with 1 and 100 listeners.
#[divan::bench(args = [1, 100], sample_count = 20)]
fn config(bencher: Bencher<'_, '_>, listeners: usize) {
    let registry = switchboard_server::registry();
    let section = |number| format!("[listeners.l{number}]\nlisten = \"tcp://127.0.0.1:{}\"\n", 10_000 + number);
    let text: String = (0..listeners).map(section).collect();
    let trial = ConfigCheck::new(&registry).text("toml", text);
    trial.check().unwrap();
    bencher.counter(ItemsCount::new(listeners)).bench_local(|| trial.check());
}
