//! Option types that are written as text with a unit: sizes, durations, rates and file modes.

use std::ops::Deref;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer};

use super::text::text_option;

/// Defines a type that gives a plain value its unit.
///
/// A plain field has the text form of the unit with `#[serde(with = "…")] #[schemars(with = "…")]`.
macro_rules! unit {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident($inner:ty): $what:expr, $example:literal, $parse:expr, $print:expr
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        $visibility struct $name($inner);

        text_option!($name, $what, $example, |text| $parse(text).map(Self), |Self(value)| $print(value));

        impl $name {
            /// Deserializes a plain field.
            $visibility fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$inner, D::Error> {
                <Self as Deserialize>::deserialize(deserializer).map(|value| value.0)
            }

            /// Serializes a plain field.
            $visibility fn serialize<S: Serializer>(value: &$inner, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&Self(*value))
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl Deref for $name {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }
    };
}

const SIZE: &str = "a size; write it like \"64KiB\"";
const INTERVAL: &str = "a duration; write it like \"30s\", \"500ms\" or \"1h 30m\"";
const MODE: &str = "a mode; write it in octal as text, like \"0600\"";

unit! {
    /// A size of 1 byte to 1 GiB: `64KiB`, `1MB`, `512B`.
    pub struct Size(usize): SIZE, "64KiB", parse_size, print_size
}

unit! {
    /// A duration of at most a year: `30s`, `500ms`, `1h 30m`.
    pub struct Interval(Duration): INTERVAL, "30s", parse_interval, print_interval
}

unit! {
    /// The mode of a file in octal: `0600`.
    pub struct Mode(u32): MODE, "0600", parse_mode, |mode| format!("{mode:04o}")
}

unit! {
    /// The idle time before TCP keepalive probes: zero, or 1 second to 9 hours.
    pub(super) struct Keepalive(Duration): INTERVAL, "60s", parse_keepalive, print_interval
}

unit! {
    /// A time of 50 ms to 1 minute: a lease of a fleet, or the timeout of a call.
    pub(super) struct Short(Duration): INTERVAL, "1s", parse_short, print_interval
}

fn parse_size(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>().map_err(|_| format!("is not {SIZE}"))?.as_u64() {
        bytes @ 1..=0x4000_0000 => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
        _ => Err("is out of range; 1B to 1GiB are possible".into()),
    }
}

fn print_size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit)).unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    /// The longest duration that can be configured: it is added to instants and must not overflow them.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("is out of range; 0s to 365days are possible".into()),
        Err(_) => Err(format!("is not {INTERVAL}")),
    }
}

fn print_interval(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn parse_keepalive(text: &str) -> Result<Duration, String> {
    let duration = parse_interval(text)?;
    // Linux counts in seconds, up to 32767 (tcp(7), TCP_KEEPIDLE). A larger value fails for every connection.
    if duration.is_zero() || (1..=32_400).contains(&duration.as_secs()) {
        return Ok(duration);
    }
    Err("is out of range; 0s (off) or 1s to 9h are possible".into())
}

fn parse_short(text: &str) -> Result<Duration, String> {
    let duration = parse_interval(text)?;
    if (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&duration) {
        return Ok(duration);
    }
    Err("is out of range; 50ms to 1m are possible".into())
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if digits => Ok(mode),
        _ => Err(format!("is not {MODE}; \"000\" to \"0777\" are possible")),
    }
}

#[cfg(test)]
mod tests;
