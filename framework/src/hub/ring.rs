//! The last frames of a room. All members read the same ring, each at its own position.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Maximum frames in one gap that a link reports; the number of a larger gap is unknown.
const MAX_MISSED: u64 = 1_000_000_000_000;

pub(super) struct Ring<T> {
    entries: VecDeque<Entry<T>>,
    /// The position of the first entry.
    start: Position,
    /// The position behind the last entry.
    end: Position,
}

enum Entry<T> {
    /// A frame, and the connection that does not get it.
    Frame(T, Option<u64>),
    /// Frames of other instances that have not arrived.
    Gap(Missed),
}

/// Totals since the room exists.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    pub(super) entries: u64,
    missed: Missed,
}

/// Frames that a member did not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) frames: u64,
    /// How often an unknown number of frames was missed.
    unknown: u64,
}

/// The place of a member in the ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    connection: u64,
    position: Position,
    /// Entries so far that exclude the member.
    excluded: u64,
}

pub(super) enum Read<T> {
    Frame(T),
    Gap(Missed),
    Empty,
}

impl Missed {
    /// 0: an unknown number. A number that no link can have counted is unknown too: the totals must not overflow.
    pub(super) fn new(frames: u64) -> Self {
        match frames {
            1..=MAX_MISSED => Self { frames, unknown: 0 },
            _ => Self { frames: 0, unknown: 1 },
        }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The number of frames; 0 if it is unknown.
    pub(super) fn number(self) -> u64 {
        if self.unknown > 0 { 0 } else { self.frames }
    }

    fn since(self, before: Self) -> Self {
        Self { frames: self.frames - before.frames, unknown: self.unknown - before.unknown }
    }
}

impl AddAssign for Missed {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.unknown += other.unknown;
    }
}

impl Position {
    /// Goes behind an entry. What is behind was missed by a member that has not read it.
    fn pass<T>(&mut self, entry: &Entry<T>) {
        self.entries += 1;
        self.missed += match entry {
            Entry::Frame(..) => Missed { frames: 1, unknown: 0 },
            Entry::Gap(missed) => *missed,
        };
    }
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), start: Position::default(), end: Position::default() }
    }
}

impl<T> Ring<T> {
    /// Adds a frame. Replaces the oldest entries above the limit.
    pub(super) fn push(&mut self, frame: T, except: Option<u64>, limit: usize) {
        self.add(Entry::Frame(frame, except), limit);
    }

    pub(super) fn push_gap(&mut self, missed: Missed, limit: usize) {
        self.add(Entry::Gap(missed), limit);
    }

    fn add(&mut self, entry: Entry<T>, limit: usize) {
        while self.entries.len() >= limit.max(1) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.start.pass(&oldest);
        }
        self.end.pass(&entry);
        self.entries.push_back(entry);
    }

    /// The number of the first entry.
    pub(super) fn start(&self) -> u64 {
        self.start.entries
    }

    /// The number of entries so far.
    pub(super) fn end(&self) -> u64 {
        self.end.entries
    }

    /// A cursor behind the last entry.
    pub(super) fn cursor(&self, connection: u64) -> Cursor {
        Cursor { connection, position: self.end, excluded: 0 }
    }
}

impl Cursor {
    pub(super) fn entries(&self) -> u64 {
        self.position.entries
    }

    /// What the ring does not have any more, and the number of lost frames that exclude the member.
    fn lost<T>(&self, ring: &Ring<T>, excluded: &AtomicU64) -> (Missed, u64) {
        let mut missed = ring.start.missed.since(self.position.missed);
        let is_own = |entry: &&Entry<T>| matches!(entry, Entry::Frame(_, Some(id)) if *id == self.connection);
        let kept = ring.entries.iter().filter(is_own).count() as u64;
        let own = excluded.load(SeqCst).saturating_sub(self.excluded + kept);
        missed.frames = missed.frames.saturating_sub(own);
        (missed, own)
    }

    /// Whether the member has lost frames that it has not read.
    pub(super) fn has_lost<T>(&self, ring: &Ring<T>, excluded: &AtomicU64) -> bool {
        self.position.entries < ring.start.entries && !self.lost(ring, excluded).0.is_none()
    }

    /// The next frame for the member before the entry `end`, or what it has missed. `excluded`: how many frames were
    /// published so far that exclude the member. They do not count as missed.
    pub(super) fn read<T: Clone>(&mut self, ring: &Ring<T>, end: u64, excluded: &AtomicU64) -> Read<T> {
        if self.position.entries >= end {
            return Read::Empty;
        }
        if self.position.entries < ring.start.entries {
            let (missed, own) = self.lost(ring, excluded);
            self.excluded += own;
            self.position = ring.start;
            if !missed.is_none() {
                return Read::Gap(missed);
            }
        }
        let index = |number: u64| usize::try_from(number - ring.start.entries).unwrap_or(usize::MAX);
        let end = end.clamp(self.position.entries, ring.end.entries);
        for entry in ring.entries.range(index(self.position.entries)..index(end)) {
            self.position.pass(entry);
            match entry {
                Entry::Frame(_, Some(id)) if *id == self.connection => self.excluded += 1,
                Entry::Frame(frame, _) => return Read::Frame(frame.clone()),
                Entry::Gap(missed) => return Read::Gap(*missed),
            }
        }
        Read::Empty
    }
}

#[cfg(test)]
mod tests;
