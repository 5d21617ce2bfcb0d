//! A script together with its text.

use std::ops::Range;
use std::str::FromStr;

use crate::script::error::ParseErrors;
use crate::script::literal::locate;
use crate::script::model::Script;
use crate::script::parse::parse;
use crate::script::token::tokens;

/// A script that was read from a text, with the place of every step and byte.
#[derive(Debug, Clone)]
pub struct ScriptFile {
    script: Script,
    text: String,
    spans: Vec<Range<usize>>,
}

impl ScriptFile {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// The text is not a script, or one of a newer version. Up to 20 errors are reported together.
    pub fn parse(text: impl Into<String>) -> Result<Self, ParseErrors> {
        let text = text.into();
        let (script, spans) = parse(&text)?;
        Ok(Self { script, text, spans })
    }

    /// The script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the step with this index is in the text, with the lines that continue it.
    ///
    /// # Panics
    ///
    /// There is no such step.
    pub fn step_span(&self, step: usize) -> Range<usize> {
        self.spans[step].clone()
    }

    /// Where a byte of the data of a step is written. A byte behind its data is at the end of the step.
    ///
    /// # Panics
    ///
    /// There is no such step.
    pub fn byte_span(&self, step: usize, mut byte: usize) -> Range<usize> {
        let span = self.step_span(step);
        let mut offset = span.start;
        let mut is_data = false;
        for line in self.text[span.clone()].split_inclusive('\n') {
            let content = line.trim_end_matches(['\n', '\r']);
            for token in tokens(content, offset).unwrap_or_default() {
                match locate(&token, &self.text, byte) {
                    _ if !is_data => is_data = token.is_direction(),
                    Ok(place) => return place,
                    Err(len) => byte -= len,
                }
            }
            offset += line.len();
        }
        span.end..span.end
    }
}

impl FromStr for Script {
    type Err = ParseErrors;

    fn from_str(text: &str) -> Result<Self, ParseErrors> {
        parse(text).map(|(script, _)| script)
    }
}
