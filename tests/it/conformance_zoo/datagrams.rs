//! Broken handlers of datagrams.

use std::collections::HashSet;

use switchboard::prelude::*;
use switchboard::testing::{Conformance, Law, conformance};

use super::breaks;

fn datagrams<M>(handler: M) -> Conformance<M, Raw> {
    conformance(handler)
        .framing(Raw::default())
        .datagrams()
        .messages(["\x00\x01one", "\x00\x02two", "\x00\x03"])
        .cases(40)
}

struct Header;
handler!(
    /// Believes that a datagram has a header.
    Header: (), |_this, _cx, datagram| Ok(Reply::send(datagram.slice(2..)))
);

#[test]
fn a_datagram_that_is_shorter_than_its_header() {
    breaks(Law::Truncation, &datagrams(|| Header).waive(Law::Noise, "broken for the same reason").run());
}

struct InSequence;
handler!(
    /// Replies only to the next datagram of a sequence.
    InSequence: u8, |_this, cx, datagram| {
        let number = datagram.get(1).copied().unwrap_or_default();
        if number < cx.state {
            return Ok(Reply::none());
        }
        cx.state = number;
        Ok(Reply::send(datagram))
    }
);

#[test]
fn a_datagram_that_is_late() {
    breaks(Law::Reordering, &datagrams(|| InSequence).run());
}

struct Once;
handler!(
    /// Does not reply to a request that is repeated because its reply was lost.
    Once: HashSet<Bytes>, |_this, cx, datagram| {
        Ok(if cx.state.insert(datagram.clone()) { Reply::send(datagram) } else { Reply::none() })
    }
);

#[test]
fn a_request_that_is_repeated() {
    breaks(Law::Duplication, &datagrams(|| Once).run());
}

struct WaitsForFirst;
handler!(
    /// Replies only after the first datagram of a transfer, which can be lost.
    WaitsForFirst: bool, |_this, cx, datagram| {
        cx.state |= datagram.get(1) == Some(&1) || datagram.len() < 3;
        Ok(if cx.state { Reply::send(datagram) } else { Reply::none() })
    }
);

#[test]
fn a_first_datagram_that_is_lost() {
    let report = datagrams(|| WaitsForFirst).waive(Law::Reordering, "broken for the same reason");
    breaks(Law::Loss, &report.waive(Law::Truncation, "broken for the same reason").run());
}
