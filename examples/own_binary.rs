//! A handler of one's own under the whole configuration: files, environment, flags, logs, signals, exit status.
//!
//! Try it: `own_binary list`, `own_binary --handler oracle`, and then
//! `own_binary --handler oracle --set handlers.oracle.answers=heads,tails`. An address alone is short for
//! `--listen ADDRESS --handler oracle`.

use std::process::ExitCode;

use serde::Deserialize;
use switchboard::Endpoint;
use switchboard::prelude::*;

/// Options of the oracle. What stands here in doc comments is what `list` and `schema` tell the operator.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)] // a key that is left out has its default, one that is misspelled is an error
struct OracleOptions {
    /// What it answers, in turn.
    answers: Vec<String>,
}

impl Default for OracleOptions {
    fn default() -> Self {
        Self { answers: ["yes", "no", "ask again"].map(String::from).to_vec() }
    }
}

/// Answers every question, whatever it is.
struct Oracle {
    answers: Vec<Bytes>,
}

impl Oracle {
    /// What a type cannot say is refused here, with a sentence that the operator reads next to the key.
    fn new(options: OracleOptions) -> Result<Self> {
        if options.answers.is_empty() {
            return Err("an oracle needs at least one answer".into());
        }
        Ok(Self { answers: options.answers.into_iter().map(Bytes::from).collect() })
    }
}

impl Handler for Oracle {
    type State = usize; // how many questions this connection has asked

    async fn message(&self, cx: &mut Context<usize>, _: Bytes) -> Result<Reply> {
        let answer = &self.answers[cx.state % self.answers.len()];
        cx.state += 1;
        Ok(Reply::send(answer.clone()))
    }
}

fn main() -> ExitCode {
    let mut registry = switchboard_server::registry();
    registry.handler("oracle", Oracle::new).set_summary("answers every question");

    // Only so that it starts like the other examples; otherwise it is `switchboard_server::run(registry)`.
    let mut words: Vec<String> = std::env::args().collect();
    if words.len() == 2 && words[1].parse::<Endpoint>().is_ok() {
        words.splice(1..1, ["--handler", "oracle", "--listen"].map(String::from));
    }
    switchboard_server::run_from(registry, words)
}
