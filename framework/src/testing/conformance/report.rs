//! The result of a check: each law, and how it came out.

use std::fmt;

use crate::testing::conformance::failure::Failure;
use crate::testing::conformance::law::Law;

#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// It holds in so many cases.
    Holds(usize),
    /// It is not checked, for this reason.
    Waived(&'static str),
    /// It does not concern this handler.
    NotConcerned,
    /// It is not checked, because the replies cannot be compared.
    NotChecked,
    Broken(Box<Failure>),
}

/// The laws of a check, and whether they hold. `Display` is a table.
#[derive(Debug, Clone)]
#[must_use = "a report does nothing: use check to fail the test"]
pub struct Report {
    pub(super) laws: Vec<(Law, Verdict)>,
}

impl Report {
    /// The laws that do not hold.
    pub fn broken(&self) -> Vec<Law> {
        self.broken_laws().map(|failure| failure.law).collect()
    }

    /// The cases in which a law holds; 0 if it was not checked or does not hold.
    pub fn cases(&self, law: Law) -> usize {
        let verdict = self.laws.iter().find(|(of, _)| *of == law);
        verdict.map_or(0, |(_, verdict)| if let Verdict::Holds(cases) = verdict { *cases } else { 0 })
    }

    /// The text of the laws that do not hold, each with a script and a test. Empty if all hold.
    pub fn failures(&self) -> String {
        self.broken_laws().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    }

    fn broken_laws(&self) -> impl Iterator<Item = &Failure> {
        self.laws.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Broken(failure) => Some(&**failure),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (law, verdict) in &self.laws {
            let verdict = match verdict {
                Verdict::Holds(1) => "holds in 1 case".to_owned(),
                Verdict::Holds(cases) => format!("holds in {cases} cases"),
                Verdict::Waived(reason) => format!("waived: {reason}"),
                Verdict::NotConcerned => "does not concern this handler".to_owned(),
                Verdict::NotChecked => "not checked".to_owned(),
                Verdict::Broken(_) => "DOES NOT HOLD".to_owned(),
            };
            writeln!(f, "{:<12} {verdict}", law.as_str())?;
        }
        Ok(())
    }
}
