//! Keeps room in the send buffer of a Unix datagram socket for clients that read their replies. A client that has
//! connected its socket is exempt from `net.unix.max_dgram_qlen`, and its unread replies count against the buffer of
//! the sender.
//!
//! The kernel reports only the sum of the unread bytes. While it is small, every reply is sent. Above a quarter of
//! the buffer, replies are sent in rounds: at most one reply per peer. If the sum returns to its value before the
//! round, every peer of the round has read. Otherwise each of them gets its next reply in a round of its own. A
//! peer that does not read that one gets no reply until a pause has passed. The pause doubles each time. Above half
//! of the buffer, this peer is tested only if the reply replaces bytes that were read.
//!
//! A round delays the replies to all other peers. Peers that have read the reply of a round are therefore in rounds of
//! their own, and other peers get no replies while too many of their rounds fail: new sockets that do not read cannot
//! keep out those that do.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long the peers of a round have to read their replies.
const ROUND_TIME: Duration = Duration::from_millis(50);
/// Maximum peers of a round.
const ROUND_PEERS: usize = 64;
/// The pause of a peer that has not read its reply, doubled each time. Also the time between two tests of such peers:
/// a test delays the replies to other peers.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pause of a peer that does not read.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Maximum peers whose last reply was possibly not read. A peer that is forgotten is tested again.
const MAX_SUSPECTS: usize = 1024;
/// Maximum peers that are known to read. A peer that is forgotten is in the rounds of unknown peers.
const MAX_READERS: usize = 1024;
/// One round of unknown peers may fail in this time.
const TIME_PER_FAILURE: Duration = Duration::from_millis(250);
/// The time for which failures are allowed in advance: 20 of them.
const FAILURE_BURST: Duration = Duration::from_secs(5);

/// The send buffer of a socket, in bytes that include the overhead of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendBuffer {
    pub(super) unread: usize,
    pub(super) size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Send,
    /// Another round has to end first.
    Wait,
    /// The peer does not read its replies.
    Drop,
}

#[derive(Debug, Default)]
pub(super) struct UnreadReplies {
    /// Bytes that may be sent before the next measurement.
    unmeasured: usize,
    rounds: Option<Rounds>,
}

#[derive(Debug)]
struct Rounds {
    /// The unread bytes before the current round.
    unread_before: usize,
    /// The highest number of unread bytes between two rounds.
    peak: usize,
    peers: Vec<Arc<Path>>,
    /// Bytes that the current round may still add.
    room: usize,
    ends: Instant,
    /// Whether the current round tests one suspect.
    is_test: bool,
    /// Whether the peers of the current round are known to read.
    is_of_readers: bool,
    /// Peers that have read the reply of their last round.
    readers: HashSet<Arc<Path>>,
    /// Increased by [`TIME_PER_FAILURE`] for each failed round of unknown peers.
    failures_until: Instant,
    suspects: HashMap<Arc<Path>, Suspect>,
    /// When a peer that has failed before may be tested.
    next_test: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// It was a reader, and was not alone in the failed round.
    was_reader: bool,
    /// Tests in a row in which it has not read.
    failures: u32,
    next_test: Instant,
}

impl UnreadReplies {
    /// Whether a reply may be sent to a peer now. `measure` is called before each reply of a round, and otherwise once
    /// per sixteenth of the buffer. `None` from it means that the kernel cannot measure: every reply is sent.
    #[inline]
    pub(super) fn decide(
        &mut self,
        peer: &Path,
        bytes: usize,
        measure: impl FnOnce() -> Option<SendBuffer>,
    ) -> Decision {
        if self.unmeasured > 0 {
            return Decision::Send;
        }
        let Some(buffer) = measure() else { return Decision::Send };
        let starts_at = buffer.size / 4;
        // The lower bound for the end avoids that the last replies of a stalled peer start rounds again and again.
        if buffer.unread <= if self.rounds.is_some() { starts_at / 2 } else { starts_at } {
            (self.unmeasured, self.rounds) = (buffer.size / 16, None);
            return Decision::Send;
        }
        self.rounds.get_or_insert_with(|| Rounds::new(buffer)).decide(peer, charge(bytes), buffer)
    }

