//! Shares the rooms of a hub with the other instances of a fleet.

use bytes::Bytes;

use crate::handler::{Background, StartContext};
use crate::hub::Hub;
use crate::hub::codec::Codec;
#[cfg(feature = "fleet")]
use crate::hub::fleet;

/// Maximum length of the name of a shared hub, in bytes.
const MAX_HUB_NAME: usize = 64;

/// Why a hub is not shared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The name is not valid.
    #[error("{0:?} is not the name of a hub; it has 1 to {MAX_HUB_NAME} letters, digits, \"_\" and \"-\"")]
    Name(String),
    /// The handler has shared another hub with this name.
    #[error("the handler shares two hubs with the name {0:?}; give each its own name")]
    Used(String),
}

impl Hub {
    /// Shares the rooms with the other instances of the fleet: what one instance publishes reaches the members on all
    /// of them. Call it in [`Handler::start`](crate::Handler::start). Without a [fleet](crate::fleet), it does nothing.
    ///
    /// Hubs are the same if their handlers have the same [name](StartContext::name) and call this with the same `name`.
    ///
    /// ```
    /// use switchboard::prelude::*;
    ///
    /// struct Lobby {
    ///     rooms: Hub,
    /// }
    ///
    /// impl Handler for Lobby {
    ///     type State = ();
    ///
    ///     async fn start(&self, cx: &StartContext) -> Result<()> {
    ///         self.rooms.share(cx, "rooms")?;
    ///         Ok(())
    ///     }
    ///
    ///     async fn message(&self, cx: &mut Context, line: Bytes) -> Result<Reply> {
    ///         self.rooms.join(cx, "lobby")?;
    ///         self.rooms.publish("lobby", line); // to the members on all instances
    ///         Ok(Reply::none())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The name is not valid, or the handler has used it for another hub.
    pub fn share(&self, cx: &StartContext, name: &str) -> Result<(), ShareError> {
        self.share_with(cx, name, Bytes::clone, Some)
    }
}

impl<T: Clone + Send + Sync + 'static> Hub<T> {
    /// Like [`share`](Hub::share), for frames of any type. `encode` makes the bytes that travel between the instances,
    /// and `decode` makes a frame of them, or `None` if they are no frame: members miss it.
    ///
    /// # Errors
    ///
    /// The name is not valid, or the handler has used it for another hub.
    pub fn share_with(
        &self,
        cx: &StartContext,
        name: &str,
        encode: impl Fn(&T) -> Bytes + Send + Sync + 'static,
        decode: impl Fn(Bytes) -> Option<T> + Send + Sync + 'static,
    ) -> Result<(), ShareError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=MAX_HUB_NAME).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(ShareError::Name(name.to_owned()));
        }
        let codec = Codec { encode: Box::new(encode), decode: Box::new(decode) };
        let task = self.table.shared(|| {
            let (link, fleets) = (format!("{}:{name}", cx.name()), cx.fleet());
            #[cfg(feature = "fleet")]
            return Background::spawn(|stop| fleet::run(self.clone(), codec, link, fleets, stop));
            #[cfg(not(feature = "fleet"))]
            return Background::spawn(|_| async move { drop((codec, link, fleets)) });
        });
        if cx.keep(name, task) { Ok(()) } else { Err(ShareError::Used(name.to_owned())) }
    }
}
