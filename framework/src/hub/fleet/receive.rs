//! Delivers the frames of the other instances, and notices instances that are gone.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::linked::Linked;
use super::message::Message;
use super::peers::Peers;
use crate::fleet::{BusMessage, BusReceiver};

/// Time between two searches for instances that are gone.
const SEARCH: Duration = Duration::from_secs(1);
/// After a longer time without a search, this process was paused, and messages wait.
const PAUSED: Duration = Duration::from_secs(3);

/// Runs until the connection ends.
pub(super) async fn run<T: Clone + Send + Sync + 'static>(
    linked: &Linked<'_, T>,
    mut receiver: BusReceiver,
    peers: &mut Peers,
) {
    peers.connected();
    let mut search = interval(SEARCH);
    search.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut searched = Instant::now();
    loop {
        tokio::select! {
            message = receiver.next() => match message {
                Some(BusMessage { channel, payload }) => deliver(linked, peers, linked.room_of(&channel), payload),
                None => return,
            },
            _ = search.tick() => {
                let was_paused = std::mem::replace(&mut searched, Instant::now()).elapsed() > PAUSED;
                if was_paused { peers.connected() } else { find_missing(linked, peers) }
            }
        }
        if receiver.has_dropped() {
            linked.link.lost(None, 0);
            linked.state.lost(1);
        }
    }
}

fn deliver<T: Clone + Send + Sync + 'static>(
    Linked { link, codec, state, .. }: &Linked<'_, T>,
    peers: &mut Peers,
    room: Option<&str>,
    payload: Bytes,
) {
    let Some(message) = Message::decode(payload) else { return };
    let instance = message.instance();
    if instance == link.instance() {
        return;
    }
    peers.seen(instance);
    match (message, room) {
        (Message::Frame(stamp, bytes), Some(room)) => {
            state.received(1);
            match (codec.decode)(bytes) {
                Some(frame) => link.deliver(room, stamp, frame),
                None => link.published(room, stamp), // it is missing
            }
        }
        (Message::Published(stamp), Some(room)) => link.published(room, stamp),
        (Message::Ended(_), _) => {
            peers.ended(instance);
            link.ended(instance);
        }
        _ => {}
    }
}

fn find_missing<T: Clone + Send + Sync + 'static>(linked: &Linked<'_, T>, peers: &mut Peers) {
    let missing = peers.missing();
    for instance in missing.silent {
        linked.link.silent(instance);
        linked.state.lost(1);
    }
    missing.ended.into_iter().for_each(|instance| linked.link.ended(instance));
}
