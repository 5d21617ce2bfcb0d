//! The datagram peers of one socket that have later replies.
//!
//! While a peer has later replies, its handler calls are here and not in the peer table. The path of other peers
//! therefore needs no check.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use crate::driver::later::{Done, PendingReplies, WorkInfo};
use crate::error::Result;
use crate::handler::Then;
use crate::settings::Limits;

pub(crate) type FrameStream<Out> = Pin<Box<dyn Stream<Item = Result<Out>> + Send>>;

/// The peers of one socket that have later replies, by their key in the peer table.
pub(crate) struct LaterPeers<C, Out> {
    peers: HashMap<usize, LaterPeer<C, Out>>,
    next_number: u64,
}

pub(crate) struct LaterPeer<C, Out> {
    pub(crate) id: PeerId,
    pub(crate) replies: PendingReplies<Out>,
    /// The handler calls, while no call is in progress.
    pub(crate) calls: Option<Box<C>>,
    /// A reply of a stream of frames is being sent: the other replies wait.
    pub(crate) streams: bool,
    pub(crate) end: Ending,
    /// Cancelled when the peer is removed: drops the futures of its replies.
    pub(crate) removed: CancellationToken,
}

impl<C, Out> LaterPeer<C, Out> {
    /// Messages whose replies are not sent.
    pub(crate) fn unanswered(&self) -> usize {
        self.replies.unanswered() + usize::from(self.streams)
    }
}

impl<C, Out> Drop for LaterPeer<C, Out> {
    fn drop(&mut self) {
        self.removed.cancel();
    }
}

/// Whether a reply ends the exchange with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// A reply in progress ends it: no further message is handled.
    WithReply,
    /// It has ended. The peer is removed when the call in progress, which refers to the peer, returns.
    AfterCall,
}

/// Identifies a peer while it has later replies: another peer can get the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerId {
    pub(crate) key: usize,
    number: u64,
}

/// A later reply that is ready, or its next frame.
pub(crate) enum LaterResult<Out> {
    Reply(Done<Out>),
    Frame { frames: FrameStream<Out>, next: Option<Result<Out>>, then: Then, message: WorkInfo },
}

impl<C, Out> Default for LaterPeers<C, Out> {
    fn default() -> Self {
        Self { peers: HashMap::new(), next_number: 0 }
    }
}

impl<C, Out> LaterPeers<C, Out> {
    /// Takes the handler calls of a peer that may handle another message.
    pub(crate) fn take_calls(&mut self, key: usize, limits: &Limits) -> Option<Box<C>> {
        let peer = self.peers.get_mut(&key)?;
        if peer.end != Ending::No || peer.replies.is_full(limits) { None } else { peer.calls.take() }
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.peers.contains_key(&key)
    }

    /// Whether a peer has later replies and no call in progress.
    pub(crate) fn is_idle(&self, key: usize) -> bool {
        self.peers.get(&key).is_some_and(|peer| peer.calls.is_some())
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<LaterPeer<C, Out>> {
        self.peers.remove(&key)
    }

    pub(crate) fn get_or_insert(&mut self, key: usize) -> &mut LaterPeer<C, Out> {
        let next_number = &mut self.next_number;
        self.peers.entry(key).or_insert_with(|| {
            *next_number += 1;
            let id = PeerId { key, number: *next_number };
            let (replies, removed) = (PendingReplies::default(), CancellationToken::new());
            LaterPeer { id, replies, calls: None, streams: false, end: Ending::No, removed }
        })
    }

    pub(crate) fn get(&mut self, id: PeerId) -> Option<&mut LaterPeer<C, Out>> {
        self.peers.get_mut(&id.key).filter(|peer| peer.id == id)
    }
}
