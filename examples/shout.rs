//! Answers in capitals, and numbers its answers. Try it: `nc 127.0.0.1 9999`.

use switchboard::prelude::*;

/// Answers with what it got, in capitals, and numbers its answers.
struct Shout;

impl Handler for Shout {
    type State = u64; // what one connection remembers; Default makes it

    async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
        cx.state += 1;
        Ok(Reply::send(format!("{}: {}", cx.state, message.escape_ascii()).to_uppercase()))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address).framing(Lines::default()).layer(RatePerSource::per_second(100)).serve(Shout).await
}
