//! The framing of a listener as a recorder needs it.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio_util::codec::Encoder;

use super::any::AnyFraming;
use super::definition::Framing;
use crate::recorder::RecordedFraming;

impl AnyFraming {
    /// `None` if a configuration cannot name the framing.
    pub(crate) fn recorded(&self) -> Option<RecordedFraming> {
        let options = match self.options() {
            Value::Null if self.has_default_options() => String::new(),
            Value::Object(options) => {
                let option = |(name, value): (&String, &Value)| format!(", {name} = {}", inline(value));
                options.iter().map(option).collect()
            }
            _ => return None,
        };
        let text = match &*options {
            "" => self.name().to_owned(),
            options => format!("{{ type = {}{options} }}", Value::from(self.name())),
        };
        let framing = self.clone();
        let rejects_messages = !["raw", "lines", "length", "delimited"].contains(&self.name());
        let encode = move |message: &[u8]| {
            let mut encoded = BytesMut::new();
            framing.codec(usize::MAX).encode(Bytes::copy_from_slice(message), &mut encoded).ok()?;
            Some(encoded.to_vec())
        };
        Some(RecordedFraming { text, rejects_messages, encode: Box::new(encode) })
    }
}

/// A value as TOML in one line. Text, numbers and lists are written as in JSON.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{} = {}", Value::from(&**name), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
