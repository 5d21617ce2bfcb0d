//! The task of a datagram socket: polls its dispatcher, replaces it on a reload, and ends after a drain.
//!
//! A replaced dispatcher finishes its pending messages in the same task and receives no more.

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
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bans::BanChange;
use crate::deadline_timer::DeadlineTimer;
use crate::driver::ServiceSnapshot;
use crate::driver::datagram::{DatagramDispatcher, DatagramService, LoopState};
use crate::layer::Panicked;
use crate::settings::deadline_after;
use crate::transport::DatagramSocket;

/// Maximum replaced dispatchers that finish concurrently; above it, the oldest is aborted.
const MAX_FINISHING: usize = 8;
/// Pause before a panicked dispatcher is replaced, doubled each time.
const MIN_RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Maximum pause before a panicked dispatcher is replaced.
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two searches for banned peers.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);

type SnapshotReceiver = watch::Receiver<ServiceSnapshot<Arc<dyn DatagramService>>>;
type ChangeReceiver = broadcast::Receiver<BanChange>;
type HeartbeatReceiver = mpsc::Receiver<oneshot::Sender<()>>;

pub(crate) struct DatagramLoop {
    socket: Arc<dyn DatagramSocket>,
    snapshots: SnapshotReceiver,
    snapshot: ServiceSnapshot<Arc<dyn DatagramService>>,
    dispatcher: Box<dyn DatagramDispatcher>,
    state: LoopState,
    /// When a replaced loop is aborted.
    finish_deadline: Option<Instant>,
    /// Replaced dispatchers with pending messages, oldest first, and when each is aborted.
    finishing: VecDeque<(Instant, Box<dyn DatagramDispatcher>)>,
    events: FuturesUnordered<Pin<Box<dyn Future<Output = LoopEvent> + Send>>>,
    aborted: Arc<AtomicUsize>,
}

enum LoopEvent {
    SnapshotChanged,
    Replaced,
    Draining,
    DrainDeadline,
    FinishDeadline,
    Panicked(Panicked),
    /// A ban has begun, or peers that a ban must remove were busy.
    Banned(ChangeReceiver),
    /// The loop has answered a heartbeat.
    Heartbeat(HeartbeatReceiver),
    Finished,
}

