//! A function is a handler, where nothing is to be remembered. Try it: `nc 127.0.0.1 9999`.

use switchboard::prelude::*;

/// Answers each line with the same line, backwards. The context says who asked and can push; this one needs neither.
async fn backwards(_: Context, line: Bytes) -> Result<Reply> {
    Ok(Reply::send(line.iter().rev().copied().collect::<Bytes>()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    // A closure does as well: handler_fn(|cx: Context, line: Bytes| async move { … }).
    Server::bind(address).framing(Lines::default()).serve(handler_fn(backwards)).await
}
