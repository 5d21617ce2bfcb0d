//! Configurations: whatever is written, it is refused with sentences, or printed so that it is read again as the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use switchboard::Registry;
use switchboard_server::ConfigCheck;

static REGISTRY: LazyLock<Registry> = LazyLock::new(switchboard_server::registry);

/// A file: a first byte for the format, then what stands in it.
pub fn config_file(data: &[u8]) {
    let Some((format, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let extension = ["toml", "json", "yaml"][usize::from(*format) % 3];
    if !names_a_device(data) {
        verify(&ConfigCheck::new(&REGISTRY).text(extension, text));
    }
}

/// Variables and flags, one a line: `v` or `f`, then NAME=VALUE or KEY=VALUE.
pub fn config_said(data: &[u8]) {
    let mut check = ConfigCheck::new(&REGISTRY);
    for line in data.split(|byte| *byte == b'\n').take(32) {
        let Some((kind, assignment)) = line.split_first() else { continue };
        // The system passes no NUL.
        let Some(equals) = assignment.iter().position(|byte| *byte == b'=').filter(|_| !assignment.contains(&0)) else {
            continue;
        };
        let (name, value) = (&assignment[..equals], &assignment[equals + 1..]);
        // What it says is read from a file.
        if name == b"SWITCHBOARD_CONFIG" {
            continue;
        }
        check = match kind {
            b'v' => check.variable(OsStr::from_bytes(name), OsStr::from_bytes(value)),
            _ => match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(key), Ok(value)) if !key.trim().is_empty() => check.set(key.trim(), value),
                _ => continue,
            },
        };
    }
    if !names_a_device(data) {
        verify(&check);
    }
}

/// Whether it may name a device, which can be read for ever: an operator's own doing.
fn names_a_device(data: &[u8]) -> bool {
    [&b"/dev"[..], b"/proc", b"/sys"].iter().any(|word| data.windows(word.len()).any(|window| window == *word))
}

fn verify(check: &ConfigCheck<'_>) {
    match check.check() {
        Ok(effective) => match ConfigCheck::new(&REGISTRY).text("toml", &*effective).check() {
            Ok(again) => assert_eq!(again, effective),
            // A secret is not printed, so it is not there to be read.
            Err(refusal) => assert!(effective.contains(" is set and not shown "), "{refusal}\nin\n{effective}"),
        },
        Err(refusal) => {
            let refusal = refusal.to_string();
            assert!(refusal.lines().all(|line| line.split(' ').count() > 2), "{refusal}");
            assert!(!refusal.chars().any(|c| c.is_control() && c != '\n'), "{refusal:?}");
        }
    }
}
