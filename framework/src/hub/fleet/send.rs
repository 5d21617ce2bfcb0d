//! Sends the frames of this instance, and subscribes to the rooms with members here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::linked::Linked;
use super::message::Message;
use crate::fleet::{BusCommand, BusSender, LinkFailure};
use crate::hub::origins::Stamp;
use crate::hub::outgoing::{LinkEvent, LinkFrame};

/// Maximum commands that are sent together.
const MAX_COMMANDS: usize = 256;
/// Bytes of the frames that are sent together. One more frame can follow.
const MAX_BATCH: usize = 1 << 20;
/// Time between two messages that the instance exists.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Why a connection is used no longer.
pub(super) enum SendOutcome {
    Failed(LinkFailure),
    /// The handler has stopped, and all frames were sent.
    Sent,
}

/// Runs until an error. After a stop, until all frames are sent. `batch` keeps the frames without a reply, for the next
/// connection. If they fail again, they are lost, and the other instances notice it from the stamps.
pub(super) async fn run<T: Clone + Send + Sync + 'static>(
    linked: &Linked<'_, T>,
    sender: BusSender<'_>,
    batch: &mut Vec<LinkFrame<T>>,
    is_interrupted: bool,
    stop: &CancellationToken,
) -> SendOutcome {
    let mut sending = Sending { linked, sender, batch, announced: HashMap::new() };
    match sending.run(is_interrupted, stop).await {
        Ok(()) => SendOutcome::Sent,
        Err(failure) => SendOutcome::Failed(failure),
    }
}

struct Sending<'a, T: Clone + Send + Sync + 'static> {
    linked: &'a Linked<'a, T>,
    sender: BusSender<'a>,
    batch: &'a mut Vec<LinkFrame<T>>,
    /// The stamps that the other instances know.
    announced: HashMap<Arc<str>, Stamp>,
}

impl<T: Clone + Send + Sync + 'static> Sending<'_, T> {
    async fn run(&mut self, is_interrupted: bool, stop: &CancellationToken) -> Result<(), LinkFailure> {
        self.subscribe(is_interrupted).await?;
        let again = std::mem::take(self.batch);
        self.send_frames(&again).await?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                _ = heartbeat.tick() => {
                    self.beat(Message::Alive).await?;
                    continue;
                }
                event = self.linked.link.outgoing().next() => event,
                () = stop.cancelled() => return self.beat(Message::Ended).await, // no frame waits
            };
            self.send_with(event).await?;
        }
    }

    /// Subscribes to all rooms. What other instances have published before is lost.
    async fn subscribe(&mut self, is_interrupted: bool) -> Result<(), LinkFailure> {
        for rooms in self.linked.link.subscribed().chunks(MAX_COMMANDS) {
            let commands: Vec<_> =
                rooms.iter().map(|room| BusCommand::Subscribe(self.linked.channel_of(room))).collect();
            self.sender.send(&commands).await?;
        }
        if is_interrupted {
            self.linked.link.lost(None, 0);
            self.linked.state.lost(1);
        }
        Ok(())
    }

    /// Sends what is ready together with the first event.
    async fn send_with(&mut self, first: LinkEvent<T>) -> Result<(), LinkFailure> {
        let (mut commands, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(event) = next {
            commands.push(match event {
                LinkEvent::Subscribe(room) => BusCommand::Subscribe(self.linked.channel_of(&room)),
                LinkEvent::Unsubscribe(room) => BusCommand::Unsubscribe(self.linked.channel_of(&room)),
                LinkEvent::Publish(frame) => {
                    let command = self.publish(&frame);
                    if let BusCommand::Publish(_, payload) = &command {
                        bytes += payload.len();
                    }
                    self.batch.push(frame);
                    command
                }
            });
            let has_room = commands.len() < MAX_COMMANDS && bytes < MAX_BATCH;
            next = if has_room { self.linked.link.outgoing().try_next() } else { None };
        }
        let frames = self.batch.len();
        self.sender.send(&commands).await?;
        self.batch.clear();
        self.linked.state.sent(frames);
        Ok(())
    }

    async fn send_frames(&mut self, frames: &[LinkFrame<T>]) -> Result<(), LinkFailure> {
        if !frames.is_empty() {
            let commands: Vec<_> = frames.iter().map(|frame| self.publish(frame)).collect();
            self.sender.send(&commands).await?;
            self.linked.state.sent(frames.len());
        }
        Ok(())
    }

    fn publish(&self, LinkFrame { room, stamp, frame }: &LinkFrame<T>) -> BusCommand {
        let message = Message::Frame(*stamp, (self.linked.codec.encode)(frame));
        BusCommand::Publish(self.linked.channel_of(room), message.encode())
    }

    /// Sends the last stamps of the rooms, and a message about the instance. Nothing else is on its way.
    async fn beat(&mut self, message: fn(u64) -> Message) -> Result<(), LinkFailure> {
        let link = &self.linked.link;
        let dropped = link.outgoing().dropped();
        self.linked.state.lost(dropped - self.linked.dropped.swap(dropped, Relaxed));
        let stamps = link.stamps().into_iter();
        let new: Vec<_> = stamps.filter(|(room, stamp)| self.announced.get(room) != Some(stamp)).collect();
        for stamps in new.chunks(MAX_COMMANDS) {
            let message = |stamp: &Stamp| Message::Published(*stamp).encode();
            let publish =
                |(room, stamp): &(Arc<str>, Stamp)| BusCommand::Publish(self.linked.channel_of(room), message(stamp));
            let commands: Vec<_> = stamps.iter().map(publish).collect();
            self.sender.send(&commands).await?;
        }
        self.announced.retain(|_, known| known.epoch == link.epoch());
        self.announced.extend(new);
        let message = BusCommand::Publish(self.linked.channel.clone(), message(link.instance()).encode());
        self.sender.send(&[message, BusCommand::Check]).await
    }
}
