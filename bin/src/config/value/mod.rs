//! The single values of a configuration: each reads its text strictly, and its error says what would do.
//!
//! They know nothing of keys. What a leaf prints, it reads back; the defaults of the framework become text that way.

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

mod name;
mod number;
mod quantity;

pub(crate) use name::{
    Delimiter, FilePath, Format, FramingName, Level, Listen, NAME, Name, Network, Order, Protocol, Token, is_name,
};
pub(crate) use number::{Number, Width};
pub(crate) use quantity::{Keepalive, Mode, Rate, Size, Span};
