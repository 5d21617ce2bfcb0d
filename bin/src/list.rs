//! `switchboard list`: the handlers, transports, framings and layers of this build, as text or JSON.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use switchboard::registry::EntryInfo;
use switchboard::{Kind, Needs, Registry};

use crate::config::{OptionDoc, documented};

pub(crate) fn text(registry: &Registry) -> String {
    let handlers = registry.handlers().map(|entry| (entry.info(), Some(needs(entry.needs()))));
    let transports = registry.transports().map(|known| {
        let cells = [known.scheme, kind(known.kind), known.summary];
        Row { cells: cells.map(str::to_owned).into(), is_option: false }
    });
    let mut text = String::new();
    table(&mut text, "Handlers", &rows(handlers));
    table(&mut text, "Transports", &transports.collect::<Vec<_>>());
    table(&mut text, "Framings", &rows(registry.framings().map(|entry| (entry.info(), None))));
    table(&mut text, "Layers", &rows(registry.layers().map(|entry| (entry.info(), None))));
    text
}

/// The list as JSON. Later versions may add keys, but remove none.
pub(crate) fn json(registry: &Registry) -> String {
    let handlers = registry.handlers().map(|handler| {
        json!({
            "name": handler.name(),
            "summary": handler.summary(),
            "needs": needs(handler.needs()),
            "framing": handler.own_framing(),
            "options": json_options(handler.options()),
        })
    });
    let transports = registry
        .transports()
        .map(|known| json!({ "name": known.scheme, "summary": known.summary, "provides": kind(known.kind) }));
    let list = json!({
        "handlers": handlers.collect::<Json>(),
        "transports": transports.collect::<Json>(),
        "framings": registry.framings().map(|framing| described(framing.info())).collect::<Json>(),
        "layers": registry.layers().map(|layer| described(layer.info())).collect::<Json>(),
    });
    format!("{list:#}\n")
}

fn described(entry: &EntryInfo) -> Json {
    json!({ "name": entry.name(), "summary": entry.summary(), "options": json_options(entry.options()) })
}

fn json_options(schema: &Json) -> Json {
    let options = documented(schema).into_iter().map(|OptionDoc { name, kind, default, required, help }| {
        json!({ "name": name, "type": kind, "default": default, "required": required, "description": help })
    });
    options.collect()
}

fn needs(needs: Needs) -> &'static str {
    match needs {
        Needs::Stream => kind(Kind::Stream),
        Needs::Datagram => kind(Kind::Datagram),
        _ => "either",
    }
}

fn kind(kind: Kind) -> &'static str {
    if kind == Kind::Datagram { "datagrams" } else { "connections" }
}

/// A row of a table. The rows of options follow the row of their entry.
struct Row {
    cells: Vec<String>,
    is_option: bool,
}

fn rows<'a>(entries: impl Iterator<Item = (&'a EntryInfo, Option<&'a str>)>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (entry, needs) in entries {
        let cells = [Some(entry.name()), needs, Some(entry.summary())].into_iter().flatten();
        rows.push(Row { cells: cells.map(str::to_owned).collect(), is_option: false });
        for OptionDoc { name, kind, default, required, help } in documented(entry.options()) {
            let required = if required { "required" } else { "" };
            let default = default.map_or_else(|| required.to_owned(), |default| format!("= {default}"));
            rows.push(Row { cells: vec![name, kind, default, help], is_option: true });
        }
    }
    rows
}

/// Entries and options are indented and aligned separately.
fn table(text: &mut String, title: &str, rows: &[Row]) {
    let gap = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}{title}");
    for Row { cells, is_option } in rows {
        let mut line = String::from(if *is_option { "      " } else { "  " });
        for (column, cell) in cells.iter().enumerate() {
            let alike = rows.iter().filter(|row| row.is_option == *is_option);
            let width = alike.map(|row| row.cells[column].chars().count()).max().unwrap_or_default();
            let _ = write!(line, "{cell:<width$}", width = width + 2);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests;
