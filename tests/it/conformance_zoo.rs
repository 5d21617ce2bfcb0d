//! Handlers and framings that are wrong as those of real projects were. Each breaks the law that names its fault, and
//! no other.

/// Defines a handler of bytes with one method.
macro_rules! handler {
    ($(#[$doc:meta])* $name:ident: $state:ty, |$this:ident, $cx:ident, $message:ident| $body:expr) => {
        $(#[$doc])*
        impl Handler for $name {
            type State = $state;

            async fn message(&self, $cx: &mut Context<$state>, $message: Bytes) -> Result<Reply> {
                let $this = self;
                $body
            }
        }
    };
}

mod datagrams;
mod framings;
mod handlers;
mod tasks;

use switchboard::prelude::*;
use switchboard::testing::{Conformance, Law, Report, conformance};

fn lines<M>(handler: M) -> Conformance<M, Lines> {
    conformance(handler).framing(Lines::default()).messages(["one", "", "three", "four"]).cases(40)
}

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
