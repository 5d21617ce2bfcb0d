//! Why the program cannot do what it was asked to do: as text, or as log events.

use std::fmt::Display;
use std::io;
use std::time::SystemTime;

use serde_json::{Map, Value as Json, json};
use switchboard::log;
use switchboard::settings::LogFormat;
use switchboard::settings::text::escape_unsafe;
use tracing::Level;

use crate::config::{self, Diagnostics, Record};
use crate::exit::{self, CONFIG, FAILED, USAGE};

#[derive(Debug)]
pub(crate) struct Failure {
    problem: Problem,
    status: u8,
    /// The format of the log that the failure belongs to.
    log: Option<LogFormat>,
    /// A line after the errors: what else the user can do.
    note: Option<&'static str>,
}

#[derive(Debug)]
enum Problem {
    Error(String),
    Config(Diagnostics),
}

impl Failure {
    /// A failure while running.
    pub(crate) fn new(error: impl Display) -> Self {
        Self { problem: Problem::Error(error.to_string()), status: FAILED, log: None, note: None }
    }

    /// Wrong usage of the command line.
    pub(crate) fn usage(error: impl Display) -> Self {
        Self { status: USAGE, ..Self::new(error) }
    }

    /// An invalid configuration.
    pub(crate) fn config(diagnostics: Diagnostics) -> Self {
        Self { problem: Problem::Config(diagnostics), status: CONFIG, log: None, note: None }
    }

    /// Something other than the configuration file cannot be used, such as the file of a flag.
    pub(crate) fn unusable(error: impl Display) -> Self {
        Self { status: CONFIG, ..Self::new(error) }
    }

    pub(crate) fn with_note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The same failure as part of a log in this format.
    pub(crate) fn in_log(self, format: LogFormat) -> Self {
        Self { log: Some(format), ..self }
    }

    /// The errors as text.
    pub(crate) fn text(&self) -> String {
        match &self.problem {
            Problem::Error(error) => error.clone(),
            Problem::Config(diagnostics) => diagnostics.to_string(),
        }
    }

    /// The errors as JSON.
    pub(crate) fn records(&self) -> Vec<Record> {
        match &self.problem {
            Problem::Error(error) => vec![Record::general(error)],
            Problem::Config(diagnostics) => config::records(diagnostics),
        }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// Prints the errors to standard error and returns the exit status.
    pub(crate) fn print(self) -> u8 {
        match &self.problem {
            _ if self.log.is_some_and(log::is_json) => exit::print_lines(&self.events(), Level::ERROR),
            Problem::Error(error) => exit::print_error(&format!("error: {error}\n")),
            Problem::Config(diagnostics) => {
                exit::print_lines(&config::rendered(diagnostics, exit::has_color()), Level::ERROR);
            }
        }
        if let Some(note) = self.note {
            exit::print_error(&format!("{note}\n"));
        }
        self.status
    }

    /// One event for each error, with the fields of the log.
    fn events(&self) -> String {
        let message = match self.problem {
            Problem::Error(_) => "start failed",
            Problem::Config(_) => "invalid configuration",
        };
        let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let event = |record: &Record| {
            let mut event = Map::new();
            event.insert("timestamp".into(), json!(timestamp));
            event.insert("level".into(), json!("ERROR"));
            event.insert("message".into(), json!(message));
            let error = record.key.iter().chain([&record.message]).cloned().collect::<Vec<_>>().join(": ");
            event.insert("error".into(), json!(error));
            let fields = serde_json::to_value(record).ok().and_then(|record| record.as_object().cloned());
            let fields = fields.into_iter().flatten();
            event.extend(fields.filter(|(name, value)| name != "message" && !value.is_null()));
            event.insert("target".into(), json!("switchboard"));
            escape_unsafe(&Json::Object(event).to_string(), |_| false) + "\n"
        };
        self.records().iter().map(event).collect()
    }
}

/// Prints to standard output and returns the exit status. A closed pipe is not an error.
pub(crate) fn print_stdout(text: impl Display) -> Result<u8, Failure> {
    match exit::write_stdout(&text.to_string()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(0),
    }
}

pub(crate) fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot write to standard output: {}", exit::reason(error)))
}
