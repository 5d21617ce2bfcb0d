//! The framing that is written as the framing that cuts bytes, or what is wrong with it.

use serde::Deserialize;
use switchboard::framing::{AnyFraming, BUILT_IN, Delimited, FramingOption, JsonLines, Length, Lines, Raw};

use super::diagnostic::{known, quoted};
use super::raw::{FramingTable, RawFraming};
use super::tree;
use super::typing::read_table;
use super::validate::sentence;
use super::value::{FramingName, Order};

/// What is wrong with a framing: the option where it shows, and a sentence. Without an option it is the whole.
type Wrong = (Option<&'static str>, String);

/// A framing in a text of its own: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn of_text(text: &str) -> Result<AnyFraming, String> {
    let raw = if text.trim_start().starts_with('{') {
        let table = read_table(text).ok_or_else(|| format!("{} is not a table of TOML or JSON", quoted(text)))?;
        let dict = table.as_dict().cloned().unwrap_or_default();
        RawFraming::deserialize(&table)
            .map_err(|error| format!("{}: {}", tree::dotted(&error.path), sentence(&dict, &error.path, error.kind)))?
    } else {
        RawFraming::Name(text.parse::<FramingName>()?)
    };
    of_raw(&raw).map_err(|wrong| {
        let sentences = wrong.into_iter().map(|(key, what)| match key {
            Some(key) => format!("{key}: {what}"),
            None => what,
        });
        sentences.collect::<Vec<_>>().join("; ")
    })
}

/// The framing that is written.
pub(crate) fn of_raw(raw: &RawFraming) -> Result<AnyFraming, Vec<Wrong>> {
    let plain = FramingTable::default();
    let (name, table) = match raw {
        RawFraming::Name(name) => (name.0, &plain),
        RawFraming::Table(table) => (table.r#type.ok_or_else(no_type)?.0, table),
    };
    let options = BUILT_IN.iter().find(|entry| entry.name == name).map_or(&[][..], |entry| entry.options);
    let wrong = strange_options(name, table, options);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let max = table.max.map(|size| size.0);
    Ok(match name {
        "lines" => AnyFraming::Lines(with_max(Lines::default(), Lines::max, max)),
        "json-lines" => AnyFraming::JsonLines(with_max(JsonLines::default(), JsonLines::max, max)),
        "length" => AnyFraming::Length(with_max(length(table, options)?, Length::max, max)),
        "delimited" => AnyFraming::Delimited(with_max(delimited(table)?, Delimited::max, max)),
        _ => AnyFraming::Raw(with_max(Raw::default(), Raw::max, max)),
    })
}

fn with_max<F>(framing: F, set: fn(F, usize) -> F, max: Option<usize>) -> F {
    match max {
        Some(max) => set(framing, max),
        None => framing,
    }
}

fn no_type() -> Vec<Wrong> {
    let names: Vec<_> = BUILT_IN.iter().map(|entry| entry.name).collect();
    vec![(Some("type"), format!("is missing; it is one of {}", names.join(", ")))]
}

/// Options that are written, and that this framing has not.
fn strange_options(name: &str, table: &FramingTable, options: &[FramingOption]) -> Vec<Wrong> {
    let written = [
        ("max", table.max.is_some()),
        ("width", table.width.is_some()),
        ("order", table.order.is_some()),
        ("offset", table.offset.is_some()),
        ("delimiter", table.delimiter.is_some()),
    ];
    let is_strange = |key: &str| !options.iter().any(|option| option.name == key);
    let strange = written.into_iter().filter(|(key, is_written)| *is_written && is_strange(key));
    let sentence = || {
        let known = known(options.iter().map(|option| option.name));
        format!("is not an option of the framing {name}. {known}")
    };
    strange.map(|(key, _)| (Some(key), sentence())).collect()
}

fn length(table: &FramingTable, options: &[FramingOption]) -> Result<Length, Vec<Wrong>> {
    let default = |key: &str| {
        let option = options.iter().find(|option| option.name == key);
        option.and_then(|option| option.default.parse::<usize>().ok()).unwrap_or_default()
    };
    let width = table.width.map_or_else(|| default("width"), |width| width.0);
    let order = table.order.map(|Order(order)| order).unwrap_or_default();
    let offset = table.offset.map_or_else(|| default("offset"), |offset| offset.size());
    Length::new(width, order, offset).map_err(|error| vec![(None, error.to_string())])
}

fn delimited(table: &FramingTable) -> Result<Delimited, Vec<Wrong>> {
    let delimiter = table.delimiter.as_ref().and_then(|delimiter| Delimited::new(&delimiter.0));
    let what = "is missing; write the framing like { type = \"delimited\", delimiter = \"|\" }";
    delimiter.ok_or_else(|| vec![(Some("delimiter"), what.to_owned())])
}
