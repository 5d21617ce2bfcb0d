//! What is played, and by which listener.

use crate::framing::AnyFraming;
use crate::listener_spec::ListenerSpec;
use crate::script::Script;

/// A script to play.
#[derive(Debug, Clone)]
#[must_use = "a replay does nothing until it is run"]
pub struct Replay<'a> {
    pub(super) script: &'a Script,
    pub(super) framing: Option<AnyFraming>,
    pub(super) spec: Option<ListenerSpec>,
}

impl<'a> Replay<'a> {
    /// Plays this script. The listener has default settings.
    pub fn new(script: &'a Script) -> Self {
        Self { script, framing: None, spec: None }
    }

    /// Sets the framing of the script, for its messages and for the listener.
    pub fn framing(mut self, framing: AnyFraming) -> Self {
        self.framing = Some(framing);
        self
    }

    /// Sets the listener: its framing, layers, limits and timeouts. Its address, TLS, the PROXY header and the access
    /// list do not apply: the client connects in memory, with the address that was recorded.
    pub fn listener(mut self, spec: ListenerSpec) -> Self {
        self.spec = Some(spec);
        self
    }
}
