//! A connection in a room: a source of frames in its outbox.

use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::connection::Connection;
use crate::hub::ring::{Cursor, Missed, Read};
use crate::hub::room::{Room, RoomMember};
use crate::hub::table::RoomTable;
use crate::outbox::{FrameSource, Gap, Outbox, SourceError, Sourced};
use crate::push_queue::Pusher;

/// Frames in a row that the view of a member may reject before other tasks get a turn, and frames that are pushed to a
/// datagram peer per turn.
const FRAMES_PER_TURN: usize = 32;

/// Where a member ends, if not at an entry of the ring.
#[repr(u64)]
enum EndMark {
    /// The membership continues.
    Open = u64::MAX,
    /// The connection has left the room, and gets no further frame.
    Left = 0,
}

/// `View` makes the frame of the connection from a frame of the hub; `None` skips it.
pub(super) struct Member<T, Out, View> {
    table: Arc<RoomTable<T>>,
    room: Arc<Room<T>>,
    connection: Connection,
    target: Target<Out>,
    /// Frames so far that exclude the member.
    excluded: AtomicU64,
    /// The entries of the ring that the member has passed.
    position: AtomicU64,
    /// The outbox has a place of the member.
    is_offered: AtomicBool,
    /// The member gets no entry from this one on: its membership has ended, or an [`EndMark`].
    end: AtomicU64,
    /// Only the driver locks it. A view can end memberships while it is locked.
    reader: Mutex<Reader<View>>,
}

enum Target<Out> {
    /// Weak, because the outbox keeps the member.
    Stream(Weak<Outbox<Out>>),
    Datagram(Box<(Pusher<Out>, RoomOfPeer)>),
}

/// Counts the rooms of a datagram peer. The outbox of a stream counts its sources.
#[derive(Clone, Default)]
struct RoomOfPeer(Arc<()>);

