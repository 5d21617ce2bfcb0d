//! Checks that the conformance kit finds each fault in the patched copy of the framework.

use std::process::ExitCode;
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::testing::{Law, conformance};

/// A fault of the patch, the law that names it, and where a real project had it.
const FAULTS: [(&str, Law, &str); 7] = [
    ("half_close", Law::HalfClose, "nginx stream and Twisted by default: the replies after a FIN are lost"),
    ("drain", Law::Drain, "pingora #865: a shutdown drops what is in progress"),
    ("water_mark", Law::NoReader, "asyncio CVE-2024-12254: output without a limit"),
    ("paused", Law::Clock, "a paused process closes its active clients"),
    ("no_limit", Law::Sizes, "tokio-util LinesCodec::new, go-proxyproto CVE-2021-23351: no end is demanded"),
    ("split_frame", Law::Cuts, "haproxy #3478: a frame that is split across segments"),
    ("order", Law::ReplyOrder, "a reply before the one to the previous message"),
];

/// Replies after some time.
async fn slow_echo(_: Context, message: Bytes) -> Result<Reply> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(Reply::send(message))
}

async fn later_echo(_: Context, message: Bytes) -> Result<Reply> {
    Ok(Reply::later(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Reply::send(message))
    }))
}

/// The laws that do not hold, for handlers that reply at once, after some time, and later.
fn broken() -> Vec<Law> {
    let large = "x".repeat(1000);
    let messages = || ["one", "", &large].map(|message| Bytes::copy_from_slice(message.as_bytes()));
    let lines = || Lines::default();
    let echo = || handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    let mut broken = conformance(echo).framing(lines()).messages(messages()).cases(20).run().broken();
    broken.extend(conformance(|| handler_fn(slow_echo)).framing(lines()).messages(messages()).cases(20).run().broken());
    broken.extend(conformance(|| handler_fn(later_echo)).framing(lines()).messages(messages()).cases(20).run().broken());
    broken.sort_by_key(|law| *law as usize);
    broken.dedup();
    broken
}

fn main() -> ExitCode {
    let mut missed = usize::from(!broken().is_empty());
    for (fault, law, of) in FAULTS {
        switchboard::set_fault(fault);
        let broken = broken();
        let names: Vec<_> = broken.iter().map(|law| law.as_str()).collect();
        println!("{fault:<12} {:<8} {} ({of})", if broken.contains(&law) { "found" } else { "MISSED" }, names.join(", "));
        missed += usize::from(!broken.contains(&law));
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
