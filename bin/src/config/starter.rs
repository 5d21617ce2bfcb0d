//! The commented configuration that `switchboard init` writes. Keys, descriptions and defaults come from the schema.

use std::fmt::Write as _;
use std::path::Path as FilePath;

use figment::value::Value;
use serde_json::Value as Json;
use switchboard::Registry;

use super::expected::{Expected, Schemas, shared_keys};
use super::print::{Effective, toml_key, toml_value};
use super::resolve;
use super::source::Merged;
use super::tree::{self, path, under};

/// Columns of a comment.
const WIDTH: usize = 100;

/// The key of the admin endpoint that is set: without it, the commands for a running server do not work.
const ADMIN_LISTEN: [&str; 2] = ["admin", "listen"];

/// The keys of the listener that are set. The other keys are comments.
const SET: [&str; 3] = ["listen", "handler", "framing"];

const HEADER: &str = "\
# Configuration of switchboard, as written by `switchboard init`.
#
# A line that begins with # and a space is an explanation. A line such as #level = \"info\" shows the default of a key; to
# change it, remove the # and write another value. Check the file with `switchboard check --config FILE`.
";

/// The files of a certificate for trials.
#[derive(Debug)]
pub(crate) struct TrialFiles<'a> {
    pub(crate) certificate: &'a FilePath,
    pub(crate) key: &'a FilePath,
}

/// The text of the configuration. Editors find the schema at `schema`.
/// The admin endpoint listens at `admin`.
pub(crate) fn starter(registry: &Registry, schema: &str, admin: &str, tls: Option<&TrialFiles<'_>>) -> String {
    let schemas = Schemas::new(registry);
    let mut defaults = resolve::defaults([&"main".to_owned()].into_iter(), &[], registry);
    // A program with several handlers may have no default one.
    if let (None, Some(first)) =
        (tree::get(&defaults.tree, &path("listeners.main.handler")), registry.handlers().next())
    {
        tree::insert(&mut defaults.tree, &path("listeners.main.handler"), first.name().into());
    }
    let merged = Merged::new(&[defaults]);
    let effective = Effective::new(resolve::resolve(&merged, &schemas, registry), merged, &schemas);
    let mut text = format!("#:schema {schema}\n{HEADER}");
    let mut page = Page { effective: &effective, schemas: &schemas, text: &mut text };
    let main = path("listeners.main");
    page.listener(&main, tls.is_some());
    for (section, name, _) in effective.entries(&path("handlers")) {
        let summary = registry.handler_entry(&name).map(|entry| entry.summary()).unwrap_or_default();
        page.section(&section, &format!("Options of the handler {name}, which {summary}."));
    }
    match tls {
        Some(TrialFiles { certificate, key }) => {
            let files = [("certificate", *certificate), ("key", *key)];
            page.header("[listeners.main.tls]", "A self-signed certificate, for trials only: no client trusts it.");
            for (name, file) in files {
                let _ = writeln!(page.text, "{name} = {}", toml_value(&Json::from(file.display().to_string())));
            }
        }
        None => page.absent(&under(&main, "tls"), None),
    }
    for section in &shared_keys().sections {
        page.documented_section(&under(&main, section));
    }
    // A build without fleets does not know the last one.
    let sections = ["log", "admin", "drain", "runtime", "fleet"].map(path).into_iter();
    for section in sections.filter(|section| !schemas.expected(section).keys().is_empty()) {
        match tree::get_table(&effective.whole, &section) {
            Some(_) => page.documented_section(&section),
            None if section == path("admin") => page.absent(&section, Some(admin)),
            None => page.absent(&section, None),
        }
    }
    text
}

struct Page<'a> {
    effective: &'a Effective,
    schemas: &'a Schemas<'a>,
    text: &'a mut String,
}

impl Page<'_> {
    fn listener(&mut self, at: &[String], is_tls: bool) {
        self.header("[listeners.main]", "A listener. A file can have any number of them, each with its own name.");
        let effective = self.effective;
        for (path, key, value) in effective.entries(at).iter().filter(|(.., value)| value.as_dict().is_none()) {
            let mut value = tree::to_json(value);
            if let Some(address) = value.as_str().filter(|_| key == "listen" && is_tls) {
                value = address.replacen("tcp:", "tls:", 1).into();
            }
            let mark = if SET.contains(&&**key) { "" } else { "#" };
            self.key(path, mark, &value);
        }
    }

    fn documented_section(&mut self, at: &[String]) {
        self.section(at, &description(&self.schemas.expected(at)));
    }

    /// A section whose keys have defaults.
    fn section(&mut self, at: &[String], description: &str) {
        self.header(&format!("[{}]", tree::dotted(at)), description);
        let effective = self.effective;
        for (path, _, value) in effective.entries(at) {
            if !matches!(value, Value::Dict(..)) {
                self.key(&path, "#", &tree::to_json(value));
            }
        }
    }

    /// A section that has an effect if it is present. It is a comment unless it is that of the admin endpoint with its
    /// address.
    fn absent(&mut self, at: &[String], admin: Option<&str>) {
        let mark = if admin.is_some() { "" } else { "#" };
        let header = format!("{mark}[{}]", tree::dotted(at));
        self.header(&header, &description(&self.schemas.expected(at)));
        for key in self.schemas.expected(at).keys() {
            let path = under(at, &key);
            if let Some(address) = admin.filter(|_| path == ADMIN_LISTEN) {
                self.key(&path, "", &address.into());
                continue;
            }
            let expected = self.schemas.expected(&path);
            let example = expected.forms().find_map(|form| {
                let default = form.get("default").filter(|default| !default.is_null() && **default != "");
                default.or_else(|| form.get("examples")?.get(0)).cloned()
            });
            self.key(&path, "#", &example.unwrap_or_else(|| "…".into()));
        }
    }

    fn header(&mut self, header: &str, description: &str) {
        self.text.push('\n');
        self.comment(description);
        let _ = writeln!(self.text, "{header}");
    }

    fn key(&mut self, path: &[String], mark: &str, value: &Json) {
        self.comment(&description(&self.schemas.expected(path)));
        let key = toml_key(path.last().map(String::as_str).unwrap_or_default());
        let _ = writeln!(self.text, "{mark}{key} = {}", toml_value(value));
    }

    fn comment(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
                let _ = writeln!(self.text, "#{line}");
                line.clear();
            }
            line.push(' ');
            line.push_str(word);
        }
        if !line.is_empty() {
            let _ = writeln!(self.text, "#{line}");
        }
    }
}

fn description(expected: &Expected<'_>) -> String {
    let texts = expected.forms().filter_map(|form| form.get("description")?.as_str());
    texts.map(str::to_owned).next().unwrap_or_default()
}
