//! The hello handler: sends `welcome!`, answers each message M with `hello, M!`, closes on `exit`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::settings::Interval;
use switchboard::{Context, Handler, Kind, Reply, Result};

/// Sends a greeting for each message.
///
/// On a connection it sends the welcome first, answers each message M with the greeting, and closes without a reply on
/// the exit message. One trailing CR LF, LF or CR is removed from M, because terminal clients send a line end.
/// Datagram peers get no welcome, and the exit message is answered like any other.
#[derive(Debug, Clone)]
pub struct Hello {
    welcome: Bytes,
    /// The greeting up to the message.
    prefix: Bytes,
    /// The greeting after the message; `None` if it has no placeholder.
    suffix: Option<Bytes>,
    exit: Bytes,
    delay: Duration,
}

/// Options of the hello handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HelloOptions {
    /// Text sent to a new connection; empty: none.
    pub welcome: String,
    /// Reply to each message; `{}` is replaced by the message.
    pub greeting: String,
    /// Message that closes the connection.
    pub exit: String,
    /// Delay before each reply; other connections are not delayed.
    #[serde(with = "Interval")]
    #[schemars(with = "Interval")]
    pub delay: Duration,
}

impl Default for HelloOptions {
    fn default() -> Self {
        Self {
            welcome: "welcome!".to_owned(),
            greeting: "hello, {}!".to_owned(),
            exit: "exit".to_owned(),
            delay: Duration::ZERO,
        }
    }
}

impl Hello {
    /// Creates the handler. A greeting without `{}` is sent unchanged.
    pub fn new(options: HelloOptions) -> Self {
        let HelloOptions { welcome, greeting, exit, delay } = options;
        let (prefix, suffix) = match greeting.split_once("{}") {
            Some((prefix, suffix)) => (prefix.to_owned(), Some(suffix.to_owned().into())),
            None => (greeting, None),
        };
        Self { welcome: welcome.into(), prefix: prefix.into(), suffix, exit: exit.into(), delay }
    }

    fn greet(&self, name: &[u8]) -> Bytes {
        let Some(suffix) = &self.suffix else { return self.prefix.clone() };
        let mut greeting = BytesMut::with_capacity(self.prefix.len() + name.len() + suffix.len());
        greeting.extend_from_slice(&self.prefix);
        greeting.extend_from_slice(name);
        greeting.extend_from_slice(suffix);
        greeting.freeze()
    }
}

impl Default for Hello {
    fn default() -> Self {
        Self::new(HelloOptions::default())
    }
}

impl Handler for Hello {
    type State = ();

    async fn open(&self, _: &mut Context) -> Result<Reply> {
        if self.welcome.is_empty() {
            return Ok(Reply::none());
        }
        Ok(Reply::send(self.welcome.clone()))
    }

    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        let name = without_line_end(&message);
        if cx.kind() == Kind::Stream && name == self.exit {
            return Ok(Reply::finish());
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(Reply::send(self.greet(name)))
    }
}

/// Removes one trailing CR LF, LF or CR.
fn without_line_end(message: &[u8]) -> &[u8] {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    ends.iter().find_map(|end| message.strip_suffix(*end)).unwrap_or(message)
}

#[cfg(test)]
mod tests;
