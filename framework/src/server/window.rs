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

use crate::connection::{DatagramDesk, ServeDatagrams, Stage};
use crate::io::DatagramSocket;
use crate::layer::Panicked;
use crate::server::line::Serving;
use crate::spec::after;

/// So many replaced ones may be finishing at once; one more, and the oldest is cut.
const FINISHING: usize = 8;
/// Pauses before a socket is served again after what served it has panicked, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Feed = watch::Receiver<Serving<Arc<dyn ServeDatagrams>>>;

/// Serves the datagrams of one socket.
pub(super) struct Window {
    socket: Arc<dyn DatagramSocket>,
    feed: Feed,
    serving: Serving<Arc<dyn ServeDatagrams>>,
    desk: Box<dyn DatagramDesk>,
    stage: Stage,
    /// Until when it may finish, once it receives no more.
    until: Option<Instant>,
    /// Those that were replaced, and until when each may finish.
    finishing: VecDeque<(Instant, Box<dyn DatagramDesk>)>,
    news: FuturesUnordered<Pin<Box<dyn Future<Output = News> + Send>>>,
    /// Messages that came and were cut.
    cut: Arc<AtomicUsize>,
}

/// What happens seldom.
enum News {
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

impl Window {
    pub(super) fn new(
        socket: Arc<dyn DatagramSocket>,
        mut feed: Feed,
        retired: CancellationToken,
        cut: Arc<AtomicUsize>,
        pulse: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        let serving = feed.borrow_and_update().clone();
        let desk = serving.service.open(socket.clone(), serving.lane.clone());
        let mut drain = serving.lane.drain.clone();
        let news = FuturesUnordered::new();
        news.push(async move { retired.cancelled().await }.map(|()| News::Retired).boxed());
        news.push(async move { drain.draining().await }.map(|()| News::Draining).boxed());
        let window = Self {
            socket,
            feed,
            serving,
            desk,
            stage: Stage::Open,
            until: None,
            finishing: VecDeque::new(),
            news,
            cut,
        };
        window.watch_feed();
        window.watch_pulse(pulse);
        window
    }

    /// Serves until the listener drains or is replaced, and everything is answered, or until it is cut.
    pub(super) async fn keep_open(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                News::Changed => self.change(),
                News::Asked(pulse) => self.watch_pulse(pulse),
                News::Retired => {
                    self.stage = Stage::Closed;
                    self.until = Some(self.time_is_up_after(self.serving.patience));
                }
                News::Draining => {
                    if self.stage == Stage::Open {
                        self.stage = Stage::LastCall;
                    }
                    self.watch_cut();
                }
                News::TimeIsUp if self.until.is_none_or(|until| Instant::now() < until) => self.cut_late(),
                News::Cutting | News::TimeIsUp | News::Done => break,
                News::Broken(panicked) => {
                    let (listener, error) = (&*self.serving.lane.name, panicked.to_string());
                    tracing::error!(listener, error, "a listener is broken");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    self.cut.fetch_add(self.desk.in_hand(), SeqCst);
                    self.desk = self.serving.service.open(self.socket.clone(), self.serving.lane.clone());
                }
            }
        }
        let left = self.finishing.iter().map(|(_, desk)| desk).chain([&self.desk]);
        self.cut.fetch_add(left.map(|desk| desk.in_hand()).sum(), SeqCst);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if let Poll::Ready(Some(news)) = self.news.poll_next_unpin(cx) {
            return Poll::Ready(news);
        }
        let cut = &self.cut;
        self.finishing.retain_mut(|(_, desk)| {
            let has_finished = round(&mut **desk, cx, Stage::Closed).unwrap_or_else(|_| {
                cut.fetch_add(desk.in_hand(), SeqCst);
                true
            });
            !has_finished
        });
        match round(&mut *self.desk, cx, self.stage) {
            Ok(has_finished) if has_finished && self.finishing.is_empty() => Poll::Ready(News::Done),
            Ok(_) => Poll::Pending,
            Err(panicked) => Poll::Ready(News::Broken(panicked)),
        }
    }

    /// Serves by what serves from now on.
    fn change(&mut self) {
        let now = self.feed.borrow_and_update().clone();
        self.watch_feed();
        let is_same = Arc::ptr_eq(&self.serving.service, &now.service);
        if is_same {
            self.desk.move_to(now.lane.clone());
        } else {
            let fresh = now.service.open(self.socket.clone(), now.lane.clone());
            let replaced = std::mem::replace(&mut self.desk, fresh);
            self.finishing.push_back((self.time_is_up_after(now.patience), replaced));
            if self.finishing.len() > FINISHING {
                self.cut_oldest();
            }
        }
        self.serving = now;
    }

    fn cut_late(&mut self) {
        let now = Instant::now();
        while self.finishing.front().is_some_and(|(until, _)| *until <= now) {
            self.cut_oldest();
        }
    }

    fn cut_oldest(&mut self) {
        if let Some((_, desk)) = self.finishing.pop_front() {
            self.cut.fetch_add(desk.in_hand(), SeqCst);
        }
    }

    fn watch_feed(&self) {
        let mut feed = self.feed.clone();
        let changed = async move {
            if feed.changed().await.is_err() {
                std::future::pending::<()>().await; // the listener is gone, and nobody will change it any more
            }
        };
        self.news.push(changed.map(|()| News::Changed).boxed());
    }

    fn watch_pulse(&self, mut pulse: mpsc::Receiver<oneshot::Sender<()>>) {
        let asked = async move {
            match pulse.recv().await {
                Some(answer) => drop(answer.send(())), // whoever asked may have given up
                None => std::future::pending().await,
            }
            News::Asked(pulse)
        };
        self.news.push(asked.boxed());
    }

    fn watch_cut(&self) {
        let mut drain = self.serving.lane.drain.clone();
        self.news.push(async move { drain.cutting().await }.map(|()| News::Cutting).boxed());
    }

    fn time_is_up_after(&self, patience: Duration) -> Instant {
        let until = after(Instant::now(), patience);
        self.news.push(tokio::time::sleep_until(until).map(|()| News::TimeIsUp).boxed());
        until
    }
}

/// Not even a transport that panics closes the window in silence.
fn round(desk: &mut dyn DatagramDesk, cx: &mut Context<'_>, stage: Stage) -> Result<bool, Panicked> {
    catch_unwind(AssertUnwindSafe(|| desk.poll(cx, stage))).map_err(|payload| Panicked::new(&*payload))
}
