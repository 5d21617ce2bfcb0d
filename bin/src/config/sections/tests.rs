//! Tests of `config/sections.rs`.

use super::*;

#[test]
fn names_and_words() {
    assert!(is_name("a-b_1") && !is_name("A") && !is_name("1a") && !is_name("") && !is_name("-a"));
    assert_eq!(serde_json::to_value(Format::Json).unwrap(), "json");
}

#[test]
fn levels_and_filters() {
    for text in ["info", "OFF", "info,switchboard=debug", "switchboard[peer{x=1}]=trace,warn"] {
        assert!(check_level(text).is_ok(), "{text}");
    }
    assert!(check_level("inf").unwrap_err().contains("did you mean \"info\"?"));
    for text in ["", "switchboard", "switchboard=loud", "info,,warn"] {
        check_level(text).unwrap_err();
    }
}
