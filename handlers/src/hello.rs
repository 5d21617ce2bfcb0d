//! The socket tutorial's server: says `welcome!`, answers `hello, X!`, closes on `exit`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::{Context, Handler, Kind, Reply, Result};

/// Greets whoever connects.
///
/// On a connection it sends the welcome at once, answers each message M with the greeting, and closes without an answer on
/// the exit word. One trailing CR LF, LF or CR is cut from M, so that a person with a terminal client is greeted properly.
/// On datagrams there is no welcome and no exit: every datagram is greeted.
#[derive(Debug, Clone)]
pub struct Hello {
    welcome: Bytes,
    /// The greeting up to the name.
    before: Bytes,
    /// What follows the name; `None` for a greeting without one.
    after: Option<Bytes>,
    exit: Bytes,
    delay: Duration,
}

/// Options of the hello handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HelloOptions {
    /// What a new connection is told; empty for nothing.
    pub welcome: String,
    /// The answer to each message, which takes the place of `{}`.
    pub greeting: String,
    /// The message that closes the connection.
    pub exit: String,
    /// How long to wait before each answer, without holding up anyone else.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
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
    /// A greeter with these words. A greeting without `{}` is the same for everybody.
    pub fn new(options: HelloOptions) -> Self {
        let HelloOptions { welcome, greeting, exit, delay } = options;
        let (before, after) = match greeting.split_once("{}") {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned().into())),
            None => (greeting, None),
        };
        Self { welcome: welcome.into(), before: before.into(), after, exit: exit.into(), delay }
    }

    fn greet(&self, name: &[u8]) -> Bytes {
        let Some(after) = &self.after else { return self.before.clone() };
        let mut greeting = BytesMut::with_capacity(self.before.len() + name.len() + after.len());
        greeting.extend_from_slice(&self.before);
        greeting.extend_from_slice(name);
        greeting.extend_from_slice(after);
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

/// Cuts one trailing CR LF, LF or CR.
fn without_line_end(message: &[u8]) -> &[u8] {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    ends.iter().find_map(|end| message.strip_suffix(*end)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_cut_and_no_more() {
        for (message, name) in [
            ("Michael", "Michael"),
            ("Michael\n", "Michael"),
            ("Michael\r\n", "Michael"),
            ("Michael\r", "Michael"),
            ("Michael\n\n", "Michael\n"),
            ("Michael\n\r", "Michael\n"),
            ("\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(without_line_end(message.as_bytes()), name.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn the_message_takes_the_place_of_the_braces() {
        let hello = |greeting: &str| Hello::new(HelloOptions { greeting: greeting.into(), ..Default::default() });
        assert_eq!(hello("hello, {}!").greet(b"\xff\0"), &b"hello, \xff\0!"[..]);
        assert_eq!(hello("{} {}").greet(b"a"), "a {}");
        assert_eq!(hello("go away").greet(b"a"), "go away");
    }
}
