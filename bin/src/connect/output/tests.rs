//! Tests of `connect/output.rs`.

use super::*;

#[test]
fn a_reply_is_printed_unchanged_on_a_separate_line() {
    let mut output = Output { out: Vec::new(), shape: Shape::Bytes };
    for reply in [&b"\xff\xfe"[..], b"line\n", b""] {
        output.print(reply).unwrap();
    }
    assert_eq!(output.out, b"\xff\xfe\nline\n\n");
}

#[test]
fn control_characters_are_escaped() {
    assert_eq!(render(b"hi\n", false, false), "hi\n");
    assert_eq!(render(b"hi", false, true), "\x1b[32mhi\x1b[0m\n");
    assert_eq!(render(b"a\x1b[2Jb\r\x07\tc", false, false), "a\\u001B[2Jb\\u000D\\u0007\tc\n");
    let bidirectional = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f\u{9b}31m\u{85}g";
    let escaped = "a\\u202Eb\\u2066c\\u200Fd\\u061Ce\\u2028f\\u009B31m\\u0085g\n";
    assert_eq!(render(bidirectional.as_bytes(), false, false), escaped);
}

#[test]
fn a_reply_that_is_not_text_is_a_hex_dump() {
    assert_eq!(render(b"\xff", false, false), format!("0000:   ff{}   .\n", " ".repeat(48)));
    let dump = render(b"\0\x01abcdefghijklmnop", false, false);
    let lines: Vec<_> = dump.lines().collect();
    assert!(lines[0].starts_with("0000:   00 01 61 62  63 64") && lines[0].ends_with("..abcdefghijklmn"), "{dump}");
    assert!(lines.len() == 2 && lines[1].starts_with("0010:   6f 70 "), "{dump}");
    assert!(render(b"hi", true, false).starts_with("0000:   68 69 "));
}
