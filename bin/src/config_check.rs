//! Checks a configuration inside a test, as `switchboard check` does.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use switchboard::Registry;

use crate::assemble;
use crate::config::{self, Inputs, Shape};

/// Checks a configuration without running it: for a test of the configuration files that you deploy.
///
/// The sources are a [`file`](Self::file) or a [`text`](Self::text), then [`variable`](Self::variable)s, then keys that
/// are [`set`](Self::set). The environment of the process is ignored. No listener is bound. Certificates and keys are
/// read, and each handler and layer is built once, because it can reject its options.
///
/// ```
/// let registry = switchboard_server::registry(); // with your own handlers, as your binary has it
/// let check = switchboard_server::ConfigCheck::new(&registry)
///     .text("toml", "listen = \"tcp://0.0.0.0:7000\"\nhandler = \"ecko\"")
///     .variable("SWITCHBOARD_LISTENERS__MAIN__LIMITS__FRAME", "1MiB");
/// let error = check.check().unwrap_err().to_string();
/// assert!(error.contains("did you mean \"echo\""), "{error}");
///
/// let effective = check.set("handler", "echo").check().unwrap();
/// assert!(effective.contains("frame = \"1MiB\""), "{effective}");
/// ```
#[derive(Debug)]
pub struct ConfigCheck<'a> {
    registry: &'a Registry,
    inputs: Inputs,
}

impl<'a> ConfigCheck<'a> {
    /// The defaults.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, inputs: Inputs::default() }
    }

    /// Sets the configuration file, as `--config` does.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        (self.inputs.file, self.inputs.text) = (Some(path.into()), None);
        self
    }

    /// Sets the content of the file, in the format of the extension `toml`, `json` or `yaml`.
    #[must_use]
    pub fn text(mut self, extension: &str, text: impl Into<String>) -> Self {
        (self.inputs.file, self.inputs.text) = (Some(format!("text.{extension}").into()), Some(text.into()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.inputs.environment.push((name.into(), value.into()));
        self
    }

    /// Sets a key, as the flag `--set KEY=VALUE` does.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push((format!("--set {key}"), key.to_owned(), value.to_owned()));
        self
    }

    /// Returns the effective configuration as TOML without secrets, or all errors.
    pub fn check(&self) -> Result<String, InvalidConfig> {
        let (effective, diagnostics) = match config::load(&self.inputs, self.registry) {
            Ok(config) => (config.effective.print(Shape::Toml), assemble::build_errors(&config, self.registry, None)),
            Err(invalid) => (String::new(), assemble::all_errors(*invalid, self.registry, None)),
        };
        if diagnostics.is_empty() {
            Ok(effective)
        } else {
            Err(InvalidConfig(diagnostics.to_string().trim_end().into()))
        }
    }
}

/// All errors of a configuration, one per line, as `switchboard check` prints them.
///
/// `Debug` prints the same text, so that a failed test is readable.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

impl fmt::Debug for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
