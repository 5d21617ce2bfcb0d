//! The configuration: read in layers (defaults < file < environment < flags), checked whole, told with all its faults.
//!
//! [`load`] is the only way in. A value goes from its source ([`sources`], [`mod@file`]) through its type ([`typing`], [`raw`],
//! [`leaf`]) and the look at each source alone ([`examine`], [`options`]) into one whole tree ([`resolve`]), and from there into what
//! cannot be wrong any more ([`check`]). It reads one file and nothing else: environment and flags come as arguments. It
//! binds nothing and knows no socket.

mod check;
mod defaults;
mod diagnostic;
mod entry;
mod file;
mod framing;
mod options;
mod print;
mod raw;
mod report;
mod resolve;
mod schema;
mod source;
mod specs;
#[cfg(test)]
mod tests;
mod tree;
mod typing;
mod validate;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use switchboard::Registry;
use tracing_subscriber::EnvFilter;

pub(crate) use check::{Admin, Config, Log, Section};
pub(crate) use diagnostic::{Diagnostic, Diagnostics};
pub(crate) use framing::of_text as read_framing;
pub(crate) use print::Shape;
pub(crate) use schema::schema;
pub(crate) use tree::{Path, dotted};
pub(crate) use typing::{OptionDoc, documented};
pub(crate) use value::Format;

use diagnostic::Origin;
use report::Report;
use source::{Merged, Override, Source};
use typing::Schemas;

/// Whether a text is a level of the log, or a filter; else a sentence that says why not.
pub(crate) fn check_level(text: &str) -> Result<(), String> {
    text.parse::<value::Level>().map(drop)
}

/// Where a configuration may come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// The file that a flag names.
    pub(crate) file: Option<PathBuf>,
    /// What stands in that file, where it need not be read.
    pub(crate) text: Option<String>,
    /// Where to look for a file that nobody named; the first that exists counts.
    pub(crate) search: Vec<PathBuf>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// What flags say: the flag as it is called, the key, and the value.
    pub(crate) flags: Vec<(String, String, String)>,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct InvalidConfigLoad {
    /// What is wrong with it.
    pub(crate) diagnostics: Diagnostics,
    /// What is left of it, where that much could be read.
    pub(crate) rest: Option<Config>,
}

impl fmt::Display for InvalidConfigLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostics.fmt(f)
    }
}

/// Reads, lays over each other and checks everything. All faults come at once.
pub(crate) fn load(inputs: &Inputs, registry: &Registry) -> Result<Config, Box<InvalidConfigLoad>> {
    let mut report = Report::default();
    let mut schemas = Schemas::new(registry);
    let by_variable = source::named_file(&inputs.environment).map(std::path::Path::new);
    let named = inputs.file.as_deref().or(by_variable);
    let file = file::choose(named, &inputs.search);
    let why = match (&inputs.file, by_variable) {
        (Some(_), _) => Some(Origin::new("flag --config")),
        (None, Some(_)) => Some(Origin::new("environment variable SWITCHBOARD_CONFIG")),
        (None, None) => None,
    };
    // A file that cannot be read leaves nothing to lay over each other; but what is wrong elsewhere is told with it.
    let mut is_whole = true;
    let mut sources: Vec<Source> = Vec::new();
    if let Some(path) = &file {
        let contents = match &inputs.text {
            Some(text) => file::understand(path, text),
            None => file::read(path, why.as_ref()),
        };
        match contents {
            Ok(contents) => {
                note_types(&contents.tree, &mut schemas);
                sources.push(Source::file(path, contents, &schemas, &mut report));
            }
            Err(diagnostic) => {
                report.diagnostic(&[], diagnostic);
                is_whole = false;
            }
        }
    }
    let of_file = sources.first().map(|source| source.tree.clone()).unwrap_or_default();
    let variables = source::variables(&inputs.environment, &schemas, &of_file, &mut report);
    let flags: Vec<Override> = inputs.flags.iter().map(|(flag, key, text)| Override::flag(flag, key, text)).collect();
    for said in variables.iter().chain(&flags) {
        said.note_type(&mut schemas);
    }
    for layer in [variables, flags] {
        let layer: Vec<Source> = layer.iter().map(|said| said.source(&schemas)).collect();
        source::find_contradictions(&layer, &mut report);
        sources.extend(layer);
    }
    refuse_lost_short_forms(&mut sources, &mut report);
    sources.extend(rust_log(&inputs.environment, &mut report));
    for source in &mut sources {
        validate::validate(source, &schemas, registry, &mut report);
    }
    if !is_whole {
        return Err(Box::new(InvalidConfigLoad { diagnostics: report.diagnostics, rest: None }));
    }
    let names = resolve::listener_names(&sources);
    sources.insert(0, defaults::source(names.iter(), registry));
    let merged = Merged::new(&sources);
    options::validate(&sources, &merged, &schemas, registry, &mut report);
    let whole = resolve::resolve(&merged, &schemas, registry);
    let config = check::check(whole, merged, &schemas, registry, &mut report, file);
    match config {
        Some(config) if report.diagnostics.is_empty() => Ok(config),
        rest => Err(Box::new(InvalidConfigLoad { diagnostics: report.diagnostics, rest })),
    }
}

/// `RUST_LOG` wins over every layer, as each tool of this language has it. Nothing is said by an empty one.
fn rust_log(environment: &[(OsString, OsString)], report: &mut Report) -> Option<Source> {
    let (_, filter) = environment.iter().find(|(variable, filter)| variable == "RUST_LOG" && !filter.is_empty())?;
    let key = tree::path("log.level");
    let origin = "environment variable RUST_LOG";
    let filter = filter.to_str().and_then(|filter| EnvFilter::builder().parse(filter).ok());
    let Some(filter) = filter else {
        report.add(&key, "is not a filter; write it like \"info,switchboard=debug\"", Origin::new(origin));
        return None;
    };
    let mut tree = figment::value::Dict::new();
    // A filter prints every directive with its level, which is what the key asks for.
    tree::insert(&mut tree, &key, figment::value::Value::from(filter.to_string()));
    Some(Source::plain(tree, origin))
}

fn note_types(tree: &figment::value::Dict, schemas: &mut Schemas<'_>) {
    for section in entry::KINDS {
        for name in resolve::sections(tree, section) {
            let path = [section.to_owned(), name, "type".to_owned()];
            if let Some(kind) = tree::get_text(tree, &path) {
                schemas.note_type(&path, kind);
            }
        }
    }
}

/// A file that declares other listeners and not `main` has no `main`: then a short form has nothing to stand for.
fn refuse_lost_short_forms(sources: &mut [Source], report: &mut Report) {
    let others = match sources.first() {
        Some(file) if file.is_file() && !file.declares.is_empty() => file.declares.join(", "),
        _ => return,
    };
    if sources.iter().any(|source| source.declares.iter().any(|name| name == "main")) {
        return;
    }
    for source in sources {
        for short in &source.shorts {
            let key = dotted(short);
            let what = format!(
                "stands for listeners.main.{key}, and there is no main: the file declares other listeners ({others}). \
                 Write the key of one of these, or declare [listeners.main] too"
            );
            report.add(short, what, source.origin(short));
        }
        source::drop_short_forms(source);
    }
}