    /// Counts a reply that was sent.
    #[inline]
    pub(super) fn sent(&mut self, peer: &Arc<Path>, bytes: usize) {
        let charged = charge(bytes);
        self.unmeasured = self.unmeasured.saturating_sub(charged);
        if let Some(rounds) = &mut self.rounds {
            rounds.peers.push(peer.clone());
            rounds.room = rounds.room.saturating_sub(charged);
        }
    }
}

/// An upper bound of what the kernel charges for a datagram: its size is rounded up to a power of two.
fn charge(bytes: usize) -> usize {
    2 * bytes + 768
}

impl Rounds {
    fn new(buffer: SendBuffer) -> Self {
        Self {
            unread_before: buffer.unread,
            peak: buffer.unread,
            peers: Vec::new(),
            room: 0,
            ends: Instant::now(),
            is_test: false,
            is_of_readers: false,
            readers: HashSet::new(),
            failures_until: Instant::now(),
            suspects: HashMap::new(),
            next_test: Instant::now(),
        }
    }

    fn decide(&mut self, peer: &Path, charge: usize, buffer: SendBuffer) -> Decision {
        let now = Instant::now();
        self.end_round(buffer.unread, now);
        let suspect = self.suspects.get(peer).copied();
        let failed = suspect.filter(|suspect| suspect.failures > 0);
        let has_room = buffer.unread + charge <= self.peak.max(buffer.size / 2);
        if failed.is_some_and(|failed| now < failed.next_test.max(self.next_test) || !has_room) {
            return Decision::Drop;
        }
        let is_reader = self.readers.contains(peer);
        let is_unknown = !is_reader && !suspect.is_some_and(|suspect| suspect.was_reader);
        if is_unknown && self.failures_until > now + FAILURE_BURST {
            return Decision::Drop;
        }
        let (is_test, is_in_round) = (suspect.is_some(), self.peers.iter().any(|known| **known == *peer));
        let may_join = !is_test && !self.is_test && !is_in_round && is_reader == self.is_of_readers;
        if self.peers.is_empty() {
            (self.ends, self.room) = (now + ROUND_TIME, buffer.size / 16);
            (self.is_test, self.is_of_readers) = (is_test, is_reader);
        } else if !may_join || self.room == 0 || self.peers.len() >= ROUND_PEERS {
            return Decision::Wait;
        }
        if failed.is_some() {
            self.next_test = now + MIN_PAUSE;
        }
        Decision::Send
    }

    /// Ends the current round if every peer has read, or if its time has passed.
    fn end_round(&mut self, unread: usize, now: Instant) {
        if unread <= self.unread_before {
            for peer in self.peers.drain(..) {
                self.suspects.remove(&peer);
                if self.readers.len() >= MAX_READERS
                    && let Some(forgotten) = self.readers.iter().next().cloned()
                {
                    self.readers.remove(&forgotten);
                }
                self.readers.insert(peer);
            }
        } else if now >= self.ends {
            let has_failed = self.peers.len() == 1;
            if !self.is_of_readers {
                self.failures_until = self.failures_until.max(now) + TIME_PER_FAILURE;
            }
            for peer in std::mem::take(&mut self.peers) {
                self.suspect(peer, has_failed, now);
            }
        }
        if self.peers.is_empty() {
            self.unread_before = unread;
            self.peak = self.peak.max(unread);
        }
    }

    /// Suspects a peer of a round that was not read completely. If the peer was alone in it, it has failed.
    fn suspect(&mut self, peer: Arc<Path>, has_failed: bool, now: Instant) {
        if self.suspects.len() >= MAX_SUSPECTS
            && let Some(forgotten) = self.suspects.iter().min_by_key(|(_, suspect)| suspect.next_test)
        {
            let forgotten = forgotten.0.clone();
            self.suspects.remove(&forgotten);
        }
        let was_reader = self.readers.remove(&peer);
        let suspect = self.suspects.entry(peer).or_insert(Suspect { was_reader, failures: 0, next_test: now });
        if has_failed {
            suspect.was_reader = false;
            suspect.next_test = now + MIN_PAUSE.saturating_mul(1 << suspect.failures.min(16)).min(MAX_PAUSE);
            suspect.failures += 1;
        }
    }
}

#[cfg(test)]
mod tests;
