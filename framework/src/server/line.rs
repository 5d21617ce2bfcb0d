//! One listener that runs: its socket, what is done with what comes, who is there, and how it stops.
//!
//! A reload replaces a line by one with other settings. What outlives that is shared by both: the socket's door, the roster,
//! the tasks.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Endpoint;
use crate::connection::ServeDatagrams;
use crate::drain::{DrainSwitch, Phase};
use crate::io::SharedSocket;
use crate::lock::lock;
use crate::metrics::Meters;
use crate::registry::{ConnectionService, Pipeline};
use crate::roster::{Gate, Handshakes, Kind, Lane, Order, Roster};
use crate::server::accept::{Door, keep_open};
use crate::server::bind::{Bound, Plug};
use crate::server::board::ListenerSpec;
use crate::server::window::Window;
use crate::transport::tls;

/// A listener that runs. Clones are the same one.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) spec: Arc<ListenerSpec>,
    /// Where it listens, with the port that the system chose.
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<tls::Server>,
    lane: Arc<Lane>,
    feed: Feed,
    socket: Arc<Slot>,
    retired: CancellationToken,
    pulse: mpsc::Sender<oneshot::Sender<()>>,
    crowd: Arc<Crowd>,
}

/// Who came to a listener, under whatever settings.
#[derive(Default)]
struct Crowd {
    switch: DrainSwitch,
    roster: Arc<Roster>,
    handshakes: Arc<Handshakes>,
    meters: Arc<Meters>,
    /// The accept loops.
    doors: TaskTracker,
    /// The tasks of datagram sockets.
    windows: TaskTracker,
    datagrams_cut: Arc<AtomicUsize>,
}

/// What is done with what comes from now on. The other side takes it up by itself.
#[derive(Clone)]
enum Feed {
    Stream(watch::Sender<Serving<ConnectionService>>),
    Datagram(watch::Sender<Serving<Arc<dyn ServeDatagrams>>>),
}

/// What is done with what comes, and under which settings.
#[derive(Clone)]
pub(super) struct Serving<S> {
    pub(super) lane: Arc<Lane>,
    pub(super) service: S,
    /// How long the handshakes of one client may take.
    pub(super) handshake: Duration,
    /// How long what was begun before a change has to finish.
    pub(super) patience: Duration,
}

/// Whether a listener is open, and then a handle to its socket, for whoever goes on listening on it.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Option<SharedSocket>>>);

impl Slot {
    /// It is open; not every transport has a socket to share.
    pub(super) fn fill(&self, socket: Option<SharedSocket>) {
        *lock(&self.0) = Some(socket);
    }

    /// The socket is closed when its listener closes it too.
    pub(super) fn clear(&self) {
        *lock(&self.0) = None;
    }

    fn is_open(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// One more handle.
    fn share(&self) -> Option<SharedSocket> {
        lock(&self.0).as_ref()?.as_ref()?.again()
    }
}

/// How many connections came so far, left, and were cut; and how many datagrams were cut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) entered: usize,
    pub(super) gone: usize,
    pub(super) cut: usize,
    pub(super) datagrams: usize,
}

impl Count {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            entered: self.entered + other.entered,
            gone: self.gone + other.gone,
            cut: self.cut + other.cut,
            datagrams: self.datagrams + other.datagrams,
        }
    }
}

impl Line {
    /// Begins to serve at a socket that is bound. It goes on counting where another of the same name has left off, if there is one.
    pub(super) fn start(spec: ListenerSpec, bound: Bound, patience: Duration, namesake: Option<&Self>) -> Self {
        let meters = namesake.map(|line| line.crowd.meters.clone()).unwrap_or_default();
        let crowd = Arc::new(Crowd { meters, ..Crowd::default() });
        Self::with(crowd, None, spec, bound, patience)
    }

    /// The same listener with another door: the one before it accepts no more, and whoever is there stays.
    pub(super) fn move_door(&self, spec: ListenerSpec, bound: Bound, patience: Duration) -> Self {
        let moved = Self::with(self.crowd.clone(), Some(&self.lane), spec, bound, patience);
        self.retire();
        moved
    }

    fn with(
        crowd: Arc<Crowd>,
        before: Option<&Lane>,
        spec: ListenerSpec,
        Bound { plug, endpoint, transport, tls, shared }: Bound,
        patience: Duration,
    ) -> Self {
        let lane = lane(&crowd, &spec, before);
        tracing::info!(listener = spec.name, address = %endpoint, "listening");
        let (socket, retired) = (Arc::new(Slot::default()), CancellationToken::new());
        let (pulse, asked) = mpsc::channel(1);
        socket.fill(shared);
        let handshake = spec.timeouts.handshake;
        let feed = match plug {
            Plug::Stream(listener, service) => {
                let (feed, serving) = watch::channel(Serving { lane: lane.clone(), service, handshake, patience });
                let (options, retired) = (spec.socket.clone(), retired.clone());
                let door = Door::new(serving, endpoint.clone(), options, retired, socket.clone(), asked);
                crowd.doors.spawn(keep_open(door, listener, transport));
                Feed::Stream(feed)
            }
            Plug::Datagram(datagrams, service) => {
                let (feed, serving) = watch::channel(Serving { lane: lane.clone(), service, handshake, patience });
                let window = Window::new(datagrams, serving, retired.clone(), crowd.datagrams_cut.clone(), asked);
                let socket = socket.clone();
                crowd.windows.spawn(async move {
                    window.keep_open().await;
                    socket.clear();
                });
                Feed::Datagram(feed)
            }
        };
        Self { spec: Arc::new(spec), endpoint, tls, lane, feed, socket, retired, pulse, crowd }
    }

