//! The flight recorder: the last messages of each connection in a bounded memory, written as a
//! [script](crate::script) when a connection closes for a selected reason, or on demand.
//!
//! A message is recorded after TLS, the PROXY header and the framing, in both directions. Set a [`Recorder`] for each
//! listener: [`ListenerSpec::recorder`](crate::server::ListenerSpec::recorder). Without one, the path of a message has
//! no instruction for it.
//!
//! Recorded are connections of a [`Handler`](crate::Handler). Datagrams are not: a failed message does not close a
//! peer, so that no reason would write a file. The bytes of a [`StreamHandler`](crate::StreamHandler) are not, either:
//! a secret can be split between two reads, and cannot be redacted.
//!
//! ```
//! use switchboard::prelude::*;
//! use switchboard::recorder::Recorder;
//! use switchboard::settings::RecorderSettings;
//! use switchboard::transport::memory;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
//! let recorder = Recorder::new(RecorderSettings::default());
//! let server = Server::bind("mem:recorder").framing(Lines::default()).recorder(recorder).start(echo).await?;
//!
//! let mut client = memory::connect("recorder").await?;
//! client.write_all(b"Ada\n").await?;
//! client.read_exact(&mut [0; 4]).await?;
//! let id = server.connections()[0].id();
//! let script = server.recorded(id).unwrap()?.to_string();
//! assert!(script.ends_with("> \"Ada\\n\"\n< \"Ada\\n\"\n"));
//! # Ok(())
//! # }
//! ```

mod close;
mod facts;
mod files;
mod handle;
mod handler;
mod memory;
mod recording;
mod report;
mod shared;
mod to_script;
mod writer;

pub(crate) use facts::Facts;
pub use files::RecordError;
pub use handle::Recorder;
pub(crate) use handler::{RecordedFraming, RecordedHandler};
pub(crate) use recording::{RecordKind, Recording};
pub use report::{RecorderReport, SkipReason};
pub(crate) use writer::Writer;
