//! The conformance kit: correct handlers keep all laws, and each fault breaks the law that names it.

use std::time::{Duration, Instant};

use switchboard::prelude::*;
use switchboard::testing::conformance;
use switchboard_handlers::{Echo, Hello};

#[test]
fn echo_keeps_all_laws_in_less_than_a_second() {
    let began = Instant::now();
    let report = conformance(|| Echo).framing(Lines::default()).messages(["hello", "", "x"]).cases(200).run();
    eprintln!("{report}{:?}", began.elapsed());
    assert!(report.broken().is_empty(), "{report}");
}

#[test]
fn hello_keeps_all_laws() {
    conformance(Hello::default).framing(Lines::default()).messages(["Ada", "", "x", "exit"]).check();
}

#[test]
fn the_built_in_handlers_keep_the_laws_of_datagrams() {
    conformance(|| Echo).datagrams().messages(["hello", "", "x"]).check();
    conformance(Hello::default).datagrams().messages(["Ada", "", "exit"]).check();
}

#[test]
fn every_framing_keeps_the_laws() {
    let messages = ["hello", "", "x"];
    conformance(|| Echo).framing(Length::default()).messages(messages).check();
    conformance(|| Echo).framing(Delimited::new("ab").unwrap()).messages(messages).check();
    conformance(|| Echo).framing(JsonLines::default()).messages(["{}", "[1, 2]", "\"x\""]).check();
    conformance(|| Echo).framing(framing::duplex(Lines::default(), Length::default())).encoded(["a\n", "\n"]).check();
    // Without boundaries, but each byte gets its reply.
    conformance(|| Echo).messages(["hello", "x"]).check();
}

#[test]
fn every_layer_keeps_the_laws() {
    let layers = conformance(|| Echo).framing(Lines::default()).messages(["hello", "", "x"]).set(|server| {
        let timeout = Timeout::new(Duration::from_secs(5));
        server.layer(RatePerSource::per_second(100)).layer(Concurrency::new(8)).layer(timeout).layer(Trace::messages())
    });
    layers.check();
}