    /// The same listener under other settings, from now on; without a pipeline with what it does now.
    pub(super) fn change(&self, spec: ListenerSpec, pipeline: Option<Pipeline>, patience: Duration) -> Self {
        let lane = lane(&self.crowd, &spec, Some(&self.lane));
        if spec.limits.connections_per_source > 0 {
            self.crowd.roster.count_all();
        }
        let handshake = spec.timeouts.handshake;
        match (&self.feed, pipeline.unwrap_or_else(|| self.pipeline())) {
            (Feed::Stream(feed), Pipeline { stream: Some(service), .. }) => {
                feed.send_replace(Serving { lane: lane.clone(), service, handshake, patience });
            }
            (Feed::Datagram(feed), Pipeline { datagram: Some(service), .. }) => {
                feed.send_replace(Serving { lane: lane.clone(), service, handshake, patience });
            }
            // The plan was checked; nothing else comes here.
            _ => {}
        }
        Self { spec: Arc::new(spec), lane, ..self.clone() }
    }

    /// What is done with what comes now.
    pub(super) fn pipeline(&self) -> Pipeline {
        match &self.feed {
            Feed::Stream(feed) => Pipeline { stream: Some(feed.borrow().service.clone()), datagram: None },
            Feed::Datagram(feed) => Pipeline { stream: None, datagram: Some(feed.borrow().service.clone()) },
        }
    }

    /// Whether it brings connections or datagrams.
    pub(super) fn kind(&self) -> Kind {
        match &self.feed {
            Feed::Stream(_) => Kind::Stream,
            Feed::Datagram(_) => Kind::Datagram,
        }
    }

    /// Accepts no more, and leaves those who wait to whoever listens on the same socket now.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it listens; not while it is being bound again, for one.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// Waits until the task that accepts or receives has gone round once more.
    pub(super) async fn answers(&self) {
        let (answer, answered) = oneshot::channel();
        if self.is_over() || (self.pulse.send(answer).await.is_ok() && answered.await.is_ok()) {
            return;
        }
        std::future::pending().await // it ended meanwhile, and whether that is well is for others to say
    }

    /// Whether nobody can come any more: its transport has run dry.
    pub(super) fn is_over(&self) -> bool {
        self.crowd.doors.is_empty() && self.crowd.windows.is_empty()
    }

    /// One more handle to its socket, while that is open.
    pub(super) fn share(&self) -> Option<SharedSocket> {
        self.socket.share()
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.crowd.roster
    }

    pub(super) fn meters(&self) -> &Arc<Meters> {
        &self.crowd.meters
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.crowd.roster.len()
    }

    pub(super) fn count(&self) -> Count {
        let Crowd { roster, datagrams_cut, .. } = &*self.crowd;
        let datagrams = datagrams_cut.load(SeqCst);
        Count { entered: roster.entered(), gone: roster.gone(), cut: roster.cut(), datagrams }
    }

    /// Whether both are the same listener, perhaps under different settings.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.crowd, &other.crowd)
    }

    /// How far its stop is.
    pub(super) fn phase(&self) -> Phase {
        self.lane.drain.phase()
    }

    /// Tells the tasks and connections how far the stop is. The listener closes, and before that takes in whom the system has
    /// let in.
    pub(super) fn advance(&self, phase: Phase) {
        self.crowd.switch.advance(phase);
    }

    /// Waits until the doors are closed and everybody who stood there is in.
    pub(super) async fn closed(&self) {
        self.crowd.doors.close();
        self.crowd.doors.wait().await;
    }

    /// Tells every open connection, and every one that comes later.
    pub(super) fn tell_all(&self, order: Order) {
        self.crowd.roster.tell_all(order);
    }

    /// Waits until nobody can come any more and nobody is there.
    pub(super) async fn ended(&self) {
        self.closed().await;
        self.crowd.windows.close();
        self.crowd.windows.wait().await;
        self.crowd.roster.empty().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.is_over() && self.open() == 0
    }
}

fn lane(crowd: &Crowd, spec: &ListenerSpec, before: Option<&Lane>) -> Arc<Lane> {
    let gate = Gate::new(&spec.limits, &spec.rates, spec.access.clone(), spec.proxy.clone());
    Arc::new(Lane {
        name: spec.name.as_str().into(),
        drain: crowd.switch.signal(),
        gate: match before {
            Some(before) => gate.after(&before.gate),
            None => gate,
        },
        roster: crowd.roster.clone(),
        handshakes: crowd.handshakes.clone(),
        meters: crowd.meters.clone(),
    })
}
