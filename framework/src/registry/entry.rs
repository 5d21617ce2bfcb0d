//! One entry of the registry: the description that all kinds of entries share, and the function that builds the entry.

use std::fmt;
use std::ops::Deref;

use serde_json::Value;

use crate::error::Result;
use crate::registry::options::{OptionError, Options, read, schema};

/// The description of a handler, framing or layer.
#[derive(Debug)]
pub struct EntryInfo {
    name: String,
    summary: String,
    options: Value,
    check: fn(&Value) -> Result<(), OptionError>,
}

impl EntryInfo {
    fn new<O: Options>(name: &str) -> Self {
        let check = |options: &Value| read::<O>(options).map(drop);
        Self { name: name.to_owned(), summary: String::new(), options: schema::<O>(), check }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does, in a few words.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// JSON Schema of the options.
    pub fn options(&self) -> &Value {
        &self.options
    }

    /// Checks options; returns the first error.
    pub fn check_options(&self, options: &Value) -> Result<(), OptionError> {
        (self.check)(options)
    }
}

type Build<T> = Box<dyn Fn(Value) -> Result<T> + Send + Sync>;

/// A named entry that builds a `T` from options. `K` holds properties that only this kind of entry has.
pub struct Entry<T, K = ()> {
    info: EntryInfo,
    build: Build<T>,
    pub(super) kind: K,
}

impl<T, K> Entry<T, K> {
    pub(super) fn new<O: Options>(
        name: &str,
        kind: K,
        build: impl Fn(O, Value) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let build = move |options: Value| build(read(&options)?, options);
        Self { info: EntryInfo::new::<O>(name), build: Box::new(build), kind }
    }

    /// Sets the summary: what it does, in a few words.
    pub fn set_summary(&mut self, summary: &str) -> &mut Self {
        summary.clone_into(&mut self.info.summary);
        self
    }

    /// The description.
    pub fn info(&self) -> &EntryInfo {
        &self.info
    }

    /// Builds it from options.
    pub fn build(&self, options: Value) -> Result<T> {
        (self.build)(options)
    }
}

impl<T, K> Deref for Entry<T, K> {
    type Target = EntryInfo;

    fn deref(&self) -> &EntryInfo {
        &self.info
    }
}

impl<T, K: fmt::Debug> fmt::Debug for Entry<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("info", &self.info).field("kind", &self.kind).finish_non_exhaustive()
    }
}