impl DatagramLoop {
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        mut snapshots: SnapshotReceiver,
        replaced: CancellationToken,
        aborted: Arc<AtomicUsize>,
        heartbeat: HeartbeatReceiver,
    ) -> Self {
        let snapshot = snapshots.borrow_and_update().clone();
        let dispatcher = snapshot.service.open(socket.clone(), snapshot.listener_context.clone());
        let mut drain = snapshot.listener_context.info.drain.clone();
        let events = FuturesUnordered::new();
        events.push(async move { replaced.cancelled().await }.map(|()| LoopEvent::Replaced).boxed());
        events.push(async move { drain.draining().await }.map(|()| LoopEvent::Draining).boxed());
        let this = Self {
            socket,
            snapshots,
            snapshot,
            dispatcher,
            state: LoopState::Active,
            finish_deadline: None,
            finishing: VecDeque::new(),
            events,
            aborted,
        };
        this.watch_snapshots();
        this.watch_heartbeat(heartbeat);
        this.watch_bans(this.snapshot.listener_context.admission.all_bans().subscribe(), Duration::ZERO, true);
        this
    }

    /// Serves until the listener drains or is replaced and every message is answered, or until it is aborted.
    pub(crate) async fn run(mut self) {
        let mut pause = MIN_RESTART_PAUSE;
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                LoopEvent::SnapshotChanged => self.apply_snapshot(),
                LoopEvent::Heartbeat(heartbeat) => self.watch_heartbeat(heartbeat),
                LoopEvent::Banned(changes) => self.remove_banned(changes),
                LoopEvent::Replaced => {
                    self.state = LoopState::Finishing;
                    self.finish_deadline = Some(self.start_finish_timeout(self.snapshot.finish_timeout));
                }
                LoopEvent::Draining => {
                    if self.state == LoopState::Active {
                        tokio::task::yield_now().await; // lets the runtime poll the socket for readiness
                        self.state = LoopState::DrainingInput;
                    }
                    let mut drain = self.snapshot.listener_context.info.drain.clone();
                    self.events.push(async move { drain.cutting().await }.map(|()| LoopEvent::DrainDeadline).boxed());
                }
                LoopEvent::FinishDeadline if self.finish_deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    while self.finishing.front().is_some_and(|(deadline, _)| *deadline <= Instant::now()) {
                        self.abort_oldest();
                    }
                }
                LoopEvent::DrainDeadline | LoopEvent::FinishDeadline | LoopEvent::Finished => break,
                LoopEvent::Panicked(panicked) => {
                    let (listener, error) = (&*self.snapshot.listener_context.info.name, panicked.to_string());
                    tracing::error!(target: "switchboard::listener", listener, error, "listener failed; retrying");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_RESTART_PAUSE);
                    self.aborted.fetch_add(self.dispatcher.pending(), SeqCst);
                    self.dispatcher =
                        self.snapshot.service.open(self.socket.clone(), self.snapshot.listener_context.clone());
                }
            }
        }
        let dispatchers = self.finishing.iter().map(|(_, dispatcher)| dispatcher).chain([&self.dispatcher]);
        self.aborted.fetch_add(dispatchers.map(|dispatcher| dispatcher.pending()).sum(), SeqCst);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LoopEvent> {
        if let Poll::Ready(Some(event)) = self.events.poll_next_unpin(cx) {
            return Poll::Ready(event);
        }
        let aborted = &self.aborted;
        self.finishing.retain_mut(|(_, dispatcher)| {
            let is_finished = poll_dispatcher(&mut **dispatcher, cx, LoopState::Finishing).unwrap_or_else(|_| {
                aborted.fetch_add(dispatcher.pending(), SeqCst);
                true
            });
            !is_finished
        });
        match poll_dispatcher(&mut *self.dispatcher, cx, self.state) {
            Ok(is_finished) if is_finished && self.finishing.is_empty() => Poll::Ready(LoopEvent::Finished),
            Ok(_) => Poll::Pending,
            Err(panicked) => Poll::Ready(LoopEvent::Panicked(panicked)),
        }
    }

    /// Applies new settings, and replaces the dispatcher if the service has changed.
    fn apply_snapshot(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.watch_snapshots();
        if Arc::ptr_eq(&self.snapshot.service, &snapshot.service) {
            self.dispatcher.set_context(snapshot.listener_context.clone());
        } else {
            let dispatcher = snapshot.service.open(self.socket.clone(), snapshot.listener_context.clone());
            let replaced = std::mem::replace(&mut self.dispatcher, dispatcher);
            self.finishing.push_back((self.start_finish_timeout(snapshot.finish_timeout), replaced));
            if self.finishing.len() > MAX_FINISHING {
                self.abort_oldest();
            }
        }
        self.snapshot = snapshot;
    }

    fn abort_oldest(&mut self) {
        if let Some((_, dispatcher)) = self.finishing.pop_front() {
            self.aborted.fetch_add(dispatcher.pending(), SeqCst);
        }
    }

    fn watch_snapshots(&self) {
        let mut snapshots = self.snapshots.clone();
        let changed = async move {
            if snapshots.changed().await.is_err() {
                std::future::pending::<()>().await; // the listener is dropped: no change follows
            }
        };
        self.events.push(changed.map(|()| LoopEvent::SnapshotChanged).boxed());
    }

    fn watch_heartbeat(&self, mut heartbeat: HeartbeatReceiver) {
        let answered = async move {
            match heartbeat.recv().await {
                Some(answer) => drop(answer.send(())), // the sender may have timed out
                None => std::future::pending().await,
            }
            LoopEvent::Heartbeat(heartbeat)
        };
        self.events.push(answered.boxed());
    }

    /// Waits for the next ban, at least for `pause`. An incomplete search is repeated after the pause.
    fn watch_bans(&self, mut changes: ChangeReceiver, pause: Duration, is_complete: bool) {
        let banned = async move {
            tokio::time::sleep(pause).await;
            let mut waits = is_complete;
            while waits {
                match changes.recv().await {
                    Err(RecvError::Closed) => std::future::pending().await,
                    change => waits = matches!(change, Ok(BanChange::Removed(_))),
                }
            }
            LoopEvent::Banned(changes)
        };
        self.events.push(banned.boxed());
    }

    /// Removes the banned peers.
    fn remove_banned(&mut self, mut changes: ChangeReceiver) {
        while matches!(changes.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {} // one search for all of them
        let finishing = self.finishing.iter_mut().map(|(_, dispatcher)| dispatcher);
        let dispatchers = finishing.chain([&mut self.dispatcher]);
        // The state of a handler can panic when it is dropped.
        let remove = |dispatcher: &mut Box<dyn DatagramDispatcher>| {
            catch_unwind(AssertUnwindSafe(|| dispatcher.remove_banned())).unwrap_or(true)
        };
        let incomplete = dispatchers.map(remove).filter(|is_complete| !is_complete).count();
        self.watch_bans(changes, SEARCH_PAUSE, incomplete == 0);
    }

    fn start_finish_timeout(&self, timeout: Duration) -> Instant {
        let deadline = deadline_after(Instant::now(), timeout);
        self.events.push(DeadlineTimer::new(deadline).map(|()| LoopEvent::FinishDeadline).boxed());
        deadline
    }
}

/// Catches panics of a transport or framing, so that the socket task does not end.
fn poll_dispatcher(
    dispatcher: &mut dyn DatagramDispatcher,
    cx: &mut Context<'_>,
    state: LoopState,
) -> Result<bool, Panicked> {
    catch_unwind(AssertUnwindSafe(|| dispatcher.poll(cx, state))).map_err(|payload| Panicked::new(&*payload))
}
