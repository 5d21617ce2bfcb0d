//! Builds a framing from the text of a command line option.

use figment::value::Dict;
use switchboard::Registry;
use switchboard::framing::AnyFraming;

use super::coerce::read_table;
use super::diagnostic::{quoted, unknown};
use super::option_check::OptionCheck;
use super::tree;

/// The text is a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn read_framing(text: &str) -> Result<AnyFraming, String> {
    let registry = Registry::new();
    let mut options = if text.trim_start().starts_with('{') {
        let table = read_table(text).and_then(|table| table.into_dict());
        table.ok_or_else(|| format!("{} is not a table of TOML or JSON", quoted(text)))?
    } else {
        Dict::from([("type".to_owned(), text.into())])
    };
    let name = options.remove("type").and_then(|name| name.into_string()).unwrap_or_default();
    let names: Vec<_> = registry.framings().map(|entry| entry.name()).collect();
    let entry = registry.framing_entry(&name);
    let entry = entry.ok_or_else(|| format!("{} {}", quoted(&name), unknown("is not a framing", &name, names)))?;
    let mut errors = Vec::new();
    let check = OptionCheck { at: &[], entry: entry.info() };
    check.errors(options.clone(), |path, what| errors.push(format!("{}: {what}", tree::dotted(path))));
    if errors.is_empty() {
        entry.build(tree::to_json(&options.into())).map_err(|error| error.to_string())
    } else {
        Err(errors.join("; "))
    }
}
