//! Tests of `settings/rate.rs`.

use super::*;

#[test]
fn rates() {
    let rate = |text: &str| text.parse::<Rate>().map(|rate| (rate.count, rate.per.as_secs()));
    assert_eq!(rate("100/s"), Ok((100, 1)));
    assert_eq!(rate("5/m"), Ok((5, 60)));
    assert_eq!(rate("7/h"), Ok((7, 3600)));
    assert_eq!(rate("0/h"), Ok((0, 0)));
    for text in ["100", "100/day", "/s", "-1/s", "1.5/s", "+1/s", "99999999999/s", "5/0s", "5/"] {
        assert!(text.parse::<Rate>().expect_err(text).to_string().contains("100/s"), "{text}");
    }
    assert_eq!(Rate::default().to_string(), "0/s");
}

#[test]
fn a_printed_rate_parses_to_the_same_rate() {
    let rates = [Rate::per_second(100), Rate::per_minute(5), Rate::per_hour(7), Rate::default()];
    let others = [(5, 10_000), (1, 1500), (3, 90_000)].map(|(count, ms)| Rate::new(count, Duration::from_millis(ms)));
    for rate in rates.into_iter().chain(others) {
        assert_eq!(rate.to_string().parse(), Ok(rate), "{rate}");
    }
    assert_eq!(others.map(|rate| rate.to_string()), ["5/10s", "1/1s500ms", "3/1m30s"]);
}
