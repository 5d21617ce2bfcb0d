//! The bounded queue of frames pushed to one stream connection, with requests of the handler to the driver.
//!
//! Replies of the handler bypass the queue. Frames pushed before a reply are written before it. A source of frames has
//! one place in the queue, whatever number of frames it has.

mod source;
mod sourced;

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use once_cell::race::OnceBox;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::connection::Connection;

pub(crate) use source::{FrameSource, Gap, SourceError, Sourced};

/// A mark in the length of an outbox. The driver needs one comparison to know that a reply may be written at once, and
/// that nothing else is to be done.
#[repr(u32)]
enum Mark {
    /// A reply waits for an earlier one.
    HoldsReplies = 1 << 31,
    /// A task has requested to finish the connection.
    Finishes = 1 << 30,
    /// The handler has changed a timeout.
    ChangesTimeouts = 1 << 29,
    /// Further frames are rejected.
    Closed = 1 << 28,
    /// The first source has a gap. Nothing is taken from the queue until the handler was called.
    Gap = 1 << 27,
}

/// Maximum frames in an outbox, whatever `limits.outbox` is. Below the marks, together with the sources.
const MAX_LIMIT: u32 = 100_000_000;

/// A mark in an idle timeout.
#[repr(u64)]
enum IdleMark {
    /// Only input restarts it.
    InputOnly = 1 << 62,
}

/// The timeouts that the handler has changed.
#[derive(Clone, Copy)]
pub(crate) struct ChangedTimeouts {
    /// The idle timeout, and whether output restarts it.
    pub(crate) idle: Option<(Duration, bool)>,
    pub(crate) frame: Option<Duration>,
}

impl Mark {
    fn all() -> u32 {
        [Self::HoldsReplies, Self::Finishes, Self::ChangesTimeouts, Self::Closed, Self::Gap]
            .into_iter()
            .fold(0, |all, mark| all | mark as u32)
    }
}

/// The queue of one stream connection. It allocates nothing before the first frame or changed timeout.
///
/// The number of queued frames, with marks, is [`Connection::outbox_len`]: a driver reads it before each reply, next to
/// the control signal.
pub(crate) struct Outbox<Out> {
    connection: Connection,
    limit: u32,
    queue: OnceBox<Queue<Out>>,
}

struct Queue<Out> {
    entries: Mutex<Entries<Out>>,
    permits: Semaphore,
    /// `timeouts.idle` and `timeouts.frame` in milliseconds, if the handler has changed them; otherwise the maximum.
    /// An idle timeout can have an [`IdleMark`].
    idle: AtomicU64,
    frame: AtomicU64,
}

struct Entries<Out> {
    queue: VecDeque<Entry<Out>>,
    /// All sources, also those that are not in the queue.
    sources: Option<Box<Sources<Out>>>,
}

struct Sources<Out>(Vec<Arc<dyn FrameSource<Out>>>);

impl<Out> Default for Sources<Out> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

enum Entry<Out> {
    Frame(Out),
    Source(Arc<dyn FrameSource<Out>>),
}

/// Whether a reply may be written at once: no frame is queued, and no reply waits for an earlier one.
#[inline]
pub(crate) fn is_clear(connection: &Connection) -> bool {
    connection.outbox_len().load(SeqCst) == 0
}

impl<Out> Outbox<Out> {
    pub(crate) fn new(limit: usize, connection: Connection) -> Self {
        let limit = u32::try_from(limit).map_or(MAX_LIMIT, |limit| limit.clamp(1, MAX_LIMIT));
        Self { connection, limit, queue: OnceBox::new() }
    }

    fn queue(&self) -> &Queue<Out> {
        self.queue.get_or_init(|| {
            Box::new(Queue {
                entries: Mutex::new(Entries { queue: VecDeque::new(), sources: None }),
                permits: Semaphore::new(self.limit as usize),
                idle: AtomicU64::new(u64::MAX),
                frame: AtomicU64::new(u64::MAX),
            })
        })
    }

    /// One permit for each frame that can be queued.
    pub(crate) fn permits(&self) -> &Semaphore {
        let permits = &self.queue().permits;
        // `close` has not found permits that did not exist.
        if self.marked_len() & Mark::Closed as u32 != 0 {
            permits.close();
        }
        permits
    }

    pub(crate) fn push(&self, frame: Out) {
        self.push_last(frame);
        self.connection.wake();
    }

    pub(crate) fn len(&self) -> usize {
        (self.marked_len() & !Mark::all()) as usize
    }

