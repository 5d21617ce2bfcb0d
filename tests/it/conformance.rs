//! The conformance kit: the built-in handlers, framings and layers keep all laws.

use std::time::Duration;

use switchboard::prelude::*;
use switchboard::testing::{Law, conformance};
use switchboard_handlers::{Echo, Hello, HelloOptions};

#[test]
fn echo_keeps_all_laws_in_200_cases_of_each() {
    let report = conformance(|| Echo).framing(Lines::default()).messages(["hello", "", "x"]).cases(200).run();
    assert!(report.broken().is_empty(), "{report}");
    for law in Law::ALL.into_iter().take_while(|law| *law != Law::ReplyOrder) {
        assert!(report.cases(law) > 0, "{law}: {report}");
    }
    assert!(
        [Law::Cuts, Law::TwoAtOnce, Law::Reset, Law::Drain, Law::Noise].iter().all(|law| report.cases(*law) == 200)
    );
}

#[test]
fn hello_keeps_all_laws() {
    let messages = ["Ada", "", "x", "exit"];
    conformance(Hello::default).framing(Lines::default()).messages(messages).check();
    let slow = || Hello::new(HelloOptions { delay: Duration::from_secs(2), ..HelloOptions::default() });
    conformance(slow).framing(Length::default()).messages(messages).cases(40).check();
    let raw = conformance(Hello::default).messages(["Ada", "x", "exit"]);
    let raw = raw.waive(Law::Cuts, "a message is what one read returns");
    raw.waive(Law::Pipelining, "a message is what one read returns").check();
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
    let raw = conformance(|| Echo).messages(messages);
    raw.waive(Law::Cuts, "a message is what one read returns").check();
}

#[test]
fn every_layer_keeps_the_laws() {
    let layers = conformance(|| Echo).framing(Lines::default()).messages(["hello", "", "x"]).set(|server| {
        let timeout = Timeout::new(Duration::from_secs(5));
        server.layer(RatePerSource::per_second(100)).layer(Concurrency::new(8)).layer(timeout).layer(Trace::messages())
    });
    layers.check();
}
