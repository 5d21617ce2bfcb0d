//! Tests of `settings/text.rs`.

use super::*;

#[test]
fn paths_are_accepted_and_errors_never_contain_key_material() {
    let path = |text: &str| deserialize_path(serde_json::Value::from(text)).map_err(|error| error.to_string());
    assert_eq!(path("cert.pem"), Ok("cert.pem".into()));
    assert!(path("").unwrap_err().contains("cannot be empty"));
    assert!(!path("-----BEGIN PRIVATE KEY-----\nhunter2").unwrap_err().contains("hunter2"));
}
