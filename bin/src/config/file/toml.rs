//! Reads TOML with the line of each key.

use figment::value::{Dict, Tag, Value};
use toml::de::{DeInteger, DeTable, DeValue};

use super::contents::Contents;
use crate::config::tree;

/// The content of a TOML file, or the line and an error message.
pub(super) fn parse(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let line = |at: usize| starts.partition_point(|start| *start <= at) + 1;
    let table = DeTable::parse(text).map_err(|error| {
        // The messages are fixed texts, such as "unclosed table, expected `]`", without text of the file.
        let what = error.message();
        let what = if what.contains("recurs") { "tables or lists are nested too deeply" } else { what };
        (error.span().map(|span| line(span.start)), format!("this is not TOML: {what}"))
    })?;
    let mut contents = Contents::default();
    contents.tree = read_table(table.get_ref(), &[], &line, &mut contents);
    Ok(contents)
}

fn read_table(table: &DeTable<'_>, at: &[String], line: &dyn Fn(usize) -> usize, contents: &mut Contents) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        let path = tree::under(at, key.get_ref());
        contents.lines.note(&path, line(key.span().start));
        if let Some(value) = read_value(value.get_ref(), &path, line, contents) {
            dict.insert(key.get_ref().to_string(), value);
        }
    }
    dict
}

fn read_value(
    value: &DeValue<'_>,
    path: &[String],
    line: &dyn Fn(usize) -> usize,
    contents: &mut Contents,
) -> Option<Value> {
    let value = match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Boolean(is) => Ok(Value::from(*is)),
        DeValue::Integer(number) => integer(number).ok_or_else(|| format!("{number} is too large")),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::from(float)),
            _ => Err(format!("{number} is not a finite number")),
        },
        DeValue::Datetime(date) => Err(format!("{date} is a date; no key accepts a date; write a text in quotes")),
        DeValue::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| {
                let path = tree::under(path, &index.to_string());
                contents.lines.note(&path, line(item.span().start));
                // The other items keep their index.
                read_value(item.get_ref(), &path, line, contents).unwrap_or_else(|| Value::from(""))
            });
            Ok(Value::Array(Tag::Default, items.collect()))
        }
        DeValue::Table(table) => Ok(Value::from(read_table(table, path, line, contents))),
    };
    value.map_err(|what| contents.unsupported.push((path.to_vec(), what))).ok()
}

fn integer(number: &DeInteger<'_>) -> Option<Value> {
    let (digits, radix) = (number.as_str(), number.radix());
    let signed = i64::from_str_radix(digits, radix).map(Value::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Value::from)).ok()
}
