//! Checks the variables of sd_listen_fds(3), before anything relies on their numbers.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use switchboard::settings::text::quoted;

use crate::handover::protocol::{FIRST_DESCRIPTOR, STREAM};

/// Maximum number of passed sockets.
const MAX_SOCKETS: usize = 10_000;
/// Maximum length of the name of a socket, as in systemd.
const MAX_NAME: usize = 255;

/// The name of each passed socket; none if the sockets are for another process. A variable without a value counts as
/// not set.
pub(super) fn passed_names(
    variable: impl Fn(&'static str) -> Option<OsString>,
    own_pid: u32,
) -> Result<Vec<String>, String> {
    let text = |name| match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(value)) => Err(rejected(name, &value.to_string_lossy(), "is not UTF-8 text")),
    };
    let number = |name, range: RangeInclusive<usize>| {
        let Some(text) = text(name)? else { return Ok(None) };
        let (first, last) = (range.start(), range.end());
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| rejected(name, &text, &format!("is not a number from {first} to {last}")))
    };
    if text("LISTEN_FDS")?.is_none() {
        return Ok(Vec::new());
    }
    if number("LISTEN_PID", 1..=u32::MAX as usize)?.is_some_and(|pid| pid != own_pid as usize) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS", 0..=MAX_SOCKETS)?.unwrap_or(0);
    let first = FIRST_DESCRIPTOR as usize;
    number("LISTEN_FDS_FIRST_FD", first..=first)?;
    let Some(text) = text("LISTEN_FDNAMES")? else { return Ok(vec!["unknown".to_owned(); count]) };
    let mut names: Vec<String> = text.split(':').take(count + 1).map(str::to_owned).collect();
    if names.first().is_some_and(|name| name == STREAM) {
        // The stream carries the names of the other sockets.
        names.resize(count, String::new());
        return Ok(names);
    }
    if names.len() != count {
        let names = text.split(':').count();
        return Err(rejected("LISTEN_FDNAMES", &text, &format!("has {names} names, but LISTEN_FDS is {count}")));
    }
    if let Some(name) = names.iter().find(|name| name.len() > MAX_NAME || name.chars().any(char::is_control)) {
        let what = format!("has a name that is longer than {MAX_NAME} bytes or has control characters");
        return Err(rejected("LISTEN_FDNAMES", name, &what));
    }
    names.iter_mut().filter(|name| name.is_empty()).for_each(|name| "unknown".clone_into(name));
    Ok(names)
}

fn rejected(name: &str, value: &str, what: &str) -> String {
    let hint = "unset it, or let the service manager pass the sockets, see sd_listen_fds(3)";
    format!("the environment variable {name} is {}, which {what}; {hint}", quoted(value))
}

#[cfg(test)]
mod tests;
