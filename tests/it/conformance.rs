//! The conformance kit: correct handlers keep all laws, and each fault breaks the law that names it.

use std::time::Instant;

use switchboard::prelude::*;
use switchboard::testing::{Law, conformance};
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
