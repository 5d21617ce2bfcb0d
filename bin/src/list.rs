//! `switchboard list`: the handlers, transports, framings and layers of this build, as text or JSON.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use switchboard::registry::EntryInfo;
use switchboard::{Kind, Needs, Registry};

use crate::config::documented;

/// A row of a table: its cells, and whether it is an option of the row above.
type Row = (Vec<String>, bool);

/// The list as text.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    let handlers = registry.handlers().flat_map(|handler| rows(handler.info(), Some(served_on(handler.needs()))));
    table(&mut text, "Handlers", &handlers.collect::<Vec<_>>());
    let transports = registry
        .transports()
        .map(|known| (vec![known.scheme.to_owned(), brings(known.kind).to_owned(), known.summary.to_owned()], false));
    table(&mut text, "Transports", &transports.collect::<Vec<_>>());
    let framings = registry.framings().flat_map(|framing| rows(framing.info(), None));
    table(&mut text, "Framings", &framings.collect::<Vec<_>>());
    let layers = registry.layers().flat_map(|layer| rows(layer.info(), None));
    table(&mut text, "Layers", &layers.collect::<Vec<_>>());
    text
}

/// The list as JSON. Scripts rely on its fields.
pub(crate) fn json(registry: &Registry) -> String {
    let handlers = registry.handlers().map(|handler| {
        json!({
            "name": handler.name(),
            "summary": handler.summary(),
            "needs": served_on(handler.needs()),
            "framing": handler.own_framing(),
            "options": json_options(handler.options()),
        })
    });
    let transports = registry
        .transports()
        .map(|known| json!({ "name": known.scheme, "summary": known.summary, "brings": brings(known.kind) }));
    let framings = registry.framings().map(|framing| described(framing.info()));
    let layers = registry.layers().map(|layer| described(layer.info()));
    let list = json!({
        "handlers": handlers.collect::<Json>(),
        "transports": transports.collect::<Json>(),
        "framings": framings.collect::<Json>(),
        "layers": layers.collect::<Json>(),
    });
    format!("{list:#}\n")
}

fn described(entry: &EntryInfo) -> Json {
    json!({ "name": entry.name(), "summary": entry.summary(), "options": json_options(entry.options()) })
}

fn json_options(schema: &Json) -> Json {
    let options = documented(schema).into_iter().map(|option| {
        json!({
            "name": option.name,
            "type": option.kind,
            "default": option.default,
            "required": option.required,
            "description": option.help,
        })
    });
    options.collect()
}

/// The row of an entry and the rows of its options.
fn rows(entry: &EntryInfo, served_on: Option<&str>) -> Vec<Row> {
    let cells = [Some(entry.name()), served_on, Some(entry.summary())];
    let mut rows = vec![(cells.into_iter().flatten().map(str::to_owned).collect(), false)];
    rows.extend(documented(entry.options()).into_iter().map(|option| {
        let default = match option.default {
            Some(default) => format!("= {default}"),
            None if option.required => "required".into(),
            None => String::new(),
        };
        (vec![option.name, option.kind, default, option.help], true)
    }));
    rows
}

fn served_on(needs: Needs) -> &'static str {
    match needs {
        Needs::Stream => "connections",
        Needs::Datagram => "datagrams",
        _ => "either",
    }
}

fn brings(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "connections",
        Kind::Datagram => "datagrams",
    }
}

/// Writes rows in aligned columns. Option rows are indented and aligned with each other.
fn table(text: &mut String, title: &str, rows: &[Row]) {
    let gap = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}{title}");
    for (cells, inner) in rows {
        let width = |column: usize| {
            let alike = rows.iter().filter(|(other, other_inner)| other_inner == inner && other.len() == cells.len());
            alike.map(|(other, _)| other[column].chars().count()).max().unwrap_or_default()
        };
        let mut line = String::from(if *inner { "      " } else { "  " });
        for (column, cell) in cells.iter().enumerate() {
            let _ = write!(line, "{cell:<width$}", width = width(column) + 2);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_everything_with_its_options() {
        let registry = crate::registry();
        let text = text(&registry);
        for part in [
            "Handlers\n  echo   either",
            "welcome",
            "= \"welcome!\"",
            "Transports",
            "udp",
            "json-lines",
            "replaces `limits.frame`",
            "Layers",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.lines().any(|line| line.ends_with(' ')));
    }

    #[test]
    fn the_json_list_is_json() {
        let list: Json = serde_json::from_str(&json(&crate::registry())).unwrap();
        assert_eq!(list["handlers"][1]["name"], "hello");
        let options = list["handlers"][1]["options"].as_array().unwrap();
        let welcome = options.iter().find(|option| option["name"] == "welcome").unwrap();
        assert_eq!((&welcome["default"], &welcome["type"]), (&json!("welcome!"), &json!("text")));
        assert!(list["transports"].as_array().unwrap().iter().any(|transport| transport["name"] == "tcp"));
        assert!(list["framings"].as_array().unwrap().iter().any(|framing| framing["name"] == "length"));
    }
}
