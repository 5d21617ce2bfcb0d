//! A custom handler in the full server program: configuration files, environment, flags, logs, signals, exit status.
//!
//! Try it: `own_binary list`, `own_binary --handler oracle`, and then
//! `own_binary --handler oracle --set handlers.oracle.answers=heads,tails`. An address as the only
//! argument is short for `--listen ADDRESS --handler oracle`.

use std::process::ExitCode;

use serde::Deserialize;
use switchboard::Endpoint;
use switchboard::prelude::*;

/// Options of the oracle handler. The commands `list` and `schema` show the doc comments of the fields.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)] // A missing key has its default; an unknown key is an error.
struct OracleOptions {
    /// Replies, used in turn.
    answers: Vec<String>,
}

impl Default for OracleOptions {
    fn default() -> Self {
        Self { answers: ["yes", "no", "ask again"].map(String::from).to_vec() }
    }
}

/// Replies to every message with the next answer of its list.
struct Oracle {
    answers: Vec<Bytes>,
}

impl Oracle {
    /// Validates the options. The error is shown to the operator together with the key.
    fn new(options: OracleOptions) -> Result<Self> {
        if options.answers.is_empty() {
            return Err("the oracle handler needs at least one answer".into());
        }
        Ok(Self { answers: options.answers.into_iter().map(Bytes::from).collect() })
    }
}

impl Handler for Oracle {
    type State = usize; // Number of messages received on this connection.

    async fn message(&self, cx: &mut Context<usize>, _: Bytes) -> Result<Reply> {
        let answer = &self.answers[cx.state % self.answers.len()];
        cx.state += 1;
        Ok(Reply::send(answer.clone()))
    }
}

fn main() -> ExitCode {
    let mut registry = switchboard_server::registry();
    registry.handler("oracle", Oracle::new).set_summary("replies to every message with the next of its answers");

    // The shorthand makes it start like the other examples. Without it: `switchboard_server::run(registry)`.
    let mut args: Vec<String> = std::env::args().collect();
    if args.len() == 2 && args[1].parse::<Endpoint>().is_ok() {
        args.splice(1..1, ["--handler", "oracle", "--listen"].map(String::from));
    }
    switchboard_server::run_from(registry, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn the_oracle_keeps_the_laws() {
        let oracle = || Oracle::new(OracleOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        conformance(oracle).framing(Lines::default()).messages(["will it rain?", ""]).check();
    }
}
