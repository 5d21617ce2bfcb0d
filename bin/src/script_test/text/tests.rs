//! Tests of `script_test/text.rs`.

use switchboard::script::Data;

use super::*;

#[test]
fn the_mark_is_below_the_first_difference() {
    let excerpt = |expected: &[u8], received: &[u8], at| rendered(&Excerpt::new(&expected.into(), received, at));
    assert_eq!(
        excerpt(b"hello, Ada!", b"hello, Bob!", 7),
        "  expected  \"hello, Ada!\"\n  received  \"hello, Bob!\"\n                    ^\n"
    );
    assert_eq!(
        excerpt(b"\x00\x05\x01\x02", b"\x00\x06\xff", 1),
        "  expected  00 05 01 02\n  received  00 06 ff\n               ^\n"
    );
    assert_eq!(excerpt(b"a\nb", b"a\nc", 2), "  expected  \"a\\nb\"\n  received  \"a\\nc\"\n                ^\n");
    let long = excerpt(&[b'a'; 100], &[&[b'a'; 50][..], b"b"].concat(), 50);
    assert!(
        long.contains("  expected  …\"aaaaaaaaaaaaaaaa") && long.contains("\"…\n  received  …\"aaaaaaaaaaaaaaaab\"\n")
    );
}

#[test]
fn bytes_of_any_value_and_missing_bytes_are_shown() {
    let mut data = Data::from(b"id ");
    data.push_unknown(2);
    data.push(b"\n");
    let excerpt = rendered(&Excerpt::new(&data, b"id 42", 5));
    assert_eq!(excerpt, "  expected  \"id **\\n\"\n  received  \"id 42\"\n                  ^\n");
    let surplus = rendered(&Excerpt::new(&Data::new(), b"more\x1b[2J", 0));
    assert_eq!(surplus, "  received  \"more\\x1b[2J\"\n");
}
