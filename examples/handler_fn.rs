//! An async function as a handler without state. Try it: `nc 127.0.0.1 9999`.

use switchboard::prelude::*;

/// Reverses each line. The context has the peer address and a pusher; this handler needs neither.
async fn backwards(_: Context, line: Bytes) -> Result<Reply> {
    Ok(Reply::send(line.iter().rev().copied().collect::<Bytes>()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    // A closure works too: handler_fn(|cx: Context, line: Bytes| async move { … }).
    Server::bind(address).framing(Lines::default()).serve(handler_fn(backwards)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn backwards_keeps_the_laws() {
        conformance(|| handler_fn(backwards)).framing(Lines::default()).messages(["hello", "", "x"]).check();
    }
}
