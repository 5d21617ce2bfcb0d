//! What can be written, key by key: the shape of a configuration, with the documentation of each key.
//!
//! Everything is optional, since no single layer need say it; unknown keys are refused. What it all means together is not
//! known here. No `flatten` and no untagged enum: both lose the path of a fault.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::value::{
    Delimiter, FilePath, Format, FramingName, Keepalive, Level, Listen, Mode, Name, Network, Number, Order, Protocol,
    Rate, Size, Span, Token, Width,
};

/// The whole configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "short and shared forms are read for their diagnostics; a whole tree has them in its listeners"
)]
pub(crate) struct Raw {
    /// Short for listeners.main.listen.
    pub(crate) listen: Option<Listen>,
    /// Short for listeners.main.handler.
    pub(crate) handler: Option<Name>,
    /// Short for listeners.main.framing.
    pub(crate) framing: Option<RawFraming>,
    /// What is logged, and how.
    pub(crate) log: Option<RawLog>,
    /// The endpoint for operators: health, metrics, who is there, reload and drain. Without it there is none.
    pub(crate) admin: Option<RawAdmin>,
    /// How a stop goes.
    pub(crate) drain: Option<RawDrain>,
    /// The threads of this process.
    pub(crate) runtime: Option<RawRuntime>,
    /// Limits of each listener that does not say otherwise.
    pub(crate) limits: Option<RawLimits>,
    /// Timeouts of each listener that does not say otherwise.
    pub(crate) timeouts: Option<RawTimeouts>,
    /// Rates of each listener that does not say otherwise.
    pub(crate) rate: Option<RawRate>,
    /// Who may come to each listener that does not say otherwise and whose peers have network addresses.
    pub(crate) access: Option<RawAccess>,
    /// Socket options of each listener that does not say otherwise.
    pub(crate) socket: Option<RawSocket>,
    /// The listeners by name.
    pub(crate) listeners: Option<BTreeMap<String, RawListener>>,
    /// The handlers by name, with their options.
    pub(crate) handlers: Option<BTreeMap<String, RawSection>>,
    /// The layers by name, with their options.
    pub(crate) layers: Option<BTreeMap<String, RawSection>>,
}

/// `[log]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLog {
    /// A level, or a filter such as "info,switchboard=debug". RUST_LOG wins where set.
    pub(crate) level: Option<Level>,
    /// auto, text or json. auto: text on a terminal, json otherwise.
    pub(crate) format: Option<Format>,
}

/// `[admin]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    /// Where it listens: tcp://host:port, or unix:/path.
    pub(crate) listen: Option<Listen>,
    /// What every request that changes something has to bring (Authorization: Bearer …). Needed where the address is neither
    /// loopback nor a Unix socket.
    pub(crate) token: Option<Token>,
    /// File with the token in it, instead of the token itself.
    pub(crate) token_file: Option<FilePath>,
}

/// `[drain]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDrain {
    /// How long readiness says no before listeners close.
    pub(crate) announce: Option<Span>,
    /// How long connections have to finish, announce not included.
    pub(crate) deadline: Option<Span>,
}

/// `[runtime]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRuntime {
    /// Threads that serve. Default: the cores that this process may use. With one, a handler that blocks it (instead of
    /// tokio's spawn_blocking) stops everything, and tokio's block_in_place is an error.
    pub(crate) workers: Option<Number<1, 1024>>,
}

/// `[listeners.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListener {
    /// Where it listens: tcp://host:port, tls://host:port, udp://host:port, unix:/path, unixgram:/path, mem:name,
    /// or systemd:name, a socket that the service manager passes.
    pub(crate) listen: Option<Listen>,
    /// Who answers: a [handlers.NAME] section, or a built-in handler's type.
    pub(crate) handler: Option<Name>,
    /// How bytes become messages: a name, or a table with options.
    pub(crate) framing: Option<RawFraming>,
    /// Extra layers by name, outermost first.
    pub(crate) layers: Option<Vec<Name>>,
    /// How much of each thing at once.
    pub(crate) limits: Option<RawLimits>,
    /// How long each thing may take.
    pub(crate) timeouts: Option<RawTimeouts>,
    /// How fast one source may be.
    pub(crate) rate: Option<RawRate>,
    /// Who may come.
    pub(crate) access: Option<RawAccess>,
    /// The PROXY header, required where this section stands.
    pub(crate) proxy: Option<RawProxy>,
    /// Options of its socket.
    pub(crate) socket: Option<RawSocket>,
    /// Certificates and who may come, for tls:// (and systemd:) alone.
    pub(crate) tls: Option<RawTls>,
}

/// `[listeners.NAME.tls]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    /// Protocols to choose from, the preferred one first.
    pub(crate) alpn: Option<Vec<Protocol>>,
    /// File of the certificate, and behind it those that signed it (PEM).
    pub(crate) certificate: Option<FilePath>,
    /// File of the private key (PEM).
    pub(crate) key: Option<FilePath>,
    /// File of the certificates of those who may sign a client's; with it every client needs one (PEM).
    pub(crate) client_ca: Option<FilePath>,
    /// Certificates by the host that a client asks for: example.com, or *.example.com.
    pub(crate) sni: Option<BTreeMap<String, RawIdentity>>,
}

/// `[listeners.NAME.tls.sni.HOST]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIdentity {
    /// File of the certificate, and behind it those that signed it (PEM).
    pub(crate) certificate: Option<FilePath>,
    /// File of the private key (PEM).
    pub(crate) key: Option<FilePath>,
}

