//! Tests of `connect/terminal.rs`.

use super::*;

#[test]
fn control_characters_are_escaped() {
    assert_eq!(render(b"hi\n", false), "hi\n");
    assert_eq!(render(b"hi", true), "\x1b[32mhi\x1b[0m\n");
    assert_eq!(render(b"a\x1b[2Jb\r\x07\tc", false), "a\\u001B[2Jb\\u000D\\u0007\tc\n");
    let bidirectional = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f\u{9b}31m\u{85}g";
    let escaped = "a\\u202Eb\\u2066c\\u200Fd\\u061Ce\\u2028f\\u009B31m\\u0085g\n";
    assert_eq!(render(bidirectional.as_bytes(), false), escaped);
    assert_eq!(render(b"\xff", false), "\u{fffd}\n");
}
