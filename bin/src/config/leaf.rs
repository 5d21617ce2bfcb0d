//! The single values of a configuration: each reads its text strictly, and its error says what would do.
//!
//! It knows nothing of keys. What a leaf prints, it reads back; the defaults of the framework become text that way.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use switchboard::Endpoint;
use switchboard::framing::{self, ByteOrder};
use switchboard::spec;
use tracing_subscriber::EnvFilter;

use super::fault::{quoted, unknown};

/// Gives a leaf that is written as text its `Deserialize` and its schema. `$what` completes "… is not".
macro_rules! text {
    ($leaf:ident, $what:expr, $example:expr) => {
        impl<'de> Deserialize<'de> for $leaf {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl Visitor<'_> for Reader {
                    type Value = $leaf;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$leaf, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Reader)
            }
        }

        impl JsonSchema for $leaf {
            fn schema_name() -> Cow<'static, str> {
                stringify!($leaf).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "examples": [$example] })
            }
        }
    };
}

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
        let (unit, name) = units.into_iter().find(|(unit, _)| self.0 % unit == 0).unwrap_or((1, "B"));
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
pub(crate) struct Rate(pub(crate) spec::Rate);
text!(Rate, RATE, "100/s");
const RATE: &str = "a rate; write it like \"100/s\", \"5/m\" or \"1000/h\"";

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not {RATE}", quoted(text));
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = match count.trim() {
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let per = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            _ => return Err(wrong()),
        };
        let mut rate = spec::Rate::per_second(count);
        rate.per = Duration::from_secs(per);
        Ok(Self(rate))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.0.per.as_secs() {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.0.count)
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

/// The address of a listener. Whether this build has its transport is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Endpoint);
text!(Listen, "an address; write it like \"tcp://127.0.0.1:9999\"", "tcp://127.0.0.1:9999");

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: switchboard::address::EndpointError| error.to_string())
    }
}

/// What is logged: a level, or a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level(pub(crate) String);
text!(Level, LEVEL, "info");
const LEVEL: &str =
    "a level (off, error, warn, info, debug, trace) or a filter; write a filter like \"info,switchboard=debug\"";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The filter itself takes any lone word for the name of a module, so "inf" would quietly log everything of a
        // module called inf. Here a word is a level, and a module has its level beside it.
        for part in split(text) {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
            if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
                return Err(format!("{} is not {LEVEL}{}", quoted(text), super::fault::suggestion(level, LEVELS)));
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!("{} is not {LEVEL}", quoted(text))),
        }
    }
}

/// The parts of a filter: split at commas, but not at those within a span's braces.
fn split(filter: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    filter.split(move |c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives a leaf that is one of a few words its reading, printing and schema.
macro_rules! word {
    ($leaf:ty, $what:literal, [$($word:literal => $value:expr),+ $(,)?]) => {
        impl FromStr for $leaf {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("{} is not {}; it is one of {}", quoted(text), $what, [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $leaf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value { return f.write_str($word); })+
                Ok(())
            }
        }
    };
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}
word!(Format, "a log format", ["auto" => Self::Auto, "text" => Self::Text, "json" => Self::Json]);
text!(Format, "a log format; it is one of auto, text, json", "auto");

/// The byte order of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order(pub(crate) ByteOrder);
word!(Order, "a byte order", ["big" => Self(ByteOrder::Big), "little" => Self(ByteOrder::Little)]);
text!(Order, "a byte order; it is one of big, little", "big");

/// The name of a built-in framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FramingName(pub(crate) &'static str);
text!(FramingName, "the name of a framing; write it like \"lines\"", "lines");

impl FromStr for FramingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = framing::BUILT_IN.iter().map(|entry| entry.name);
        names.clone().find(|name| *name == text).map(Self).ok_or_else(|| {
            format!("{} {}", quoted(text), unknown("is not a framing", text, names))
        })
    }
}

/// The text that ends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delimiter(pub(crate) String);
text!(Delimiter, "a delimiter; write it as text, like \"|\"", "|");

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("a delimiter cannot be empty; write it like \"|\"".into()),
            1..=255 => Ok(Self(text.to_owned())),
            long => Err(format!("a delimiter of {long} bytes is too long; 1 to 255 bytes are possible")),
        }
    }
}

/// The name of a handler or layer: a section, or a registered type. Whether there is one is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);
text!(Name, "a name; write it in quotes, like \"hello\"", "hello");

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// What a name must be.
pub(crate) const NAME: &str = "a name; a name is a small letter, then small letters, digits, \"_\" and \"-\"";

/// Whether a text can name a listener, handler or layer: `[a-z][a-z0-9_-]*`.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(inner)
}

/// The bytes of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width(pub(crate) usize);

impl<'de> Deserialize<'de> for Width {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Width;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a length; 1, 2, 3, 4 and 8 are possible")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Width, E> {
                match number {
                    1..=4 | 8 => Ok(Width(usize::try_from(number).unwrap_or_default())),
                    _ => Err(E::custom(format!("a length of {number} bytes is not possible; 1, 2, 3, 4 or 8 are"))),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Width, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_u64(Reader)
    }
}

impl JsonSchema for Width {
    fn schema_name() -> Cow<'static, str> {
        "Width".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [1, 2, 3, 4, 8] })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// The number, for a place that counts in `usize`.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number, for a place that counts in `u32`.
    pub(crate) fn word(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = Number<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                match number {
                    _ if (MIN..=MAX).contains(&number) => Ok(Number(number)),
                    _ => Err(E::custom(format!("{number} is out of range; {MIN} to {MAX} are possible"))),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::custom(format!("{number} is out of range; {MIN} to {MAX} are possible"))),
                }
            }
        }
        deserializer.deserialize_u64(Reader)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Number<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Number{MIN}To{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
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
        for (text, seconds) in [("0s", 0.0), ("500ms", 0.5), ("5m", 300.0), ("1h 30m", 5400.0), ("365days", 31_536_000.0)] {
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
        assert_eq!(rate("0/s"), Ok((0, 1)));
        for text in ["100", "100/day", "/s", "-1/s", "1.5/s", "+1/s", "99999999999/s"] {
            assert!(wrong::<Rate>(text).contains("100/s"), "{text}");
        }
        for text in ["0/s", "100/s", "5/m", "7/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!(Rate(spec::Rate::default()).to_string(), "0/s");
    }

    #[test]
    fn modes_names_and_words() {
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert_eq!("600".parse::<Mode>().unwrap().to_string(), "0600");
        for text in ["0800", "1777", "6", "+600", "rw"] {
            assert!(wrong::<Mode>(text).contains("0600"), "{text}");
        }
        assert!(is_name("a-b_1") && !is_name("A") && !is_name("1a") && !is_name("") && !is_name("-a"));
        assert_eq!(wrong::<Format>("jsn"), "\"jsn\" is not a log format; it is one of auto, text, json");
        assert_eq!(Format::Json.to_string(), "json");
        assert!(wrong::<FramingName>("line").contains("did you mean \"lines\"?"));
        assert!(wrong::<Delimiter>("").contains("empty"));
        assert!(wrong::<Delimiter>(&"x".repeat(256)).contains("1 to 255"));
    }

    #[test]
    fn levels_and_filters() {
        for text in ["info", "OFF", "info,switchboard=debug", "switchboard[peer{x=1,y=2}]=trace,warn"] {
            assert!(text.parse::<Level>().is_ok(), "{text}");
        }
        assert!(wrong::<Level>("inf").contains("did you mean \"info\"?"));
        for text in ["", "switchboard", "switchboard=loud", "info,,warn"] {
            wrong::<Level>(text);
        }
    }
}
