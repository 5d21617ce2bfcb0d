//! The measurements of one server under one load.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::closed::Closed;
use crate::load::{LoadResult, Target, Traffic};
use crate::measure::{cpu_time, memory};
use crate::metric::{Metric, Sample};
use crate::server::Server;

/// Time for a server to release memory after all connections are closed.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);
/// Time until a server with new idle connections does no more work.
pub(crate) const SETTLING: Duration = Duration::from_secs(2);

/// Warms up and then measures.
pub(crate) fn timed(
    server: &Server,
    time: Duration,
    mut run: impl FnMut(Duration) -> io::Result<LoadResult>,
) -> io::Result<Sample> {
    run(time / 5)?;
    let before = cpu_time(server.id())?;
    let result = run(time)?;
    let used = cpu_time(server.id())? - before;
    let latency = |quantile| result.latency.value_at_quantile(quantile) as f64;
    let mut sample = Sample::from([
        (Metric::Cpu, used as f64 / result.messages as f64),
        (Metric::Rate, result.rate()),
        (Metric::P50, latency(0.5)),
        (Metric::P99, latency(0.99)),
        (Metric::P999, latency(0.999)),
    ]);
    if result.lost > 0 {
        sample.insert(Metric::Lost, result.lost as f64);
    }
    Ok(sample)
}

/// Memory of connections: before their first message, after one message each, and after they are closed.
pub(crate) fn idle(
    server: &Server,
    target: &Target,
    count: usize,
    traffic: Traffic,
    measures_recovery: bool,
) -> io::Result<Sample> {
    let settled = || {
        thread::park_timeout(SETTLING / 4);
        memory(server.id())
    };
    let start = settled()?;
    let mut load = Closed::connect(target, count, traffic)?;
    let silent = settled()?;
    load.run(Duration::ZERO)?; // One message per connection.
    let used = settled()?;
    drop(load);
    let each = |now: u64| now.saturating_sub(start) as f64 / count as f64;
    let mut sample =
        Sample::from([(Metric::Idle, each(silent)), (Metric::Used, each(used)), (Metric::Start, start as f64)]);
    if measures_recovery {
        thread::park_timeout(RECOVERY);
        sample.insert(Metric::Left, memory(server.id())? as f64);
    }
    Ok(sample)
}

/// CPU time of a server whose connections are idle, after one message each.
pub(crate) fn idle_cpu(server: &Server, mut load: Closed, time: Duration) -> io::Result<Sample> {
    load.run(Duration::ZERO)?; // One message per connection.
    thread::park_timeout(SETTLING);
    let (before, started) = (cpu_time(server.id())?, Instant::now());
    thread::park_timeout(time);
    let used = cpu_time(server.id())? - before;
    Ok(Sample::from([(Metric::IdleCpu, used as f64 / started.elapsed().as_secs_f64())]))
}

/// Duration of the drain of a server.
pub(crate) fn drain(server: &mut Server, load: Closed) -> io::Result<Sample> {
    let started = Instant::now();
    let status = server.drain()?;
    let duration = started.elapsed();
    drop(load);
    if !status.success() {
        return Err(io::Error::other(format!("exit status after the drain: {status}")));
    }
    Ok(Sample::from([(Metric::Drain, duration.as_secs_f64())]))
}
