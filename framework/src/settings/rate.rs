//! A rate: a number of events in a time.

use std::time::Duration;

use super::text::text_option;
use super::units::Interval;

/// A number of events in a time, as text `100/s`, `5/m`, `1000/h` or `20/10m`. Zero: no limit.
///
/// ```
/// use switchboard::settings::Rate;
///
/// assert_eq!("100/s".parse::<Rate>()?, Rate::per_second(100));
/// assert_eq!(Rate::per_minute(5).to_string(), "5/m");
/// assert!("0/h".parse::<Rate>()?.is_off());
/// # Ok::<(), switchboard::settings::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rate {
    count: u32,
    /// Zero only if `count` is zero.
    per: Duration,
}

const RATE: &str = "a rate; write it like \"100/s\", \"5/m\" or \"1000/h\"";
text_option!(Rate, RATE, "100/s", parse, print);

impl Rate {
    /// `count` in each `per`. No limit if one of them is zero.
    pub fn new(count: u32, per: Duration) -> Self {
        if count == 0 || per.is_zero() { Self::default() } else { Self { count, per } }
    }

    /// `count` per second; 0 for no limit.
    pub fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1))
    }

    /// `count` per minute; 0 for no limit.
    pub fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60))
    }

    /// `count` per hour; 0 for no limit.
    pub fn per_hour(count: u32) -> Self {
        Self::new(count, Duration::from_secs(3600))
    }

    /// The number of events.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The time in which that many events are allowed.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// Whether there is no limit.
    pub fn is_off(&self) -> bool {
        self.count == 0
    }
}

fn parse(text: &str) -> Result<Rate, String> {
    let rate = || {
        let (count, unit) = text.split_once('/')?;
        let count = Some(count.trim()).filter(|count| count.bytes().all(|b| b.is_ascii_digit()))?;
        let per = match unit.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            time => *time.parse::<Interval>().ok().filter(|time| !time.is_zero())?,
        };
        Some(Rate::new(count.parse().ok()?, per))
    };
    rate().ok_or_else(|| format!("is not {RATE}"))
}

fn print(Rate { count, per }: Rate) -> String {
    match (per.as_secs(), per.subsec_nanos()) {
        (0 | 1, 0) => format!("{count}/s"),
        (60, 0) => format!("{count}/m"),
        (3600, 0) => format!("{count}/h"),
        _ => format!("{count}/{}", Interval::from(per).to_string().replace(' ', "")),
    }
}

#[cfg(test)]
mod tests;