    fn marked_len(&self) -> u32 {
        self.connection.outbox_len().load(SeqCst)
    }

    fn set(&self, mark: Mark) {
        self.connection.outbox_len().fetch_or(mark as u32, SeqCst);
    }

    fn clear(&self, mark: Mark) {
        self.connection.outbox_len().fetch_and(!(mark as u32), SeqCst);
    }

    /// Sets whether replies wait for earlier ones. For the driver of the connection only.
    pub(crate) fn set_holds_replies(&self, holds: bool) {
        if holds { self.set(Mark::HoldsReplies) } else { self.clear(Mark::HoldsReplies) }
    }

    /// Whether a task has requested to finish the connection.
    pub(crate) fn finishes(&self) -> bool {
        self.marked_len() & Mark::Finishes as u32 != 0
    }

    fn set_timeout(&self, timeout: &AtomicU64, time: Duration, mark: u64) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        timeout.store(millis.min(IdleMark::InputOnly as u64 - 1) | mark, SeqCst);
        self.set(Mark::ChangesTimeouts);
    }

    pub(crate) fn set_idle_timeout(&self, time: Duration) {
        self.set_timeout(&self.queue().idle, time, 0);
    }

    pub(crate) fn set_input_timeout(&self, time: Duration) {
        self.set_timeout(&self.queue().idle, time, IdleMark::InputOnly as u64);
    }

    pub(crate) fn set_frame_timeout(&self, time: Duration) {
        self.set_timeout(&self.queue().frame, time, 0);
    }

    /// Rejects further frames, and requests the driver to finish the connection.
    pub(crate) fn finish(&self) {
        self.close();
        self.set(Mark::Finishes);
    }

    /// The timeouts that the handler has changed, after a change since the last call.
    pub(crate) fn take_timeouts(&self) -> Option<ChangedTimeouts> {
        if self.marked_len() & Mark::ChangesTimeouts as u32 == 0 {
            return None;
        }
        self.clear(Mark::ChangesTimeouts);
        let changed = |timeout: &AtomicU64| Some(timeout.load(SeqCst)).filter(|millis| *millis != u64::MAX);
        let Queue { idle, frame, .. } = self.queue();
        let idle = changed(idle).map(|millis| {
            let mark = millis & IdleMark::InputOnly as u64;
            (Duration::from_millis(millis - mark), mark == 0)
        });
        Some(ChangedTimeouts { idle, frame: changed(frame).map(Duration::from_millis) })
    }

    /// Queues a frame behind all others, even if the outbox is full or closed.
    pub(crate) fn push_last(&self, frame: Out) {
        self.push_entry(Entry::Frame(frame));
    }

    fn push_entry(&self, entry: Entry<Out>) {
        self.queue().entries.lock().queue.push_back(entry);
        self.connection.outbox_len().fetch_add(1, SeqCst);
    }

    /// The next frame. `None`: there is no frame, or the handler must be called for a gap first.
    pub(crate) fn pop(&self) -> Option<Out> {
        while self.len() > 0 {
            let queue = self.queue();
            let mut entries = queue.entries.lock();
            let source = match entries.queue.front()? {
                Entry::Source(source) => source.clone(),
                Entry::Frame(_) => {
                    let Some(Entry::Frame(frame)) = entries.queue.pop_front() else { return None };
                    drop(entries);
                    self.connection.outbox_len().fetch_sub(1, SeqCst);
                    queue.permits.add_permits(1);
                    return Some(frame);
                }
            };
            drop(entries);
            match self.pop_sourced(source) {
                Sourced::Frame(frame) => return Some(frame),
                Sourced::Gap | Sourced::Later => return None,
                Sourced::Empty => {}
            }
        }
        None
    }

    /// Drops the queued frames after the connection has closed.
    pub(crate) fn drop_frames(&self) {
        if let Some(queue) = self.queue.get() {
            let entries = take(&mut queue.entries.lock().queue);
            drop(entries); // without the lock: a frame can have a destructor of the application
        }
    }

    /// Rejects further frames, and ends all sources.
    pub(crate) fn close(&self) {
        self.set(Mark::Closed);
        let Some(queue) = self.queue.get() else { return };
        queue.permits.close();
        let sources = take(&mut queue.entries.lock().sources);
        for source in sources.into_iter().flat_map(|sources| sources.0) {
            if source.close() {
                self.push_source(source);
            }
        }
    }
}
