//! Settings of the flight recorder ([`RecorderSettings`]).

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Size;
use super::define::settings;
use super::text::deserialize_path;
use crate::close_reason::CloseReason;

settings! {
    /// The flight recorder: keeps the last messages of each connection, and writes them to a file when the connection
    /// closes for one of the selected reasons.
    pub struct RecorderSettings {
        /// Memory for the messages of all connections together, 64KiB to 1GiB. The oldest messages go first.
        pub memory: usize as "Size" = 16 << 20,
        /// Memory for the last messages of one connection. At least two pieces of 2KiB, or of the size of `message`,
        /// are used. Each message takes longer if the memory of all active connections exceeds the processor's cache.
        pub connection: usize as "Size" = 16 << 10,
        /// Bytes that are stored of each message, at most 64KiB. Of a longer message, only its beginning and its length
        /// are known, and it cannot be replayed.
        pub message: usize as "Size" = 256,
        /// Close reasons that write a file. Empty: files are only written on demand.
        pub on: RecordedReasons = RecordedReasons::default(),
        /// Directory of the files. It is created if it does not exist. Only the user of the process can read the files.
        #[serde(deserialize_with = "deserialize_path")]
        pub directory: PathBuf = PathBuf::from("/var/lib/switchboard/records"),
        /// Maximum files in the directory. A new file replaces the oldest one. At most one file per second is written.
        #[schemars(range(min = 1, max = 100_000))]
        pub files: usize = 100,
    }
}

impl RecorderSettings {
    /// Smallest memory.
    pub const MIN_MEMORY: usize = 64 << 10;
    /// Largest part of a message that is stored.
    pub const MAX_MESSAGE: usize = 64 << 10;
}

/// The close reasons that write a file.
///
/// ```
/// use switchboard::CloseReason;
/// use switchboard::settings::RecordedReasons;
///
/// let reasons: RecordedReasons = serde_json::from_str(r#"["panic", "idle"]"#)?;
/// assert!(reasons.contains(CloseReason::Idle) && !reasons.contains(CloseReason::BadFrame));
/// assert!(RecordedReasons::default().contains(CloseReason::BadFrame));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedReasons(Vec<CloseReason>);

impl RecordedReasons {
    /// Whether a connection that closes for this reason is written to a file.
    pub fn contains(&self, reason: CloseReason) -> bool {
        self.0.contains(&reason)
    }
}

impl Default for RecordedReasons {
    fn default() -> Self {
        [CloseReason::Panic, CloseReason::HandlerError, CloseReason::BadFrame, CloseReason::MessageTimeout].into()
    }
}

impl<const N: usize> From<[CloseReason; N]> for RecordedReasons {
    fn from(reasons: [CloseReason; N]) -> Self {
        Self(reasons.into())
    }
}

impl Serialize for RecordedReasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|reason| reason.as_str()))
    }
}

/// The names of all reasons but those of clients that were rejected before their first message.
static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let rejected = [CloseReason::Handshake, CloseReason::Denied, CloseReason::Limit];
    CloseReason::ALL.into_iter().filter(|reason| !rejected.contains(reason)).map(CloseReason::as_str).collect()
});

/// An item of the list, so that an error names it.
struct Reason(CloseReason);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let reason = CloseReason::ALL.into_iter().find(|reason| reason.as_str() == name);
        reason.filter(|_| NAMES.contains(&&*name)).map(Self).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl<'de> Deserialize<'de> for RecordedReasons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reasons = Vec::<Reason>::deserialize(deserializer)?;
        Ok(Self(reasons.into_iter().map(|Reason(reason)| reason).collect()))
    }
}

impl JsonSchema for RecordedReasons {
    fn schema_name() -> Cow<'static, str> {
        "RecordedReasons".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "enum": *NAMES } })
    }
}