impl RoomOfPeer {
    fn of(connection: &Connection) -> Self {
        connection.extensions().get().unwrap_or_else(|| {
            let first = Self::default();
            connection.extensions().insert(first.clone());
            first
        })
    }

    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

struct Reader<View> {
    cursor: Cursor,
    view: View,
    /// What the next call of the handler for a gap reports.
    gap: Missed,
}

impl<T, Out, View> Member<T, Out, View>
where
    T: Clone + Send + Sync + 'static,
    Out: Send + 'static,
    View: FnMut(T) -> Option<Out> + Send + 'static,
{
    pub(super) fn new(
        table: Arc<RoomTable<T>>,
        room: Arc<Room<T>>,
        cursor: Cursor,
        pusher: Pusher<Out>,
        view: View,
    ) -> Self {
        Self {
            table,
            room,
            connection: pusher.connection().clone(),
            target: match pusher.outbox() {
                Some(outbox) => Target::Stream(Arc::downgrade(outbox)),
                None => {
                    let room = RoomOfPeer::of(pusher.connection());
                    Target::Datagram(Box::new((pusher, room)))
                }
            },
            excluded: AtomicU64::new(0),
            position: AtomicU64::new(cursor.entries()),
            is_offered: AtomicBool::new(false),
            end: AtomicU64::new(EndMark::Open as u64),
            reader: Mutex::new(Reader { cursor, view, gap: Missed::default() }),
        }
    }

    /// Lets the outbox of a stream keep the member until the connection ends.
    pub(super) fn attach(self: &Arc<Self>, limit: usize) -> Result<(), SourceError> {
        match &self.target {
            Target::Stream(outbox) => outbox.upgrade().ok_or(SourceError::Closed)?.add_source(self.clone(), limit),
            Target::Datagram(_) if self.connection.close_reason().is_some() => Err(SourceError::Closed),
            Target::Datagram(peer) if peer.1.count() > limit => Err(SourceError::Full),
            Target::Datagram(_) => Ok(()),
        }
    }

    /// Reads the next frame of the member. At most `limit` frames are skipped.
    fn read(&self, reader: &mut Reader<View>, limit: usize) -> Sourced<Out> {
        for _ in 0..limit {
            let end = self.end.load(SeqCst);
            if end == EndMark::Left as u64 {
                return Sourced::Empty;
            }
            if !reader.gap.is_none() {
                return Sourced::Gap;
            }
            let read = self.room.read(&mut reader.cursor, end, &self.excluded);
            self.position.store(reader.cursor.entries(), SeqCst);
            match read {
                Read::Empty => return Sourced::Empty,
                Read::Frame(frame) => {
                    if let Some(frame) = (reader.view)(frame) {
                        return Sourced::Frame(frame);
                    }
                }
                Read::Gap(missed) => {
                    self.table.dropped.fetch_add(missed.number(), Relaxed);
                    reader.gap += missed;
                }
            }
        }
        Sourced::Later
    }

    fn has_frames(&self) -> bool {
        self.room.window().1.min(self.end.load(SeqCst)) > self.position.load(SeqCst)
    }

    /// Ends the membership of a connection that has ended.
    fn remove(&self) -> bool {
        self.table.remove(&self.room.name, self.connection.id());
        false
    }

    /// Pushes frames to a datagram peer. True if more frames wait.
    fn push(&self, pusher: &Pusher<Out>) -> bool {
        let reader = &mut *self.reader.lock();
        for _ in 0..FRAMES_PER_TURN {
            match self.read(reader, 1) {
                Sourced::Empty => return false,
                Sourced::Later => {}
                // Datagrams can be lost anyway: the handler is not called.
                Sourced::Gap => reader.gap = Missed::default(),
                Sourced::Frame(frame) => {
                    if pusher.try_push(frame).is_err() {
                        self.table.dropped.fetch_add(1, Relaxed);
                    }
                }
            }
        }
        true
    }
}

impl<T, Out, View> RoomMember for Member<T, Out, View>
where
    T: Clone + Send + Sync + 'static,
    Out: Send + 'static,
    View: FnMut(T) -> Option<Out> + Send + 'static,
{
    fn offer(self: Arc<Self>, start: u64, end: u64) -> bool {
        let position = self.position.load(SeqCst);
        if position >= end {
            return false;
        }
        match &self.target {
            Target::Stream(outbox) => {
                let Some(outbox) = outbox.upgrade() else { return self.remove() };
                if !self.is_offered.swap(true, SeqCst) {
                    outbox.push_source(self.clone());
                } else if position < start && self.table.limits.closes_slow.load(Relaxed) {
                    self.connection.wake(); // the driver asks whether the member is too slow
                }
                false
            }
            // The view runs here, in the task of the hub, which must survive its panic.
            Target::Datagram(peer) => match catch_unwind(AssertUnwindSafe(|| self.push(&peer.0))) {
                Ok(has_more) if self.connection.close_reason().is_none() => has_more,
                _ => self.remove(),
            },
        }
    }

    fn excluded(&self) -> &AtomicU64 {
        &self.excluded
    }

    fn leave(&self) {
        self.end.store(EndMark::Left as u64, SeqCst);
    }

    fn finish(self: Arc<Self>, end: u64) {
        self.end.store(end, SeqCst);
        match &self.target {
            Target::Datagram(peer) => while self.push(&peer.0) {},
            Target::Stream(outbox) => {
                if self.has_frames()
                    && let Some(outbox) = outbox.upgrade()
                    && !self.is_offered.swap(true, SeqCst)
                {
                    outbox.push_source(self.clone());
                }
            }
        }
    }
}

impl<T, Out, View> FrameSource<Out> for Member<T, Out, View>
where
    T: Clone + Send + Sync + 'static,
    Out: Send + 'static,
    View: FnMut(T) -> Option<Out> + Send + 'static,
{
    fn next(&self) -> Sourced<Out> {
        self.read(&mut self.reader.lock(), FRAMES_PER_TURN)
    }

    fn take_gap(&self) -> Option<Gap> {
        let missed = take(&mut self.reader.lock().gap);
        (!missed.is_none()).then(|| Gap { room: self.room.name.clone(), missed: missed.number() })
    }

    fn is_too_slow(&self) -> bool {
        let is_slow = self.table.limits.closes_slow.load(Relaxed)
            && !self.has_ended()
            && self.room.has_lost(&self.reader.lock().cursor, &self.excluded);
        self.table.closed.fetch_add(u64::from(is_slow), Relaxed);
        is_slow
    }

    fn removed(&self) -> bool {
        self.is_offered.store(false, SeqCst);
        // A frame that was published before this line found the place taken.
        self.has_frames() && !self.is_offered.swap(true, SeqCst)
    }

    fn close(&self) -> bool {
        if self.has_ended() {
            return false;
        }
        self.remove();
        self.end.store(self.room.window().1, SeqCst);
        self.has_frames() && !self.is_offered.swap(true, SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.end.load(SeqCst) != EndMark::Open as u64
    }
}