/// A number of things that may be held at once.
type Count = Number<1, 10_000_000>;

/// `[listeners.NAME.limits]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Connections open at once; more are accepted and closed at once, and counted.
    pub(crate) connections: Option<Count>,
    /// Connections open at once from one source, an IPv4 address or an IPv6 /64; 0: no limit of its own.
    pub(crate) connections_per_source: Option<Number<0, 10_000_000>>,
    /// Handshakes (TLS, a proxy's header) under way at once; when one more begins, the longest unfinished one yields.
    pub(crate) handshakes: Option<Count>,
    /// The largest message, without header or terminator.
    pub(crate) frame: Option<Size>,
    /// Frames waiting to be written; a full outbox makes a pusher wait.
    pub(crate) outbox: Option<Number<1, 65_536>>,
    /// Datagram peers remembered at once; the least recently seen is forgotten, those heard only once first.
    pub(crate) sessions: Option<Count>,
}

/// `[listeners.NAME.timeouts]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTimeouts {
    /// The handshake of TLS.
    pub(crate) handshake: Option<Span>,
    /// From accept to the first whole message; 0s: none.
    pub(crate) first_message: Option<Span>,
    /// From the first byte of a message to its last.
    pub(crate) frame: Option<Span>,
    /// Nothing read or written.
    pub(crate) idle: Option<Span>,
    /// One call of the handler; 0s: none.
    pub(crate) message: Option<Span>,
    /// A peer that does not read.
    pub(crate) write: Option<Span>,
    /// The whole connection, closed at the next message boundary; 0s: none.
    pub(crate) lifetime: Option<Span>,
}

/// `[listeners.NAME.rate]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRate {
    /// Messages of one source; 0/s: no limit.
    pub(crate) messages_per_source: Option<Rate>,
    /// New connections of one source; over it they are accepted and closed; 0/s: no limit.
    pub(crate) connections_per_source: Option<Rate>,
    /// How many may come at once; 0: one second's worth.
    pub(crate) burst: Option<Number<0, 10_000_000>>,
}

/// `[listeners.NAME.access]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccess {
    /// Networks that are let in; empty: everybody.
    pub(crate) allow: Option<Vec<Network>>,
    /// Networks that are kept out, even where allow has them.
    pub(crate) deny: Option<Vec<Network>>,
}

/// `[listeners.NAME.proxy]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProxy {
    /// Networks of the proxies, which alone are let in and believed.
    pub(crate) trusted: Option<Vec<Network>>,
}

/// `[listeners.NAME.socket]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSocket {
    /// Clients that the system lets wait to be accepted.
    pub(crate) backlog: Option<Number<1, 65_535>>,
    /// Whether small segments are sent at once.
    pub(crate) nodelay: Option<bool>,
    /// Idle time after which the system asks whether the peer still lives; 0s: never.
    pub(crate) keepalive: Option<Keepalive>,
    /// Whether several processes may listen on the same port.
    pub(crate) reuse_port: Option<bool>,
    /// Mode of a Unix socket's path.
    pub(crate) mode: Option<Mode>,
    /// Group of a Unix socket's path.
    pub(crate) group: Option<String>,
}

/// A framing: a name, or a table with options.
#[derive(Debug)]
pub(crate) enum RawFraming {
    /// `framing = "lines"`
    Name(FramingName),
    /// `framing = { type = "length", width = 2 }`
    Table(FramingTable),
}

/// A framing with options. Which of them its type has is known elsewhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FramingTable {
    /// raw, lines, length, delimited or json-lines.
    pub(crate) r#type: Option<FramingName>,
    /// The largest message; stands for limits.frame.
    pub(crate) max: Option<Size>,
    /// length: bytes of the length.
    pub(crate) width: Option<Width>,
    /// length: byte order of the length.
    pub(crate) order: Option<Order>,
    /// length: bytes of the message before its length.
    pub(crate) offset: Option<Number<0, 255>>,
    /// delimited: the text that ends a message.
    pub(crate) delimiter: Option<Delimiter>,
}

impl<'de> Deserialize<'de> for RawFraming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawFraming;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a framing; write its name, like \"lines\", or a table, like { type = \"length\", width = 2 }",
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawFraming, E> {
                name.parse().map(RawFraming::Name).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawFraming, A::Error> {
                // The table reads from the same map, so that its faults keep their path.
                FramingTable::deserialize(MapAccessDeserializer::new(map)).map(RawFraming::Table)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for RawFraming {
    fn schema_name() -> Cow<'static, str> {
        "Framing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names = FramingName::all();
        let table = generator.subschema_for::<FramingTable>();
        json_schema!({ "anyOf": [{ "type": "string", "enum": names }, table] })
    }
}

/// `[handlers.NAME]` and `[layers.NAME]`: a type, and options that only the type itself understands.
#[derive(Debug, Default)]
pub(crate) struct RawSection {
    /// What it is; its own name where nothing is said.
    pub(crate) r#type: Option<Name>,
    /// Everything else.
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
}

impl<'de> Deserialize<'de> for RawSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSection, A::Error> {
                let mut section = RawSection::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "type" => section.r#type = Some(map.next_value()?),
                        _ => {
                            let option = map.next_value()?;
                            section.options.insert(key, option);
                        }
                    }
                }
                Ok(section)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl JsonSchema for RawSection {
    fn schema_name() -> Cow<'static, str> {
        "Section".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": { "type": { "type": "string", "description": "What it is; its own name where nothing is said." } },
            "additionalProperties": true
        })
    }
}
