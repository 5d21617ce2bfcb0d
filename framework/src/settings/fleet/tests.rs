//! Tests of `fleet.rs`.

use super::*;

#[test]
fn a_link_has_a_scheme_a_server_and_perhaps_a_database() {
    for (text, printed) in [
        ("redis://localhost", "redis://localhost:6379"),
        ("redis://127.0.0.1:7000/", "redis://127.0.0.1:7000"),
        ("rediss://[::1]", "rediss://[::1]:6379"),
        ("redis://[2001:db8::1]:7000/3", "redis://[2001:db8::1]:7000/3"),
        ("redis-sentinel://one,two:7000/my.primary", "redis-sentinel://one:26379,two:7000/my.primary"),
        ("redis+unix:/run/redis.sock", "redis+unix:/run/redis.sock"),
        ("redis+unix:///run/redis.sock", "redis+unix:/run/redis.sock"),
    ] {
        assert_eq!(text.parse::<Link>().map(|link| link.to_string()), Ok(printed.to_owned()), "{text}");
    }
}

#[test]
fn an_invalid_link_is_an_error_that_never_shows_a_password() {
    for text in [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://:6379",
        "redis://host:0",
        "redis://host:port",
        "redis://host/db",
        "redis+unix:",
        "redis+unix:relative.sock",
        "redis://::1",
        "redis-sentinel://one",
        "redis-sentinel://one/",
        "redis-sentinel:///primary",
        "redis-sentinel://one,/primary",
    ] {
        let error = text.parse::<Link>().unwrap_err().to_string();
        assert!(error.contains("the address of "), "{text}: {error}");
    }
    let error = "redis://user:hunter2@host".parse::<Link>().unwrap_err().to_string();
    assert!(error.contains("fleet.password") && !error.contains("hunter2"), "{error}");
}
