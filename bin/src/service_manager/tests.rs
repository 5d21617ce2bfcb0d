//! Tests of `service_manager.rs`.

use super::*;

fn timeout(variables: &[(&str, &str)]) -> Result<Option<Duration>, String> {
    let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    watchdog_timeout(value, 7)
}

#[test]
fn every_value_of_the_watchdog_variables_is_used_ignored_or_reported() {
    for (variables, expected) in [
        (&[][..], Ok(None)),
        (&[("WATCHDOG_USEC", "")], Ok(None)),
        (&[("WATCHDOG_USEC", "30000000")], Ok(Some(Duration::from_secs(30)))),
        (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")], Ok(Some(Duration::from_secs(30)))),
        (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")], Ok(None)),
        (&[("WATCHDOG_USEC", "18446744073709551615")], Ok(Some(MAX_WATCHDOG))),
        (&[("WATCHDOG_USEC", "0")], Err("WATCHDOG_USEC is 0; the shortest")),
        (&[("WATCHDOG_USEC", "1")], Err("WATCHDOG_USEC is 1; the shortest")),
        (&[("WATCHDOG_USEC", "soon")], Err("WATCHDOG_USEC is \"soon\", which is not a number")),
        (&[("WATCHDOG_USEC", "-1")], Err("WATCHDOG_USEC is \"-1\"")),
        (&[("WATCHDOG_USEC", "18446744073709551616")], Err("is not a number")),
        (&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "me")], Err("WATCHDOG_PID is \"me\"")),
    ] {
        match (timeout(variables), expected) {
            (Err(found), Err(part)) => assert!(found.contains(part), "{variables:?}: {found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned), "{variables:?}"),
        }
    }
}
