//! Handlers and framings that are wrong as those of real projects were. Each breaks the law that names its fault, and
//! no other.

mod framings;
mod handlers;

use switchboard::testing::{Law, Report};

/// Checks that exactly this law is broken, and that the failure explains itself.
#[track_caller]
fn breaks(law: Law, report: &Report) {
    assert_eq!(report.broken(), [law], "{report}{}", report.failures());
    let text = report.failures();
    let first = format!("the law {law} does not hold: ");
    assert!(text.starts_with(&first), "{text}");
    for part in ["switchboard script 1\n", "#[test]\n", &format!(".replay(Law::{law:?}, ["), "SWITCHBOARD_SEED=1 "] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
