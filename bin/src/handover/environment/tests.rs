//! Tests of `handover/environment.rs`.

use super::*;

fn names(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let variable = |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    passed_names(variable, 7)
}

#[test]
fn sockets_are_taken_by_name_and_only_for_this_process() {
    for (variables, expected) in [
        (&[][..], &[][..]),
        (&[("LISTEN_FDS", "")], &[]),
        (&[("LISTEN_FDS", "0")], &[]),
        (&[("LISTEN_FDS", "2")], &["unknown", "unknown"]),
        (&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")], &["a", "b"]),
        (&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:")], &["a", "unknown"]),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", ""), ("LISTEN_PID", "")], &["unknown"]),
        (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "7"), ("LISTEN_FDS_FIRST_FD", "3")], &["unknown"]),
        (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "8")], &[]),
        // The other variables are for that process too.
        (&[("LISTEN_FDS", "x"), ("LISTEN_PID", "8"), ("LISTEN_FDNAMES", "a:b:c")], &[]),
        (&[("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", STREAM)], &[STREAM, "", ""]),
    ] {
        assert_eq!(names(variables).unwrap(), expected, "{variables:?}");
    }
}

#[test]
fn every_other_value_is_rejected_with_the_variable_and_its_value() {
    let long = "n".repeat(256);
    for (variables, part) in [
        (&[("LISTEN_FDS", "2000000000")][..], "LISTEN_FDS is \"2000000000\", which is not a number from 0 to 10000"),
        (&[("LISTEN_FDS", "10001")], "LISTEN_FDS is \"10001\""),
        (&[("LISTEN_FDS", "-1")], "LISTEN_FDS is \"-1\""),
        (&[("LISTEN_FDS", "two")], "LISTEN_FDS is \"two\""),
        (&[("LISTEN_FDS", "1 ")], "LISTEN_FDS is \"1 \""),
        (&[("LISTEN_FDS", "99999999999999999999999999")], "LISTEN_FDS is \"9999"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "me")], "LISTEN_PID is \"me\""),
        (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "-7")], "LISTEN_PID is \"-7\""),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "2147483647")], "LISTEN_FDS_FIRST_FD is \"2147483647\""),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "0")], "LISTEN_FDS_FIRST_FD is \"0\""),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")], "has 2 names, but LISTEN_FDS is 1"),
        (&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")], "has 1 names, but LISTEN_FDS is 2"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a\u{1b}[2J")], "has control characters"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a\nb")], "has control characters"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", &long)], "longer than 255 bytes"),
    ] {
        let error = names(variables).unwrap_err();
        assert!(error.contains(part), "{variables:?}: {error}");
        assert!(error.len() < 400 && !error.contains(char::is_control), "{variables:?}: {error}");
    }
    let variable = |name: &str| {
        use std::os::unix::ffi::OsStringExt;
        let value = if name == "LISTEN_FDS" { b"1".to_vec() } else { vec![0xff] };
        (name != "LISTEN_PID").then(|| OsString::from_vec(value))
    };
    assert!(passed_names(variable, 7).unwrap_err().contains("is not UTF-8 text"));
}
