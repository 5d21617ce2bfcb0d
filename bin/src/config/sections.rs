//! The configuration file: its sections and their settings, with the help text of each key.
//!
//! Every field has a default, so that a source with a part of the keys deserializes too. The settings of a listener are
//! types of the framework. No untagged enums: they lose the path of an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::{fmt, thread};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};
#[cfg(feature = "fleet")]
use switchboard::settings::FleetSettings;
use switchboard::settings::text::{deserialize_optional_path, deserialize_text};
use switchboard::settings::{
    BanSettings, DrainSettings, Limits, LogSettings, Rates, RecorderSettings, Secret, SocketOptions, Timeouts,
};
use switchboard::{Access, Endpoint, ProxySettings, TlsSettings};

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// Short form of listeners.main.listen.
    pub(crate) listen: Option<Endpoint>,
    /// Short form of listeners.main.handler.
    #[schemars(example = &"hello")]
    pub(crate) handler: Option<String>,
    /// Short form of listeners.main.framing.
    pub(crate) framing: Option<FramingSetting>,
    /// Logging.
    pub(crate) log: LogSettings,
    /// Admin endpoint: health, metrics, connections, reload and drain. Absent: disabled.
    pub(crate) admin: Option<AdminSettings>,
    /// Graceful shutdown (drain).
    pub(crate) drain: DrainSettings,
    /// Threads of the process.
    pub(crate) runtime: RuntimeSettings,
    /// Fleet: several instances share limits through a server that speaks the protocol of Redis. Absent: no instance
    /// knows of others.
    #[cfg(feature = "fleet")]
    pub(crate) fleet: Option<FleetSettings>,
    /// Limits of all listeners. A listener can override each key.
    pub(crate) limits: Limits,
    /// Timeouts of all listeners. A listener can override each key.
    pub(crate) timeouts: Timeouts,
    /// Rate limits of all listeners. A listener can override each key.
    pub(crate) rate: Rates,
    /// Access lists of all listeners whose peers have network addresses. A listener can override each key.
    pub(crate) access: Access,
    /// Socket options of all listeners. A listener can override each key.
    pub(crate) socket: SocketOptions,
    /// Bans of clients, by operators and because of strikes. Absent: only by operators and other programs, in memory.
    pub(crate) bans: Option<BanSettings>,
    /// Flight recorder: the last messages of each connection, for files that `switchboard replay` plays, and for a tap.
    /// Absent: nothing is recorded. New connections use a change.
    pub(crate) recorder: Option<RecorderSettings>,
    /// Listeners by name.
    pub(crate) listeners: BTreeMap<String, ListenerSettings>,
    /// Handlers by name, with their options.
    pub(crate) handlers: BTreeMap<String, SectionSettings>,
    /// Layers by name, with their options.
    pub(crate) layers: BTreeMap<String, SectionSettings>,
}

/// `[listeners.NAME]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerSettings {
    /// Address, such as tcp://127.0.0.1:9999, unix:/run/app.sock, unix:@NAME (abstract) or systemd:NAME (a socket from
    /// the service manager).
    pub(crate) listen: Option<Endpoint>,
    /// Handler: a [handlers.NAME] section, or the type of a built-in handler.
    #[schemars(example = &"hello")]
    pub(crate) handler: Option<String>,
    /// Message framing: a name, or a table with options.
    pub(crate) framing: Option<FramingSetting>,
    /// Additional layers by name, the outermost first.
    pub(crate) layers: Vec<String>,
    /// Limits of concurrency and size.
    pub(crate) limits: Limits,
    /// Timeouts.
    pub(crate) timeouts: Timeouts,
    /// Rate limits per source.
    pub(crate) rate: Rates,
    /// Access lists.
    pub(crate) access: Access,
    /// PROXY protocol. If the section is present, every connection must begin with a PROXY header.
    pub(crate) proxy: Option<ProxySettings>,
    /// TLS, for tls:// and systemd: addresses, and on request for any address that accepts connections.
    pub(crate) tls: Option<TlsSettings>,
    /// Socket options.
    pub(crate) socket: SocketOptions,
}

/// `[handlers.NAME]`, `[layers.NAME]` or a framing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SectionSettings {
    /// Type of the section. Default: the name of the section.
    pub(crate) r#type: Option<String>,
    /// The options. Flattening into a plain map keeps the path of errors.
    #[serde(flatten)]
    pub(crate) options: Map<String, Json>,
}

/// The type and options of a framing. A name is a framing without options.
#[derive(Debug)]
pub(crate) struct FramingSetting(pub(crate) SectionSettings);

impl<'de> Deserialize<'de> for FramingSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = FramingSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a framing; write its name, like \"lines\", or a table, like { type = \"length\", width = 2 }",
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<FramingSetting, E> {
                Ok(FramingSetting(SectionSettings { r#type: Some(name.to_owned()), ..SectionSettings::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FramingSetting, A::Error> {
                SectionSettings::deserialize(MapAccessDeserializer::new(map)).map(FramingSetting)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for FramingSetting {
    fn schema_name() -> Cow<'static, str> {
        "Framing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<SectionSettings>();
        json_schema!({ "anyOf": [{ "type": "string", "examples": ["lines"] }, table] })
    }
}

/// `[runtime]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RuntimeSettings {
    /// Worker threads. Default: the number of cores available to the process. With one worker, a handler that blocks
    /// the thread stops everything; use tokio's spawn_blocking. A change needs a restart.
    #[schemars(range(min = 1, max = 1024), extend("x-restart" = true))]
    pub(crate) workers: usize,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self { workers: thread::available_parallelism().map_or(1, |cores| cores.get().min(1024)) }
    }
}

/// `[admin]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminSettings {
    /// Address of the admin endpoint: tcp://host:port, or unix:/path.
    pub(crate) listen: Option<Endpoint>,
    /// Bearer token required for every modifying request. Without a token, an address that is neither loopback nor a
    /// Unix socket serves only /livez, /readyz and /metrics.
    #[schemars(with = "Option<Secret>", example = "a-long-random-text")]
    pub(crate) token: Option<Token>,
    /// File that contains the token, instead of `token`.
    #[serde(deserialize_with = "deserialize_optional_path")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A bearer token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) String);

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("the value (not shown) is empty; write a long random text"),
            // A token must fit into an HTTP header.
            text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(text.to_owned())),
            _ => Err("the value (not shown) is not a token; use ASCII letters, digits and punctuation, without spaces"),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a token; write it in quotes, without spaces", str::parse)
    }
}

/// Whether a text is a valid name of a listener, handler or layer: `[a-z][a-z0-9_-]*`.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests;
