//! Plays the client of a recorded [script](crate::script) against a handler in memory, and finds the first reply that
//! differs.
//!
//! Call it in tokio's paused time (`start_paused`): pauses of the script then take no time, and a run does not depend
//! on the speed of the machine. A handler that waits for something outside of the process, such as a database, needs
//! the real time.
//!
//! ```
//! use switchboard::framing::{AnyFraming, Lines};
//! use switchboard::prelude::*;
//! use switchboard::registry::HandlerInstance;
//! use switchboard::replay::Replay;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let shout = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message.to_ascii_uppercase())) });
//! let script = "switchboard script 1\nframing lines\n> \"one\"\n< \"ONE\"\n> \"two\"\n< \"two\"\n".parse().unwrap();
//! let replay = Replay::new(&script).framing(AnyFraming::new(Lines::default()));
//! let failure = replay.run(&HandlerInstance::new(shout)).await.unwrap().failure.unwrap();
//! assert_eq!(failure.what, "reply 2 differs at byte 0: expected \"t\", received \"T\"");
//! # }
//! ```

mod client;
mod minimise;
mod play;
mod watch;

use crate::close_reason::CloseReason;
use crate::error::Result;
use crate::framing::AnyFraming;
use crate::listener_spec::ListenerSpec;
use crate::registry::HandlerInstance;
use crate::script::Script;

/// A script to play.
#[derive(Debug, Clone)]
#[must_use = "a replay does nothing until it is run"]
pub struct Replay<'a> {
    script: &'a Script,
    framing: Option<AnyFraming>,
    spec: Option<ListenerSpec>,
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Messages that were sent.
    pub messages: usize,
    /// Replies that were compared and equal.
    pub replies: usize,
    /// The first difference. `None`: everything was as recorded, and the handler did not fail.
    pub failure: Option<ReplayFailure>,
}

/// The first difference of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayFailure {
    /// The index of the step of the script; `None` behind the last one.
    pub step: Option<usize>,
    /// The byte of the data of the step.
    pub byte: usize,
    /// Why the connection closed, if the handler failed.
    pub reason: Option<CloseReason>,
    /// A sentence without control characters.
    pub what: String,
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

    /// Starts the handler, plays the script and stops the handler.
    ///
    /// # Errors
    ///
    /// The handler cannot be started, or the script cannot be played: it contains a message that was recorded in part.
    pub async fn run(&self, handler: &HandlerInstance) -> Result<Replayed> {
        play::play(self, handler).await
    }

    /// The shortest script whose last message makes the handler fail in the same way. `handler` creates the handler of
    /// each run. `None` if the handler does not fail.
    ///
    /// Replies are not compared, because they can depend on the messages that are left out. Where a reply differs and
    /// the handler does not fail, the script ends with that reply.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), or the handler cannot be created.
    pub async fn minimise(&self, handler: impl FnMut() -> Result<HandlerInstance>) -> Result<Option<Script>> {
        minimise::minimise(self, handler).await
    }

    fn listener_spec(&self) -> Option<ListenerSpec> {
        self.spec.clone()
    }
}

/// Whether the handler has failed: a recording with this reason shows a defect, and a replay must not end like it.
fn is_defect(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Panic | CloseReason::HandlerError | CloseReason::MessageTimeout)
}
