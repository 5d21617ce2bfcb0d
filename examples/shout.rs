//! Replies in upper case and numbers the replies. Try it: `nc 127.0.0.1 9999`.

use switchboard::prelude::*;

/// Replies with the message in upper case and the number of the message on its connection.
struct Shout;

impl Handler for Shout {
    type State = u64; // Per connection; created by Default.

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

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn shout_keeps_the_laws() {
        conformance(|| Shout).framing(Lines::default()).messages(["hello", "", "x"]).check();
    }
}
