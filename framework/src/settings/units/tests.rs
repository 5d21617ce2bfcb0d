//! Tests of `settings/units.rs`.

use std::fmt;
use std::str::FromStr;

use super::*;
use crate::settings::InvalidValue;

fn wrong<T: FromStr<Err = InvalidValue> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(text).to_string()
}

#[test]
fn sizes() {
    for (text, bytes) in [("64KiB", 65536), ("1GiB", 1 << 30), ("65000B", 65000), ("1MB", 1_000_000), ("1", 1)] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    assert_eq!(wrong::<Size>("lots"), "\"lots\" is not a size; write it like \"64KiB\"");
    for text in ["0", "2GiB", "99999999999999GiB"] {
        assert!(wrong::<Size>(text).contains("1B to 1GiB"), "{text}");
    }
    for bytes in [1, 1023, 1024, 65536, 3 << 20, 1 << 30] {
        assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }
}

#[test]
fn durations() {
    for (text, seconds) in [("0s", 0.0), ("500ms", 0.5), ("5m", 300.0), ("1h 30m", 5400.0), ("365days", 31_536_000.0)] {
        assert_eq!(text.parse(), Ok(Interval(Duration::from_secs_f64(seconds))), "{text}");
    }
    assert!(wrong::<Interval>("30").contains("30s"));
    assert!(wrong::<Interval>("30 parsecs").contains("is not a duration"));
    assert!(wrong::<Interval>("400days").contains("0s to 365days"));
    assert!(wrong::<Keepalive>("500ms").contains("1s to 9h"));
    assert!(wrong::<Keepalive>("10h").contains("1s to 9h"));
    for millis in [0, 500, 90_000, 5_400_000] {
        let interval = Interval(Duration::from_millis(millis));
        assert_eq!(interval.to_string().parse(), Ok(interval));
    }
}

#[test]
fn modes() {
    assert_eq!("0660".parse(), Ok(Mode(0o660)));
    assert_eq!("600".parse::<Mode>().unwrap().to_string(), "0600");
    for text in ["0800", "1777", "6", "+600", "rw"] {
        assert!(wrong::<Mode>(text).contains("0600"), "{text}");
    }
}
