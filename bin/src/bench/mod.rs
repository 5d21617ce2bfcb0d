//! `switchboard bench`: sends messages to a server and measures the latency of its replies.
//!
//! One thread serves all connections, so that the load generator leaves the other cores to the server.

mod arrivals;
mod datagram;
mod load;
mod options;
mod progress;
mod report;
mod results;
mod session;
mod timer;
mod worker;

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt};
use switchboard::Registry;
use tokio::signal::ctrl_c;
use tokio::time::{Instant, sleep};

use self::arrivals::{Clock, Schedule, Source};
use self::load::{Load, per_second};
pub(crate) use self::options::BenchOptions;
use self::report::Report;
use self::results::{Error, Results};
use self::timer::PreciseTimer;
use self::worker::{Connection, work};
use crate::descriptors;
use crate::exit;
use crate::failure::{Failure, print_stdout};

/// File descriptors besides those of the connections: standard streams, the runtime, the timer.
const OWN_FILES: u64 = 32;
/// Pause before the first message, in which a greeting arrives that the command line does not mention.
const GREETING_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are opened at the same time, because the backlog of a server is limited.
const OPENED_TOGETHER: usize = 64;

/// Runs the load and prints the results. The exit status is 1 if a message failed or none was answered.
pub(crate) fn bench(options: BenchOptions, registry: &Registry) -> Result<u8, Failure> {
    let uses_json = options.json;
    let mut load = Load::new(options, registry)?;
    provide_files(&load)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(format_args!("cannot start the runtime: {}", exit::reason(&error))))?;
    let (results, measured, is_interrupted) = runtime.block_on(run(&mut load))?;
    let report = Report { load: &load, results: &results, measured, is_interrupted };
    print_stdout(if uses_json { report.json() } else { report.text() })?;
    if results.messages() == 0 {
        return Err(Failure::new("no message was answered after the warmup"));
    }
    Ok((results.failed_messages() > 0).into())
}

/// Raises the limit of open files, and checks that it is enough.
fn provide_files(load: &Load) -> Result<(), Failure> {
    let _ = descriptors::raise_limit(); // the check below reports a limit that is too low
    let (needed, limit) = (load.connections as u64 + OWN_FILES, descriptors::current_limit());
    if needed <= limit {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "--connections {} needs {needed} open files, and this process can have {limit}; raise the limit (ulimit -n) or \
         lower --connections",
        load.connections
    )))
}

/// Returns the results, the measured time, and whether Ctrl-C ended the run.
async fn run(load: &mut Load) -> Result<(Results, Duration, bool), Failure> {
    load.server.resolve().await.map_err(Failure::new)?;
    let failed = |error: Error| Failure::new(error.sentence);
    let timer = PreciseTimer::new();
    let timer = timer.map_err(|error| Failure::new(format_args!("cannot create a timer: {}", exit::reason(&error))))?;
    let first = Connection::open(&load.server).await.map_err(failed)?;
    if let Connection::Stream(_, Some(address)) = &first {
        // The others need not try the addresses that do not answer.
        load.server.prefer(*address);
    }
    let load = &*load;
    let mut interrupted = Box::pin(ctrl_c());
    let connections = tokio::select! {
        connections = async {
            let connections = open_all(first, load).await;
            sleep(GREETING_PAUSE).await;
            connections
        } => connections,
        _ = &mut interrupted => return Err(Failure::new("interrupted before the first message")),
    };
    let start = Instant::now();
    let (begin, end) = (start + load.warmup, start + load.warmup + load.duration);
    let clock = Clock { start, end, give_up: end + load.timeout };
    let results = RefCell::new(Results::new(begin));
    let is_interrupted = tokio::select! {
        () = send_all(connections, load, clock, &timer, &results) => false,
        () = progress::show(clock, &results) => false,
        _ = interrupted => true,
    };
    let results = results.into_inner();
    let last = if is_interrupted { Instant::now() } else { end.max(results.last_reply) };
    let measured = last.saturating_duration_since(begin);
    Ok((results, measured, is_interrupted))
}

/// Opens the other connections. One that fails is opened again by its worker, which counts the error.
async fn open_all(first: Connection, load: &Load) -> Vec<Option<Connection>> {
    if load.connect_each {
        return (0..load.connections).map(|_| None).collect();
    }
    let open = async |_| Connection::open(&load.server).await.ok();
    let others = stream::iter(1..load.connections).map(open).buffer_unordered(OPENED_TOGETHER);
    let mut connections: Vec<_> = others.collect().await;
    connections.push(Some(first));
    connections
}

/// Runs every connection until all messages are answered or failed.
async fn send_all(
    connections: Vec<Option<Connection>>,
    load: &Load,
    clock: Clock,
    timer: &PreciseTimer,
    results: &RefCell<Results>,
) {
    let workers = |sources: Vec<Source>| {
        join_all(
            connections.into_iter().zip(sources).map(|(connection, source)| work(connection, source, load, results)),
        )
    };
    match load.rate {
        None => {
            workers(vec![Source::Closed(clock); load.connections]).await;
        }
        Some(rate) => {
            let connections = load.connections as u64;
            let schedule = Schedule { start: clock.start, per_second: per_second(rate), connections };
            let backlogs = schedule.backlogs();
            let sources = backlogs.iter().map(|backlog| Source::Open(clock, backlog.clone())).collect();
            let arrivals = schedule.run(&backlogs, clock.end, async |time| timer.wait_until(time).await);
            join(arrivals, workers(sources)).await;
        }
    }
}
