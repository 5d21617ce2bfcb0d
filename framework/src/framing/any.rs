//! A framing that is chosen at run time: one `match` per message for a built-in framing, one box per connection for
//! others.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::boxed::{BoxCodec, BytesFraming};
use crate::framing::definition::{BuiltInFraming, FrameError, Framing};
use crate::framing::delimited::Delimited;
use crate::framing::json_lines::JsonLines;
use crate::framing::length::Length;
use crate::framing::lines::Lines;
use crate::framing::raw::Raw;

/// A framing of bytes that is chosen at run time, with its name and options.
///
/// ```
/// use switchboard::framing::{AnyFraming, Lines};
///
/// let framing = AnyFraming::new(Lines::default());
/// assert_eq!(framing.name(), "lines");
/// ```
#[derive(Clone)]
pub struct AnyFraming {
    name: Arc<str>,
    options: Arc<Value>,
    framing: Kind,
}

macro_rules! any_framing {
    ($($framing:ident),*) => {
        #[derive(Clone, PartialEq)]
        enum Kind {
            $($framing($framing),)*
            Boxed(BytesFraming),
        }

        enum KindCodec {
            $($framing(<$framing as Framing>::Codec),)*
            Boxed(BoxCodec<Bytes, Bytes>),
        }

        impl Kind {
            /// A built-in framing becomes its enum variant, which has a fixed name.
            fn new<F: Framing<In = Bytes, Out = Bytes>>(framing: F) -> (&'static str, Self) {
                let mut framing = Some(framing);
                let any: &mut dyn Any = &mut framing;
                $(
                    if let Some(framing) = any.downcast_mut::<Option<$framing>>().and_then(Option::take) {
                        return (<$framing as BuiltInFraming>::NAME, Self::$framing(framing));
                    }
                )*
                let framing = framing.expect("only a built-in framing is taken");
                ("custom", Self::Boxed(Arc::new(framing)))
            }
        }

        macro_rules! each {
            ($kind:ident, $value:expr, $inner:ident => $call:expr) => {
                match $value {
                    $($kind::$framing($inner) => $call,)*
                    $kind::Boxed($inner) => $call,
                }
            };
        }

        impl Kind {
            fn codec(&self, limit: usize) -> KindCodec {
                match self {
                    $(Self::$framing(framing) => KindCodec::$framing(framing.codec(limit)),)*
                    Self::Boxed(framing) => KindCodec::Boxed(framing.codec(limit)),
                }
            }
        }
    };
}

any_framing! { Raw, Lines, Length, Delimited, JsonLines }

impl AnyFraming {
    /// A framing of bytes. A built-in framing keeps its name; any other is named `custom`.
    pub fn new<F: Framing<In = Bytes, Out = Bytes>>(framing: F) -> Self {
        let (name, framing) = Kind::new(framing);
        Self { name: name.into(), options: Arc::default(), framing }
    }

    /// Sets the name and the options that it was built from.
    pub(crate) fn with_id(self, name: &str, options: Value) -> Self {
        Self { name: name.into(), options: options.into(), framing: self.framing }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a built-in framing without options.
    #[cfg(feature = "script")]
    pub(super) fn has_default_options(&self) -> bool {
        match &self.framing {
            Kind::Raw(framing) => *framing == Raw::default(),
            Kind::Lines(framing) => *framing == Lines::default(),
            Kind::Length(framing) => *framing == Length::default(),
            Kind::JsonLines(framing) => *framing == JsonLines::default(),
            Kind::Delimited(_) | Kind::Boxed(_) => false,
        }
    }

    /// The options that it was built from; null if it was not built by a registry.
    pub fn options(&self) -> &Value {
        &self.options
    }
}

impl Default for AnyFraming {
    fn default() -> Self {
        Self::new(Raw::default())
    }
}

impl PartialEq for AnyFraming {
    /// Two built-in framings are equal if they have equal options. Two other framings are equal if a registry built
    /// both by the same name from equal options.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.framing, &other.framing) {
                (Kind::Boxed(one), Kind::Boxed(two)) if self.options.is_null() => one == two,
                (Kind::Boxed(_), Kind::Boxed(_)) => self.options == other.options,
                (one, two) => one == two,
            }
    }
}

impl Eq for AnyFraming {}

impl fmt::Debug for AnyFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyFraming").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}

/// The codec of [`AnyFraming`].
pub struct AnyCodec(KindCodec);

impl Framing for AnyFraming {
    type In = Bytes;
    type Out = Bytes;
    type Codec = AnyCodec;

    fn codec(&self, limit: usize) -> AnyCodec {
        AnyCodec(self.framing.codec(limit))
    }

    fn limit(&self, limit: usize) -> usize {
        each!(Kind, &self.framing, framing => framing.limit(limit))
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<Bytes, BoxError> {
        each!(Kind, &self.framing, framing => framing.datagram_in(datagram))
    }

    fn datagram_out(&self, frame: Bytes) -> Result<Bytes, BoxError> {
        each!(Kind, &self.framing, framing => framing.datagram_out(frame))
    }
}

impl Decoder for AnyCodec {
    type Item = Bytes;
    type Error = FrameError;

    #[inline(always)] // the result is a message, which each function that returns it copies
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        // The match moves the fields of a message one by one. The compiler would move larger parts, each of which waits
        // for its fields to be written.
        each!(KindCodec, &mut self.0, codec => match codec.decode(buffer) {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        each!(KindCodec, &mut self.0, codec => codec.decode_eof(buffer))
    }
}

impl Encoder<Bytes> for AnyCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        each!(KindCodec, &mut self.0, codec => codec.encode(frame, buffer))
    }
}

impl fmt::Debug for AnyCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCodec")
    }
}
