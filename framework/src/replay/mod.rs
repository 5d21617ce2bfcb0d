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
mod expect;
mod minimise;
mod options;
mod outcome;
mod play;
mod watch;

pub use options::Replay;
pub use outcome::{ReplayFailure, Replayed};
