//! Leaves that name: addresses, filters, framings, handlers.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use switchboard::address::EndpointError;
use switchboard::framing::ByteOrder;
use switchboard::settings::{self, NetworkError};
use switchboard::{Endpoint, Registry};
use tracing_subscriber::EnvFilter;

use crate::config::diagnostic::{quoted, suggestion, unknown};

/// The address of a listener. Whether this build has its transport is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Endpoint);
text!(Listen, "an address; write it like \"tcp://127.0.0.1:9999\"", "tcp://127.0.0.1:9999");

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: EndpointError| error.to_string())
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) settings::Network);
text!(Network, "a network; write it like \"10.0.0.0/8\"", "10.0.0.0/8");

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: NetworkError| error.to_string())
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
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
            if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
                return Err(format!("{} is not {LEVEL}{}", quoted(text), suggestion(level, LEVELS)));
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!("{} is not {LEVEL}", quoted(text))),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FramingName(pub(crate) String);
text!(FramingName, "the name of a framing; write it like \"lines\"", "lines");

impl FramingName {
    pub(crate) fn all() -> Vec<String> {
        Registry::new().framings().map(|entry| entry.name().to_owned()).collect()
    }
}

impl FromStr for FramingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::all();
        if names.iter().any(|name| name == text) {
            return Ok(Self(text.to_owned()));
        }
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        Err(format!("{} {}", quoted(text), unknown("is not a framing", text, names)))
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

/// A secret that a header of HTTP can carry. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) String);
text!(Token, "a token; write it in quotes, without spaces", "a-long-random-text");

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a token cannot be empty".into()),
            text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(text.to_owned())),
            _ => {
                Err("the value (not shown) is not a token; it has letters, digits and signs of ASCII, and no spaces"
                    .into())
            }
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The path of a file. What is in it is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);
text!(FilePath, "a path; write it in quotes, like \"cert.pem\"", "cert.pem");

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path cannot be empty; write it like \"cert.pem\"".into());
        }
        // Perhaps a private key: it must not be shown.
        if text.contains("-----BEGIN") || text.contains('\n') {
            return Err("the value (not shown) is not a path; write where the file is, not what is in it".into());
        }
        Ok(Self(text.into()))
    }
}

/// The name of a protocol that is chosen in a TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol(pub(crate) String);
text!(Protocol, "the name of a protocol; write it in quotes, like \"irc\"", "irc");

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.len() {
            1..=255 => Ok(Self(text.to_owned())),
            bytes => Err(format!("the name of a protocol has 1 to 255 bytes, and this one has {bytes}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: FromStr<Err = String> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err(text)
    }

    #[test]
    fn names_and_words() {
        assert!(is_name("a-b_1") && !is_name("A") && !is_name("1a") && !is_name("") && !is_name("-a"));
        assert_eq!(wrong::<Format>("jsn"), "\"jsn\" is not a log format; it is one of auto, text, json");
        assert_eq!(Format::Json.to_string(), "json");
        assert!(wrong::<FramingName>("line").contains("did you mean \"lines\"?"));
        assert!(wrong::<Delimiter>("").contains("empty"));
        assert!(wrong::<Delimiter>(&"x".repeat(256)).contains("1 to 255"));
    }

    #[test]
    fn paths_and_not_what_is_in_the_file() {
        assert_eq!("cert.pem".parse(), Ok(FilePath("cert.pem".into())));
        assert!(wrong::<FilePath>("").contains("cannot be empty"));
        assert!(!wrong::<FilePath>("-----BEGIN PRIVATE KEY-----\nhunter2").contains("hunter2"));
        assert!(wrong::<Protocol>("").contains("1 to 255"));
    }

    #[test]
    fn levels_and_filters() {
        for text in ["info", "OFF", "info,switchboard=debug", "switchboard[peer{x=1}]=trace,warn"] {
            assert!(text.parse::<Level>().is_ok(), "{text}");
        }
        assert!(wrong::<Level>("inf").contains("did you mean \"info\"?"));
        for text in ["", "switchboard", "switchboard=loud", "info,,warn"] {
            wrong::<Level>(text);
        }
    }
}
