//! Fuzz targets for the configuration: invalid input gives readable errors; valid input prints and parses as the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use switchboard::Registry;
use switchboard_server::ConfigCheck;

static REGISTRY: LazyLock<Registry> = LazyLock::new(switchboard_server::registry);

/// A configuration file: the first byte selects the format, the rest is the text.
pub fn config_file(data: &[u8]) {
    let Some((format, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let extension = ["toml", "json", "yaml"][usize::from(*format) % 3];
    if !names_a_device(data) {
        verify(&ConfigCheck::new(&REGISTRY).text(extension, text));
    }
}

/// Environment variables and flags, one per line: `v` or `f`, then NAME=VALUE or KEY=VALUE.
pub fn config_overrides(data: &[u8]) {
    let mut check = ConfigCheck::new(&REGISTRY);
    for line in data.split(|byte| *byte == b'\n').take(32) {
        let Some((kind, assignment)) = line.split_first() else { continue };
        // An environment variable or argument cannot contain NUL.
        let Some(equals) = assignment.iter().position(|byte| *byte == b'=').filter(|_| !assignment.contains(&0)) else {
            continue;
        };
        let (name, value) = (&assignment[..equals], &assignment[equals + 1..]);
        // This variable names a file to read.
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

/// Whether the input may name a device or pseudo-file, whose read may never end.
fn names_a_device(data: &[u8]) -> bool {
    [&b"/dev"[..], b"/proc", b"/sys"].iter().any(|word| data.windows(word.len()).any(|window| window == *word))
}

fn verify(check: &ConfigCheck<'_>) {
    match check.check() {
        Ok(effective) => match ConfigCheck::new(&REGISTRY).text("toml", &*effective).check() {
            Ok(reparsed) => assert_eq!(reparsed, effective),
            // Secrets are not printed, so the printed configuration lacks them.
            Err(error) => assert!(effective.contains(" is set and not shown "), "{error}\nin\n{effective}"),
        },
        Err(error) => {
            let error = error.to_string();
            assert!(error.lines().all(|line| line.split(' ').count() > 2), "{error}");
            assert!(!error.chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
        }
    }
}
