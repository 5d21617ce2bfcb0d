//! The log of a program on the library: one call prints the events of the server. Try it: `nc 127.0.0.1 9999`, and the
//! message `ten`. `RUST_LOG=debug` prints more.

use switchboard::log;
use switchboard::prelude::*;
use switchboard::settings::LogSettings;

/// Doubles each number. Another message is an error: the connection closes, and the log has the reason.
struct Double;

impl Handler for Double {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        let number: u32 = std::str::from_utf8(&message)?.parse()?;
        Ok(Reply::send((u64::from(number) * 2).to_string()))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let _log = log::install(&LogSettings::default())?; // writes the last lines when it is dropped
    Server::bind(address).framing(Lines::default()).serve(Double).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn double_keeps_the_laws() {
        conformance(|| Double).framing(Lines::default()).messages(["1", "21", "ten"]).check();
    }
}
