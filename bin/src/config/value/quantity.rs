//! Leaves that measure: sizes, durations, rates, modes. They are text, so that their unit stands with them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use switchboard::settings;

use crate::config::diagnostic::quoted;

/// A size of 1 byte to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);
text!(Size, SIZE, "64KiB");
const SIZE: &str = "a size; write it like \"64KiB\"";

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: ByteSize = text.parse().map_err(|_| format!("{} is not {SIZE}", quoted(text)))?;
        match size.as_u64() {
            bytes @ 1..=0x4000_0000 => Ok(Self(usize::try_from(bytes).unwrap_or(usize::MAX))),
            _ => Err(format!("{} is out of range; 1B to 1GiB are possible", quoted(text))),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
        let (unit, name) = units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit)).unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A duration of nothing to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);
text!(Span, SPAN, "30s");
const SPAN: &str = "a duration; write it like \"30s\", \"500ms\" or \"1h 30m\"";

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Instants are added to it, and that must not overflow.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        match humantime::parse_duration(text) {
            Ok(span) if span <= LONGEST => Ok(Self(span)),
            Ok(_) => Err(format!("{} is out of range; 0s to 365days are possible", quoted(text))),
            Err(_) => Err(format!("{} is not {SPAN}", quoted(text))),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A duration that TCP keepalive can have: none, or 1 second to 9 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keepalive(pub(crate) Duration);
text!(Keepalive, SPAN, "60s");

impl FromStr for Keepalive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Span(span) = text.parse()?;
        // Linux counts it in seconds, up to 32767 (tcp(7), TCP_KEEPIDLE); beyond that, setting it fails on every connection.
        match span.as_secs() {
            _ if span.is_zero() => Ok(Self(span)),
            1..=32_400 => Ok(Self(span)),
            _ => Err(format!("{} is out of range; 0s (never) or 1s to 9h are possible", quoted(text))),
        }
    }
}

impl fmt::Display for Keepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.0).fmt(f)
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) settings::Rate);
text!(Rate, RATE, "100/s");
const RATE: &str = "a rate; write it like \"100/s\", \"5/m\" or \"1000/h\"";

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{} is not {RATE}", quoted(text)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The mode of a Unix socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);
text!(Mode, MODE, "0600");
const MODE: &str = "a mode; write it in octal as text, like \"0600\"";

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(text, 8) {
            Ok(mode @ 0..=0o777) if digits => Ok(Self(mode)),
            _ => Err(format!("{} is not {MODE}; \"000\" to \"0777\" are possible", quoted(text))),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: FromStr<Err = String> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err(text)
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64KiB", 65536), ("1GiB", 1 << 30), ("65000B", 65000), ("1MB", 1_000_000), ("1", 1)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(wrong::<Size>("lots"), "\"lots\" is not a size; write it like \"64KiB\"");
        for text in ["0", "2GiB", "99999999999999GiB"] {
            assert!(wrong::<Size>(text).contains("1B to 1GiB"), "{text}");
        }
        for bytes in [1, 1023, 1024, 65536, 3 << 20, 1 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("0s", 0.0), ("500ms", 0.5), ("5m", 300.0), ("1h 30m", 5400.0), ("365days", 31_536_000.0)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs_f64(seconds))), "{text}");
        }
        assert!(wrong::<Span>("30").contains("30s"));
        assert!(wrong::<Span>("30 parsecs").contains("is not a duration"));
        assert!(wrong::<Span>("400days").contains("0s to 365days"));
        assert!(wrong::<Keepalive>("500ms").contains("1s to 9h"));
        assert!(wrong::<Keepalive>("10h").contains("1s to 9h"));
        for millis in [0, 500, 90_000, 5_400_000] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }

    #[test]
    fn rates() {
        let rate = |text: &str| text.parse::<Rate>().map(|Rate(rate)| (rate.count, rate.per.as_secs()));
        assert_eq!(rate("100/s"), Ok((100, 1)));
        assert_eq!(rate("5/m"), Ok((5, 60)));
        assert_eq!(rate("7/h"), Ok((7, 3600)));
        assert_eq!(rate("0/h"), Ok((0, 0)));
        for text in ["100", "100/day", "/s", "-1/s", "1.5/s", "+1/s", "99999999999/s"] {
            assert!(wrong::<Rate>(text).contains("100/s"), "{text}");
        }
        for text in ["0/s", "100/s", "5/m", "7/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!(Rate(settings::Rate::default()).to_string(), "0/s");
    }

    #[test]
    fn modes() {
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert_eq!("600".parse::<Mode>().unwrap().to_string(), "0600");
        for text in ["0800", "1777", "6", "+600", "rw"] {
            assert!(wrong::<Mode>(text).contains("0600"), "{text}");
        }
    }
}
