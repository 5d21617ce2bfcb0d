//! Tests of `connect/terminal.rs`.

use super::*;

#[test]
fn control_characters_are_escaped() {
    assert_eq!(render(b"hi\n", false), "hi\n");
    assert_eq!(render(b"hi", true), "\x1b[32mhi\x1b[0m\n");
    assert_eq!(render(b"a\x1b[2Jb\r\x07\tc", false), "a\\u{1b}[2Jb\\r\\u{7}\tc\n");
    assert_eq!(render(b"\xff", false), "\u{fffd}\n");
}
