//! Tests of `config/sections.rs`.

use super::*;

#[test]
fn names() {
    assert!(is_name("a-b_1") && !is_name("A") && !is_name("1a") && !is_name("") && !is_name("-a"));
}
