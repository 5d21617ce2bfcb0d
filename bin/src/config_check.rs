//! A configuration on trial: checked as `check` does it, without a process. For the tests of whoever keeps configurations.
//!
//! It looks at what it is given and nothing else: not at the environment of the process, not for a file that nobody named.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use switchboard::Registry;

use crate::assemble;
use crate::config::{self, Inputs, Shape};

/// A configuration that is checked without being run: for a test beside the configuration files that you keep.
///
/// It sees what it is given: [`file`](Self::file) or [`text`](Self::text), under [`variable`](Self::variable)s, under
/// what flags would [`set`](Self::set); not the environment of the process. A listener is not bound. Certificates
/// and keys that it names are read, and its handlers and layers are made once, so that they can say what they think of their
/// options.
///
/// ```
/// let registry = switchboard_server::registry(); // with your own handlers, as your binary has it
/// let trial = switchboard_server::ConfigCheck::new(&registry)
///     .text("toml", "listen = \"tcp://0.0.0.0:7000\"\nhandler = \"ecko\"")
///     .variable("SWITCHBOARD_LISTENERS__MAIN__LIMITS__FRAME", "1MiB");
/// let refusal = trial.check().unwrap_err().to_string();
/// assert!(refusal.contains("did you mean \"echo\""), "{refusal}");
///
/// let effective = trial.set("handler", "echo").check().unwrap();
/// assert!(effective.contains("frame = \"1MiB\""), "{effective}");
/// ```
#[derive(Debug)]
pub struct ConfigCheck<'a> {
    registry: &'a Registry,
    inputs: Inputs,
}

impl<'a> ConfigCheck<'a> {
    /// Nothing but defaults so far.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, inputs: Inputs::default() }
    }

    /// A configuration file, as `--config` names it. It is read by [`check`](Self::check), in the format of its extension.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        (self.inputs.file, self.inputs.text) = (Some(path.into()), None);
        self
    }

    /// What would stand in a file, in the format of this extension: `toml`, `json` or `yaml`. It takes the place of a file.
    #[must_use]
    pub fn text(mut self, extension: &str, text: impl Into<String>) -> Self {
        (self.inputs.file, self.inputs.text) = (Some(format!("text.{extension}").into()), Some(text.into()));
        self
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.inputs.environment.push((name.into(), value.into()));
        self
    }

    /// What the flag `--set KEY=VALUE` would say.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push((format!("--set {key}"), key.to_owned(), value.to_owned()));
        self
    }

    /// The effective configuration as TOML that reads back to the same, secrets left out; or every fault at once.
    pub fn check(&self) -> Result<String, InvalidConfig> {
        let (effective, diagnostics) = match config::load(&self.inputs, self.registry) {
            Ok(config) => (config.effective.print(Shape::Toml), assemble::refusals(&config, self.registry, None)),
            Err(refused) => (String::new(), assemble::all_faults(*refused, self.registry, None)),
        };
        if diagnostics.is_empty() { Ok(effective) } else { Err(InvalidConfig(diagnostics.to_string())) }
    }
}

/// Every fault of a configuration, one a line, as `switchboard check` prints them.
///
/// `Debug` is the same text, so that a test that ends with it can be read.
#[derive(Clone, PartialEq, Eq)]
pub struct InvalidConfig(String);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl fmt::Debug for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for InvalidConfig {}
