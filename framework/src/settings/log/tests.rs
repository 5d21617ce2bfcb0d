//! Tests of `settings/log.rs`.

use super::*;

#[test]
fn levels_and_filters() {
    for text in ["info", "OFF", "info,switchboard=debug", "switchboard[peer{x=1}]=trace,warn"] {
        assert!(parse_level(text).is_ok(), "{text}");
    }
    assert!(parse_level("inf").unwrap_err().contains("did you mean \"info\"?"));
    for text in ["", "switchboard", "switchboard=loud", "info,,warn"] {
        parse_level(text).unwrap_err();
    }
    assert_eq!(serde_json::to_value(LogFormat::Json).unwrap(), "json");
}

#[test]
fn rust_log_can_name_a_module_and_is_ignored_if_empty() {
    let level = |text| LogSettings::level_of_rust_log(OsStr::new(text));
    assert_eq!(level(""), Ok(None));
    let module = level("switchboard").unwrap().unwrap();
    assert!(parse_level(&module).is_ok(), "{module}");
    assert!(level("a=b=c").unwrap_err().contains("\"a=b=c\" is not a level"));
}
