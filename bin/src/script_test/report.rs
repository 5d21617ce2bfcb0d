//! The report of all scripts in one of the formats.

use std::time::{Duration, SystemTime};

use switchboard::Endpoint;

use super::load::Loaded;
use super::options::ReportFormat;
use super::outcome::Played;
use super::{junit, tap, text};

/// Collects results, and returns the text to print after each.
pub(super) struct Report {
    format: ReportFormat,
    server: String,
    scripts: usize,
    passed: usize,
    failed: usize,
    /// Scripts that failed because the server could not be reached or the transport has no such step.
    errors: usize,
    began: SystemTime,
    time: Duration,
    /// The test cases of the XML document, which begins with their number.
    cases: String,
}

impl Report {
    pub(super) fn new(format: ReportFormat, server: &Endpoint, scripts: usize) -> Self {
        Self {
            format,
            server: server.to_string(),
            scripts,
            passed: 0,
            failed: 0,
            errors: 0,
            began: SystemTime::now(),
            time: Duration::ZERO,
            cases: String::new(),
        }
    }

    /// What is printed before the first script.
    pub(super) fn begin(&self) -> String {
        match self.format {
            ReportFormat::Tap => tap::begin(self.scripts),
            ReportFormat::Text | ReportFormat::Junit => String::new(),
        }
    }

    /// Adds the result of a script, and returns what is printed about it.
    pub(super) fn add(&mut self, script: &Loaded, played: &Played) -> String {
        match &played.result {
            Ok(()) => self.passed += 1,
            Err(mismatch) if mismatch.is_error => self.errors += 1,
            Err(_) => self.failed += 1,
        }
        self.time += played.time;
        match self.format {
            ReportFormat::Text => text::script(script, played),
            ReportFormat::Tap => tap::script(script, played, self.passed + self.failed + self.errors),
            ReportFormat::Junit => {
                self.cases += &junit::case(script, played, &self.server);
                String::new()
            }
        }
    }

    /// What is printed after the last script.
    pub(super) fn end(&self) -> String {
        match self.format {
            ReportFormat::Text => text::summary(self.passed, self.failed + self.errors),
            ReportFormat::Tap => String::new(),
            ReportFormat::Junit => {
                let suite = junit::Suite {
                    server: &self.server,
                    tests: self.scripts,
                    failures: self.failed,
                    errors: self.errors,
                    began: self.began,
                    time: self.time,
                };
                suite.document(&self.cases)
            }
        }
    }

    pub(super) fn has_failures(&self) -> bool {
        self.failed + self.errors > 0
    }
}
