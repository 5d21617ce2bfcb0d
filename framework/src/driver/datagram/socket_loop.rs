//! The task of a datagram socket: serves what it brings, under the settings of now, to the end.
//!
//! When what serves it is replaced, the one before finishes what it has in hand and receives no more. All of it is one task,
//! so whoever waits for the socket is woken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::ServiceSnapshot;
use crate::driver::datagram::service::{DatagramDispatcher, DatagramService, Stage};
use crate::layer::Panicked;
use crate::settings::deadline_after;
use crate::transport::DatagramSocket;

/// So many replaced ones may be finishing at once; one more, and the oldest is cut.
const FINISHING: usize = 8;
/// Pauses before a socket is served again after what served it has panicked, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type SnapshotReceiver = watch::Receiver<ServiceSnapshot<Arc<dyn DatagramService>>>;

/// Serves the datagrams of one socket.
pub(crate) struct DatagramLoop {
    socket: Arc<dyn DatagramSocket>,
    snapshots: SnapshotReceiver,
    snapshot: ServiceSnapshot<Arc<dyn DatagramService>>,
    dispatcher: Box<dyn DatagramDispatcher>,
    stage: Stage,
    /// Until when it may finish, once it receives no more.
    until: Option<Instant>,
    /// Those that were replaced, and until when each may finish.
    finishing: VecDeque<(Instant, Box<dyn DatagramDispatcher>)>,
    events: FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>,
    /// Messages that came and were cut.
    cut: Arc<AtomicUsize>,
}

/// What happens seldom.
enum Event {
    Changed,
    Retired,
    Draining,
    Cutting,
    TimeIsUp,
    Broken(Panicked),
    /// Somebody wants to know whether it still goes round, and again.
    Asked(mpsc::Receiver<oneshot::Sender<()>>),
    Done,
}

impl DatagramLoop {
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        mut snapshots: SnapshotReceiver,
        retired: CancellationToken,
        cut: Arc<AtomicUsize>,
        heartbeat: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        let snapshot = snapshots.borrow_and_update().clone();
        let dispatcher = snapshot.service.open(socket.clone(), snapshot.listener_context.clone());
        let mut drain = snapshot.listener_context.drain.clone();
        let events = FuturesUnordered::new();
        events.push(async move { retired.cancelled().await }.map(|()| Event::Retired).boxed());
        events.push(async move { drain.draining().await }.map(|()| Event::Draining).boxed());
        let window = Self {
            socket,
            snapshots,
            snapshot,
            dispatcher,
            stage: Stage::Open,
            until: None,
            finishing: VecDeque::new(),
            events,
            cut,
        };
        window.watch_feed();
        window.watch_pulse(heartbeat);
        window
    }

    /// Serves until the listener drains or is replaced, and everything is answered, or until it is cut.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Event::Changed => self.change(),
                Event::Asked(heartbeat) => self.watch_pulse(heartbeat),
                Event::Retired => {
                    self.stage = Stage::Closed;
                    self.until = Some(self.time_is_up_after(self.snapshot.finish_timeout));
                }
                Event::Draining => {
                    if self.stage == Stage::Open {
                        self.stage = Stage::LastCall;
                    }
                    self.watch_cut();
                }
                Event::TimeIsUp if self.until.is_none_or(|until| Instant::now() < until) => self.cut_late(),
                Event::Cutting | Event::TimeIsUp | Event::Done => break,
                Event::Broken(panicked) => {
                    let (listener, error) = (&*self.snapshot.listener_context.name, panicked.to_string());
                    tracing::error!(listener, error, "a listener is broken");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    self.cut.fetch_add(self.dispatcher.in_hand(), SeqCst);
                    self.dispatcher =
                        self.snapshot.service.open(self.socket.clone(), self.snapshot.listener_context.clone());
                }
            }
        }
        let left = self.finishing.iter().map(|(_, dispatcher)| dispatcher).chain([&self.dispatcher]);
        self.cut.fetch_add(left.map(|dispatcher| dispatcher.in_hand()).sum(), SeqCst);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Some(events)) = self.events.poll_next_unpin(cx) {
            return Poll::Ready(events);
        }
        let cut = &self.cut;
        self.finishing.retain_mut(|(_, dispatcher)| {
            let has_finished = round(&mut **dispatcher, cx, Stage::Closed).unwrap_or_else(|_| {
                cut.fetch_add(dispatcher.in_hand(), SeqCst);
                true
            });
            !has_finished
        });
        match round(&mut *self.dispatcher, cx, self.stage) {
            Ok(has_finished) if has_finished && self.finishing.is_empty() => Poll::Ready(Event::Done),
            Ok(_) => Poll::Pending,
            Err(panicked) => Poll::Ready(Event::Broken(panicked)),
        }
    }

    /// Serves by what serves from now on.
    fn change(&mut self) {
        let now = self.snapshots.borrow_and_update().clone();
        self.watch_feed();
        let is_same = Arc::ptr_eq(&self.snapshot.service, &now.service);
        if is_same {
            self.dispatcher.set_context(now.listener_context.clone());
        } else {
            let fresh = now.service.open(self.socket.clone(), now.listener_context.clone());
            let replaced = std::mem::replace(&mut self.dispatcher, fresh);
            self.finishing.push_back((self.time_is_up_after(now.finish_timeout), replaced));
            if self.finishing.len() > FINISHING {
                self.cut_oldest();
            }
        }
        self.snapshot = now;
    }

    fn cut_late(&mut self) {
        let now = Instant::now();
        while self.finishing.front().is_some_and(|(until, _)| *until <= now) {
            self.cut_oldest();
        }
    }

    fn cut_oldest(&mut self) {
        if let Some((_, dispatcher)) = self.finishing.pop_front() {
            self.cut.fetch_add(dispatcher.in_hand(), SeqCst);
        }
    }

    fn watch_feed(&self) {
        let mut snapshots = self.snapshots.clone();
        let changed = async move {
            if snapshots.changed().await.is_err() {
                std::future::pending::<()>().await; // the listener is gone, and nobody will change it any more
            }
        };
        self.events.push(changed.map(|()| Event::Changed).boxed());
    }

    fn watch_pulse(&self, mut heartbeat: mpsc::Receiver<oneshot::Sender<()>>) {
        let local_ip = async move {
            match heartbeat.recv().await {
                Some(answer) => drop(answer.send(())), // whoever local_ip may have given up
                None => std::future::pending().await,
            }
            Event::Asked(heartbeat)
        };
        self.events.push(local_ip.boxed());
    }

    fn watch_cut(&self) {
        let mut drain = self.snapshot.listener_context.drain.clone();
        self.events.push(async move { drain.cutting().await }.map(|()| Event::Cutting).boxed());
    }

    fn time_is_up_after(&self, finish_timeout: Duration) -> Instant {
        let until = deadline_after(Instant::now(), finish_timeout);
        self.events.push(tokio::time::sleep_until(until).map(|()| Event::TimeIsUp).boxed());
        until
    }
}

/// Not even a transport that panics closes the window in silence.
fn round(dispatcher: &mut dyn DatagramDispatcher, cx: &mut Context<'_>, stage: Stage) -> Result<bool, Panicked> {
    catch_unwind(AssertUnwindSafe(|| dispatcher.poll(cx, stage))).map_err(|payload| Panicked::new(&*payload))
}
