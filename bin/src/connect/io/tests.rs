//! Tests of `connect/io.rs`.

use super::*;

#[test]
fn a_reply_is_printed_unchanged_on_a_separate_line() {
    let mut out = Vec::new();
    print_reply(&mut out, b"\xff\xfe").unwrap();
    print_reply(&mut out, b"line\n").unwrap();
    print_reply(&mut out, b"").unwrap();
    assert_eq!(out, b"\xff\xfe\nline\n\n");
}
