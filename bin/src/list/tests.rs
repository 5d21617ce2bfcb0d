//! Tests of `list.rs`.

use super::*;

#[test]
fn the_list_contains_all_components_and_their_options() {
    let registry = crate::registry();
    let text = text(&registry);
    for part in [
        "Handlers\n  echo   either",
        "welcome",
        "= \"welcome!\"",
        "Transports",
        "udp",
        "json-lines",
        "replaces `limits.frame`",
        "Layers",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.lines().any(|line| line.ends_with(' ')));
}

#[test]
fn the_json_list_is_valid_json() {
    let list: Json = serde_json::from_str(&json(&crate::registry())).unwrap();
    assert_eq!(list["handlers"][1]["name"], "hello");
    let options = list["handlers"][1]["options"].as_array().unwrap();
    let welcome = options.iter().find(|option| option["name"] == "welcome").unwrap();
    assert_eq!((&welcome["default"], &welcome["type"]), (&json!("welcome!"), &json!("text")));
    assert!(list["transports"].as_array().unwrap().iter().any(|transport| transport["name"] == "tcp"));
    assert!(list["framings"].as_array().unwrap().iter().any(|framing| framing["name"] == "length"));
}
