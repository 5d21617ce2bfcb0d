//! Tests of `hello.rs`.

use super::*;

#[test]
fn exactly_one_line_ending_is_removed() {
    for (message, name) in [
        ("Michael", "Michael"),
        ("Michael\n", "Michael"),
        ("Michael\r\n", "Michael"),
        ("Michael\r", "Michael"),
        ("Michael\n\n", "Michael\n"),
        ("Michael\n\r", "Michael\n"),
        ("\r\n", ""),
        ("", ""),
    ] {
        assert_eq!(without_line_end(message.as_bytes()), name.as_bytes(), "{message:?}");
    }
}

#[test]
fn the_message_replaces_the_braces() {
    let hello = |greeting: &str| Hello::new(HelloOptions { greeting: greeting.into(), ..Default::default() });
    assert_eq!(hello("hello, {}!").greet(b"\xff\0"), &b"hello, \xff\0!"[..]);
    assert_eq!(hello("{} {}").greet(b"a"), "a {}");
    assert_eq!(hello("go away").greet(b"a"), "go away");
}
