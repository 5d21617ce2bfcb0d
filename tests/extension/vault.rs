//! A handler with a planted defect and with secrets, for the tests of the flight recorder.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use switchboard_server::switchboard::Result;
use switchboard_server::switchboard::prelude::*;

pub(crate) const SUMMARY: &str = "opens if it is armed first; opening panics unless it is corrected";

#[derive(Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VaultOptions {
    /// Whether the defect is corrected.
    corrected: bool,
}

pub(crate) struct Vault(VaultOptions);

pub(crate) fn build(options: VaultOptions) -> Result<Vault> {
    Ok(Vault(options))
}

impl Handler for Vault {
    /// Whether it is armed.
    type State = bool;

    async fn message(&self, cx: &mut Context<bool>, message: Bytes) -> Result<Reply> {
        Ok(match &message[..] {
            b"arm" => {
                cx.state = true;
                Reply::send("armed")
            }
            b"open" if cx.state && !self.0.corrected => panic!("the vault opens twice"),
            b"open" => Reply::send("open"),
            b"time" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                Reply::send(format!("time {:020}", now.as_nanos()))
            }
            login if login.starts_with(b"login ") => Reply::send("welcome"),
            other => Reply::send(other.to_ascii_uppercase()),
        })
    }

    fn redact(&self, direction: Direction, message: &mut BytesMut) {
        if direction == Direction::Received && message.starts_with(b"login ") {
            message[6..].fill(b'x');
        }
    }

    fn normalise(&self, reply: &mut BytesMut) {
        if reply.starts_with(b"time ") {
            reply.truncate(5);
        }
    }
}
