//! Tests of `hello.rs`.

use super::*;

#[test]
fn one_line_end_is_cut_and_no_more() {
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
fn the_message_takes_the_place_of_the_braces() {
    let hello = |greeting: &str| Hello::new(HelloOptions { greeting: greeting.into(), ..Default::default() });
    assert_eq!(hello("hello, {}!").greet(b"\xff\0"), &b"hello, \xff\0!"[..]);
    assert_eq!(hello("{} {}").greet(b"a"), "a {}");
    assert_eq!(hello("go away").greet(b"a"), "go away");
}
