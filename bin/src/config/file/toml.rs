//! Reads TOML with the place of each key.

use figment::value::{Dict, Tag, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::contents::{Contents, SyntaxError};
use crate::config::source_text::Mark;
use crate::config::tree;

/// The content of a TOML file.
pub(super) fn parse(text: &str) -> Result<Contents, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| {
        // The messages are fixed texts, such as "unclosed table, expected `]`", without text of the file.
        let what = error.message();
        let what = if what.contains("recurs") { "tables or lists are nested too deeply" } else { what };
        SyntaxError { at: error.span(), what: format!("this is not TOML: {what}") }
    })?;
    let mut contents = Contents::default();
    contents.tree = read_table(table.get_ref(), &[], &mut contents);
    Ok(contents)
}

fn read_table(table: &DeTable<'_>, at: &[String], contents: &mut Contents) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        let path = tree::under(at, key.get_ref());
        let mark = Mark { key: key.span(), value: None };
        if let Some(value) = read_value(value, &path, mark, contents) {
            dict.insert(key.get_ref().to_string(), value);
        }
    }
    dict
}

fn read_value(spanned: &Spanned<DeValue<'_>>, path: &[String], mark: Mark, contents: &mut Contents) -> Option<Value> {
    // The span of a table is that of its header, or of nothing.
    let is_table = matches!(spanned.get_ref(), DeValue::Table(_));
    contents.marks.note(path, Mark { value: Some(spanned.span()).filter(|_| !is_table), ..mark });
    let value = match spanned.get_ref() {
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
                let mark = Mark { key: item.span(), value: None };
                // The other items keep their index.
                let path = tree::under(path, &index.to_string());
                read_value(item, &path, mark, contents).unwrap_or_else(|| Value::from(""))
            });
            Ok(Value::Array(Tag::Default, items.collect()))
        }
        DeValue::Table(table) => Ok(Value::from(read_table(table, path, contents))),
    };
    value.map_err(|what| contents.unsupported.push((path.to_vec(), what))).ok()
}

fn integer(number: &DeInteger<'_>) -> Option<Value> {
    let (digits, radix) = (number.as_str(), number.radix());
    let signed = i64::from_str_radix(digits, radix).map(Value::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Value::from)).ok()
}
