//! The text of a law that does not hold: what differs, the script, and a test that repeats it.

use std::fmt::{self, Write};

use crate::script::{Action, Data, Script, Step};
use crate::testing::conformance::law::Law;
use crate::testing::conformance::session::{Event, Fault};
use crate::testing::conformance::shrink::Case;

/// Events of a script that are shown.
const MAX_EVENTS: usize = 200;

/// A law that does not hold, with the smallest case that was found.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) law: Law,
    pub(super) case: Case,
    pub(super) fault: Fault,
    pub(super) seed: u64,
    /// Runs that made the case smaller.
    pub(super) runs: usize,
    pub(super) handler: &'static str,
    pub(super) framing: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, fault, seed, runs, .. } = self;
        writeln!(f, "the law {law} does not hold: {}", fault.what)?;
        writeln!(f, "\nThe smallest case that was found in {runs} runs, as a script:\n")?;
        for row in script(*law, fault).lines() {
            writeln!(f, "    {row}")?;
        }
        writeln!(f, "\nAs a test:\n")?;
        for row in self.test().lines() {
            writeln!(f, "    {row}")?;
        }
        write!(f, "\nSWITCHBOARD_SEED={seed} repeats the whole check.")
    }
}

impl Failure {
    /// A test of this case only.
    fn test(&self) -> String {
        let Self { law, case, .. } = self;
        let (handler, framing) = (short(self.handler, "", "HANDLER"), short(self.framing, "::default()", "FRAMING"));
        let messages: Vec<_> = case.messages.iter().map(|message| format!("b\"{}\"", message.escape_ascii())).collect();
        let messages = messages.join(".as_slice(), ") + if messages.is_empty() { "" } else { ".as_slice()" };
        format!(
            "#[test]\nfn {law}_regression() {{\n    // With the handler, the framing and the settings of the failed test.\n    \
             testing::conformance(|| {handler}).framing({framing})\n        \
             .replay(Law::{law:?}, [{messages}], {:?})\n        .check();\n}}",
            case.numbers
        )
    }
}

/// The name of a type without its path, or another text if it is no simple name.
fn short(name: &str, suffix: &str, otherwise: &str) -> String {
    let last = name.rsplit("::").next().unwrap_or(name);
    if name.contains(['<', '{', '(']) { otherwise.to_owned() } else { format!("{last}{suffix}") }
}

/// The events of the run as a script, with what the client should have received.
fn script(law: Law, fault: &Fault) -> String {
    let events = &fault.events;
    let clients = events.iter().filter_map(|event| match event {
        Event::Step(Step::Peer(client, _)) => Some(client + 1),
        _ => None,
    });
    let clients = clients.max().unwrap_or(1);
    let mut header = Script::default();
    header.info.push(("law".to_owned(), law.to_string()));
    if clients > 1 {
        header.peers = (1..=clients).map(|number| format!("client{number}")).collect();
    }
    let mut text = header.to_string();
    let step_text = |step: Step| {
        let mut script = header.clone();
        script.info.clear();
        let before = script.to_string().len();
        script.steps.push(step);
        script.to_string().split_off(before)
    };
    let mut last_is_wait = true;
    for event in events.iter().take(MAX_EVENTS) {
        let is_wait = matches!(event, Event::Step(Step::Wait(_)));
        match event {
            Event::Note(note) => {
                let _ = writeln!(text, "# {note}"); // writing to a string cannot fail
            }
            Event::Step(_) if is_wait && last_is_wait => {}
            Event::Step(step) => text.push_str(&step_text(step.clone())),
        }
        last_is_wait = is_wait;
    }
    if events.len() > MAX_EVENTS {
        let _ = writeln!(text, "# {} more steps", events.len() - MAX_EVENTS);
    }
    if let Some(expected) = fault.expected.as_ref().filter(|expected| !expected.is_empty()) {
        text.push_str(&step_text(Step::Peer(fault.client, Action::Expect(Data::from(expected)))));
    }
    if let Some(reason) = fault.reason {
        text.push_str(&step_text(Step::Peer(fault.client, Action::ExpectClosed(Some(reason)))));
    }
    text
}
