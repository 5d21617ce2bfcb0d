//! The guarantees of the configuration, one test each: from sources to effective values, or to errors.

mod errors;
mod listeners;
mod printing;
mod rendering;
mod sources;
mod types;

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard::Needs;
use switchboard::framing::{AnyFraming, ByteOrder, Lines};
use switchboard::prelude::*;

use super::*;

/// A handler that does nothing, with options of every type.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Many {
    text: String,
    maybe: Option<String>,
    number: u32,
    ratio: f64,
    on: bool,
    names: Vec<String>,
    ports: Vec<u16>,
    #[schemars(extend("x-secret" = true))]
    password: String,
    inner: Inner,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    deep: u32,
    other_key: String,
}

impl Default for Many {
    fn default() -> Self {
        let (text, password) = ("x".to_owned(), String::new());
        let (names, ports) = (vec!["a".to_owned()], Vec::new());
        Self { text, maybe: None, number: 1, ratio: 0.5, on: false, names, ports, password, inner: Inner::default() }
    }
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "options are only read here")]
struct Must {
    path: String,
    count: u32,
}

struct Nothing;

impl Handler for Nothing {
    type State = ();
    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply, BoxError> {
        Ok(Reply::none())
    }
}

/// Requires a stream transport.
struct Streamy;

impl Handler for Streamy {
    const NEEDS: Needs = Needs::Stream;
    type State = ();
    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply, BoxError> {
        Ok(Reply::none())
    }
}

fn test_registry() -> Registry {
    let mut registry = crate::registry();
    registry.handler("many", |_: Many| Ok(Nothing));
    registry.handler("must", |_: Must| Ok(Nothing));
    registry.handler("streamy", |_: NoOptions| Ok(Streamy));
    registry.typed_handler("typed", "lines", |_: &NoOptions| Lines::default(), |_| Ok(Nothing));
    registry
}

#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    file: Option<&'a str>,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [(&'a str, &'a str, &'a str)],
}

impl Case<'_> {
    fn load(&self) -> Result<Config, String> {
        self.load_and_show(ToString::to_string)
    }

    /// The effective configuration, or its errors as `show` shows them, without the directory.
    fn load_and_show(&self, show: impl Fn(&Diagnostics) -> String) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let name = if self.name.is_empty() { "switchboard.toml" } else { self.name };
        let path = dir.path().join(name);
        if let Some(text) = self.file {
            fs::write(&path, text).unwrap();
        }
        let inputs = Inputs {
            search: vec![path],
            environment: self.environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect(),
            flags: self.flags.iter().map(|(f, k, v)| ((*f).to_owned(), (*k).to_owned(), (*v).to_owned())).collect(),
            ..Inputs::default()
        };
        let here = format!("{}/", dir.path().display());
        load(&inputs, &test_registry()).map_err(|invalid| show(&invalid.diagnostics).replace(&here, ""))
    }

    fn good(&self) -> Config {
        self.load().unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    }

    /// The error lines, without the last line, which must contain their number.
    fn bad(&self) -> Vec<String> {
        let diagnostics = self.load().expect_err("this configuration should be invalid");
        let mut lines: Vec<String> = diagnostics.lines().map(str::to_owned).collect();
        let count = lines.pop().unwrap();
        let plural = if lines.len() == 1 { "error" } else { "errors" };
        assert_eq!(count, format!("error: invalid configuration ({} {plural})", lines.len()), "{diagnostics}");
        lines.into_iter().map(|line| line.strip_prefix("error: ").unwrap().to_owned()).collect()
    }
}

fn file(text: &str) -> Case<'_> {
    Case { file: Some(text), ..Case::default() }
}

fn env<'a>(environment: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { environment, ..Case::default() }
}

fn set<'a>(flags: &'a [(&'a str, &'a str, &'a str)]) -> Case<'a> {
    Case { flags, ..Case::default() }
}

#[track_caller]
fn only(diagnostics: &[String], expected: &str) {
    assert_eq!(diagnostics, [expected]);
}

/// The listener `main`.
fn main_of(config: &Config) -> &check::config::Listener {
    &config.listeners["main"]
}
