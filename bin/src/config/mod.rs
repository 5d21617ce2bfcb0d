//! The configuration: read in layers (defaults < file < environment < flags) and checked as a whole. All errors are
//! reported.
//!
//! [`load`] reads the sources ([`mod@file`], [`env_and_flags`]), validates each alone ([`validate`], [`options`]),
//! merges them ([`Merged`], [`resolve`]) and checks the result ([`check`]). It reads one file; environment and flags
//! are arguments. It binds no socket.

mod applies;
mod check;
mod coerce;
mod diagnostic;
mod differences;
mod env_and_flags;
mod expected;
mod file;
mod hidden;
mod marks;
mod options;
mod origin;
mod print;
mod render;
mod resolve;
mod running;
mod schema;
mod sections;
mod source;
mod source_text;
mod starter;
#[cfg(test)]
mod tests;
mod tree;
mod validate;

use std::ffi::OsString;
use std::path::{Path as FilePath, PathBuf};

use figment::value::{Dict, Value};
use switchboard::Registry;
use switchboard::settings::{LogFormat, LogSettings};

pub(crate) use applies::Traits;
pub(crate) use check::{Admin, Config, Section};
pub(crate) use diagnostic::{Diagnostic, Diagnostics, Escaped};
pub(crate) use differences::differences;
pub(crate) use expected::needs_restart;
pub(crate) use options::read_framing;
pub(crate) use origin::Origin;
pub(crate) use print::{Shape, print_json, toml_value};
pub(crate) use render::{Record, located, records, rendered};
pub(crate) use running::running;
pub(crate) use schema::{OptionDoc, documented, schema};
pub(crate) use sections::Token;
pub(crate) use source_text::SourceText;
pub(crate) use starter::{TrialFiles, starter};
pub(crate) use tree::{Path, dotted};

use diagnostic::Report;
use env_and_flags::{MAX_LEVELS, Override};
use expected::Schemas;
use source::{Merged, Source};

/// Default locations of the configuration file.
pub(crate) const DEFAULT_FILES: [&str; 2] = ["switchboard.toml", "/etc/switchboard/switchboard.toml"];

/// Maximum number of listeners.
const MAX_LISTENERS: usize = 4096;
/// Maximum number of variables, and of flags, that set a key.
const MAX_OVERRIDES: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// The file that a flag names.
    pub(crate) file: Option<PathBuf>,
    /// The flag that names the file.
    pub(crate) file_origin: Option<Origin>,
    /// The content of that file, if it is already read.
    pub(crate) text: Option<String>,
    /// Default locations of the file. The first that exists is used.
    pub(crate) search: Vec<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Flags: the name of the flag, the key and the value.
    pub(crate) flags: Vec<(String, String, String)>,
}

#[derive(Debug)]
pub(crate) struct LoadError {
    pub(crate) diagnostics: Diagnostics,
    /// The valid part, if the sources could be read.
    pub(crate) rest: Option<Config>,
    pub(crate) file: Option<PathBuf>,
    /// The format of the log, as far as the sources say it.
    pub(crate) log_format: LogFormat,
}

