//! How the frames of a hub travel between instances.

use bytes::Bytes;

#[cfg_attr(not(feature = "fleet"), expect(dead_code, reason = "without the feature, no hub is linked"))]
pub(super) struct Codec<T> {
    pub(super) encode: Box<dyn Fn(&T) -> Bytes + Send + Sync>,
    /// `None`: not a frame of this hub.
    pub(super) decode: Box<dyn Fn(Bytes) -> Option<T> + Send + Sync>,
}
