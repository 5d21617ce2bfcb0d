//! What the two halves of a connected hub have in common.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;

use crate::fleet::{Fleet, LinkState};
use crate::hub::Hub;
use crate::hub::codec::Codec;
use crate::hub::link::HubLink;
use crate::hub::table::LinkError;

pub(super) struct Linked<'a, T: Clone + Send + Sync + 'static> {
    pub(super) link: HubLink<T>,
    pub(super) codec: &'a Codec<T>,
    /// The name in logs and metrics.
    pub(super) name: &'a str,
    /// The channel of the hub.
    pub(super) channel: String,
    pub(super) state: LinkState,
    /// The frames in `state` that were dropped because too many waited.
    pub(super) dropped: AtomicU64,
}

impl<'a, T: Clone + Send + Sync + 'static> Linked<'a, T> {
    pub(super) fn new(hub: &Hub<T>, codec: &'a Codec<T>, name: &'a str, fleet: &Fleet) -> Result<Self, LinkError> {
        let link = hub.link(RandomState::new().hash_one(std::process::id()))?;
        let (channel, state) = (format!("hub:{name}"), fleet.add_link(name));
        Ok(Self { link, codec, name, channel, state, dropped: AtomicU64::new(0) })
    }

    /// The channel of a room.
    pub(super) fn channel_of(&self, room: &str) -> String {
        format!("{}:{room}", self.channel)
    }

    /// The room of a channel. `None` for the channel of the hub.
    pub(super) fn room_of<'c>(&self, channel: &'c str) -> Option<&'c str> {
        channel.strip_prefix(&*self.channel)?.strip_prefix(':')
    }
}