pub(crate) fn load(inputs: &Inputs, registry: &Registry) -> Result<Config, Box<LoadError>> {
    let mut report = Report::default();
    let mut schemas = Schemas::new(registry);
    let by_variable = env_and_flags::named_file(&inputs.environment).map(FilePath::new);
    let named = inputs.file.as_deref().or(by_variable);
    let file = file::choose(named, &inputs.search);
    let origin = match inputs.file {
        Some(_) => inputs.file_origin.clone(),
        None => by_variable.map(|_| Origin::new("environment variable SWITCHBOARD_CONFIG")),
    };
    // If the file cannot be read, the errors of the other sources are still reported.
    let mut file_is_read = true;
    let mut sources: Vec<Source> = Vec::new();
    if let Some(path) = &file {
        let contents = match &inputs.text {
            Some(text) => file::parse_named(path, text, &schemas),
            None if named.is_none() && path.is_relative() => file::read_trusted(path, &schemas),
            None => file::read(path, origin.clone(), &schemas),
        };
        match contents.and_then(|contents| file::require_keys(path, contents, &schemas, origin)) {
            Ok(contents) => {
                schemas.note_types(&contents.tree);
                sources.push(Source::file(path, contents, &schemas, &mut report));
            }
            Err(diagnostic) => {
                report.diagnostic(&[], diagnostic);
                file_is_read = false;
            }
        }
    }
    let of_file = sources.first().map(|source| source.tree.clone()).unwrap_or_default();
    let variables = env_and_flags::variables(&inputs.environment, &schemas, &of_file, &mut report);
    let flags: Vec<Override> = inputs.flags.iter().map(|(flag, key, text)| Override::flag(flag, key, text)).collect();
    if let Err(what) = check_overrides(&variables).and_then(|()| check_overrides(&flags)) {
        report.diagnostic(&[], Diagnostic::general(what));
        return Err(Box::new(LoadError {
            diagnostics: report.diagnostics,
            rest: None,
            file,
            log_format: LogFormat::Auto,
        }));
    }
    for entry in variables.iter().chain(&flags) {
        schemas.note_types(&entry.raw_tree());
    }
    for layer in [variables, flags] {
        let layer: Vec<Source> = layer.into_iter().map(|entry| entry.source(&schemas)).collect();
        source::find_contradictions(&layer, &schemas, &mut report);
        sources.extend(layer);
    }
    reject_lost_short_forms(&mut sources, &mut report);
    sources.extend(rust_log(&inputs.environment, &mut report));
    for source in &mut sources {
        validate::validate(source, &schemas, registry, &mut report);
    }
    let log_format = log_format(&sources);
    if !file_is_read || report.diagnostics.is_full() {
        return Err(Box::new(LoadError { diagnostics: report.diagnostics, rest: None, file, log_format }));
    }
    let names = resolve::listener_names(&sources);
    if names.len() > MAX_LISTENERS {
        let what = format!("{} listeners are configured; at most {MAX_LISTENERS} are supported", names.len());
        report.add(&tree::path("listeners"), what, None);
        return Err(Box::new(LoadError { diagnostics: report.diagnostics, rest: None, file, log_format }));
    }
    sources.insert(0, resolve::defaults(names.iter(), &sources, registry));
    let merged = Merged::new(&sources);
    options::validate(&sources, &merged, &schemas, registry, &mut report);
    let whole = resolve::resolve(&merged, &schemas, registry);
    match check::check(whole, merged, &schemas, registry, &mut report, file.clone()) {
        Some(config) if report.diagnostics.is_empty() => Ok(config),
        rest => Err(Box::new(LoadError { diagnostics: report.diagnostics, rest, file, log_format })),
    }
}

/// Rejects more variables or flags, or deeper keys, than any configuration needs.
fn check_overrides(layer: &[Override]) -> Result<(), String> {
    if layer.len() > MAX_OVERRIDES {
        return Err(format!("{} variables or flags set a key; use a file for more than {MAX_OVERRIDES}", layer.len()));
    }
    match layer.iter().find(|entry| entry.path.len() > MAX_LEVELS) {
        Some(entry) => Err(format!("the key of {} has more than {MAX_LEVELS} levels", entry.origin())),
        None => Ok(()),
    }
}

/// The value of the last source that has a valid one.
fn log_format(sources: &[Source]) -> LogFormat {
    let key = tree::path("log.format");
    let mut formats = sources.iter().filter_map(|source| tree::get(&source.tree, &key)?.deserialize().ok());
    formats.next_back().unwrap_or(LogFormat::Auto)
}

/// `RUST_LOG` overrides every layer, as in other Rust programs. An empty variable is ignored.
fn rust_log(environment: &[(OsString, OsString)], report: &mut Report) -> Option<Source> {
    let (_, value) = environment.iter().find(|(variable, _)| variable == "RUST_LOG")?;
    let key = tree::path("log.level");
    let level = LogSettings::level_of_rust_log(value);
    let mut tree = Dict::new();
    tree::insert(&mut tree, &key, Value::from(level.clone().ok().flatten().unwrap_or_default()));
    let text = SourceText::assignment("RUST_LOG", "=", &value.to_string_lossy(), false);
    let source = Source::plain(tree, "environment variable RUST_LOG").with_text(text);
    level.map_err(|error| report.add(&key, error, source.origin(&key))).ok()?.map(|_| source)
}

/// A file that declares other listeners but not `main` has no `main`. A short form is then an error.
fn reject_lost_short_forms(sources: &mut [Source], report: &mut Report) {
    let declared = sources.first().filter(|source| source.is_file && !source.declares.is_empty());
    let Some(others) = declared.map(|file| file.declares.join(", ")) else { return };
    if sources.iter().any(|source| source.declares.iter().any(|name| name == "main")) {
        return;
    }
    for source in sources {
        for short in &source.shorts {
            let key = dotted(short);
            let what = format!(
                "is short for listeners.main.{key}, but the file declares other listeners ({others}) and no main; \
                 set the key of one of them, or declare [listeners.main]"
            );
            report.add(short, what, source.origin(short));
        }
        for short in std::mem::take(&mut source.shorts) {
            tree::remove(&mut source.tree, &expected::full_path(&short), tree::table());
        }
        if let Some(Value::Dict(_, listeners)) = source.tree.get_mut("listeners") {
            listeners.retain(|name, _| name != "main");
        }
    }
}
