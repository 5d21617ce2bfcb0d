//! The page of defaults: its tables of keys and fixed bounds are generated from the schema and from the constants in
//! the source.
//!
//! `UPDATE=1 cargo test --test it defaults` writes the tables.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use harness::Program;
use serde_json::Value;
use switchboard::Kind;
use switchboard::server::ListenerSpec;

use crate::reference::{default, sections};

/// Constants that are not bounds.
const NO_BOUNDS: [&str; 11] = [
    "PROBATION",
    "ESTABLISHED",
    "VALIDATED",
    "COUNT",
    "CENTURY",
    "COUNTS_VERSION",
    "VERSION",
    "IS_CUT",
    "TIME",
    "PORT_TYPE",
    "SNAP_LENGTH",
];

fn path() -> PathBuf {
    harness::root().join("bin/docs/defaults.md")
}

fn page() -> String {
    fs::read_to_string(path()).unwrap()
}

/// Compares the generated table between two marker comments with the page. With `UPDATE`, writes it first.
fn check_table(name: &str, heads: [&str; 3], rows: impl Iterator<Item = [String; 3]>) {
    static PAGE: Mutex<()> = Mutex::new(());
    let _guard = PAGE.lock().unwrap();
    let mut table = format!("\n| {} |\n| --- | --- | --- |\n", heads.join(" | "));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        assert!(!cells[2].is_empty(), "{} has no doc comment", cells[0]);
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table.push('\n');
    let page = page();
    let marker = format!("<!-- generated: {name} -->\n");
    let begin = page.find(&marker).unwrap_or_else(|| panic!("the page has no {marker}")) + marker.len();
    let end = begin + page[begin..].find("<!-- end -->").unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(path(), format!("{}{table}{}", &page[..begin], &page[end..])).unwrap();
        return;
    }
    let differs = table.lines().zip(page[begin..end].lines()).find(|(now, kept)| now != kept);
    assert!(page[begin..end] == table, "the table of {name} is out of date (UPDATE=1 writes it): {differs:?}");
}

#[test]
fn every_key_has_the_documented_default() {
    let schema = Program::switchboard().arg("schema").run().stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut rows = Vec::new();
    for (path, section) in sections(&schema) {
        let name = path.strip_prefix("listeners.NAME.").unwrap_or(&path);
        for (key, property) in section["properties"].as_object().unwrap() {
            let default = default(key, property).replace('"', "");
            let help = property["description"].as_str().unwrap_or_default();
            if !default.is_empty() {
                rows.push([format!("`{name}.{key}`"), default, help.to_owned()]);
            }
        }
    }
    let printed = Program::switchboard().args(["config", "--format", "json"]).run();
    let config: Value = serde_json::from_str(&printed.stdout).unwrap();
    let main = &config["listeners"]["main"];
    let groups = ["limits", "timeouts", "rate", "socket"].map(|group| (group, &main[group]));
    for (group, table) in groups.into_iter().chain([("drain", &config["drain"])]) {
        for (key, value) in table.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let expected = [format!("`{group}.{key}`"), format!("`{value}`")];
            assert!(rows.iter().any(|row| row[..2] == expected), "{expected:?}");
        }
    }
    check_table("keys", ["key", "default", "purpose"], rows.into_iter());
}

/// A constant of a source file: name, type, expression and doc comment.
#[derive(Debug)]
struct Constant {
    name: String,
    kind: String,
    expression: String,
    doc: String,
}

/// The numeric constants of a source file. A constant without a doc comment has that of the constant on the line above.
fn constants(text: &str) -> Vec<Constant> {
    let (mut found, mut doc, mut is_kept) = (Vec::new(), String::new(), true);
    for line in text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim_start) {
        if let Some(comment) = line.strip_prefix("///") {
            let before = if is_kept { "" } else { &doc };
            doc = format!("{before} {}", comment.trim()).trim().to_owned();
            is_kept = false;
            continue;
        }
        is_kept = true;
        let declaration =
            ["pub(crate) ", "pub(super) ", "pub "].iter().fold(line, |line, part| line.trim_start_matches(part));
        let constant = declaration.strip_prefix("const ").and_then(|rest| {
            let (name, rest) = rest.split_once(": ")?;
            let (kind, rest) = rest.split_once(" = ")?;
            Some((name, kind, rest.split_once(';')?.0))
        });
        match constant {
            Some((name, kind, expression)) if ["usize", "u64", "u32", "Duration"].contains(&kind) => {
                let [name, kind, expression] = [name, kind, expression].map(str::to_owned);
                found.push(Constant { name, kind, expression, doc: doc.clone() });
            }
            _ => doc.clear(),
        }
    }
    found.retain(|constant| !NO_BOUNDS.contains(&&*constant.name));
    found
}

/// The value of an expression; durations are in nanoseconds.
fn value(expression: &str, named: &dyn Fn(&str) -> u128) -> u128 {
    let unit = |name| expression.strip_prefix(name).and_then(|rest| rest.strip_suffix(')'));
    if let Some(seconds) = unit("Duration::from_secs(") {
        return value(seconds, named) * 1_000_000_000;
    }
    if let Some(millis) = unit("Duration::from_millis(") {
        return value(millis, named) * 1_000_000;
    }
    let binary = |sign| expression.rsplit_once(sign).map(|(left, right)| (value(left, named), value(right, named)));
    if let Some((left, right)) = binary(" * ") {
        return left * right;
    }
    if let Some((left, right)) = binary(" / ") {
        return left / right;
    }
    if let Some((left, right)) = binary(" << ") {
        return left << right;
    }
    expression.replace('_', "").parse().unwrap_or_else(|_| named(expression))
}

/// A value as text: `64 KiB`, `1,024`, `5 ms`. An expression such as `64 * 1024` is a size.
fn text(kind: &str, value: u128, expression: &str) -> String {
    let in_unit = |units: &[(u128, &str)]| {
        let (size, unit) = units.iter().find(|(size, _)| value.is_multiple_of(*size)).unwrap();
        format!("{}{unit}", grouped(value / size))
    };
    let second = Duration::from_secs(1).as_nanos();
    if kind == "Duration" {
        in_unit(&[(second * 24 * 60 * 60, " d"), (second, " s"), (second / 1000, " ms")])
    } else if expression.contains("* 1024") || expression.contains("<<") {
        in_unit(&[(1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, "")])
    } else {
        grouped(value)
    }
}

/// A number with a comma after each three digits.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|of| of == "rs") && entry.file_name().is_some_and(|of| of != "tests.rs")
        {
            found.push(entry);
        }
    }
}

#[test]
fn every_fixed_bound_is_documented_with_its_value() {
    let mut code = Vec::new();
    for package in ["framework/src", "bin/src", "handlers/src"] {
        let (top, mut files) = (harness::root().join(package), Vec::new());
        sources(&top, &mut files);
        files.sort();
        for file in files {
            let constants = constants(&fs::read_to_string(&file).unwrap());
            let file = file.strip_prefix(&top).unwrap().display().to_string();
            code.extend(constants.into_iter().map(|constant| (file.clone(), constant)));
        }
    }
    assert!(code.len() > 30, "{code:?}");
    let expression =
        |name: &str| code.iter().find(|(_, known)| known.name == name).map(|(_, known)| &*known.expression);
    let named =
        |name: &str| value(expression(name).unwrap_or_else(|| panic!("{name} is not known")), &|name| panic!("{name}"));
    let rows = code.iter().map(|(file, constant)| {
        let own = &constant.expression;
        let of_part = own.split(' ').find_map(expression).unwrap_or(own);
        let value = text(&constant.kind, value(own, &named), of_part);
        [format!("`{file}` `{}`", constant.name), value, constant.doc.clone()]
    });
    check_table("bounds", ["bound", "value", "purpose"], rows);
}

#[test]
fn the_memory_formula_matches_the_page() {
    let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:9999".parse().unwrap());
    let kib = |kib: u64| kib * 1024;
    let (frame, connections) = (spec.limits.frame as u64, spec.limits.connections as u64);
    let each = kib(12) + (frame + kib(1 + 64 + 4 + 64)) + 2 * (kib(64) + frame);
    assert_eq!(spec.max_memory(Kind::Stream), connections * each);
    assert!(page().contains(&format!("that is {} KiB for a connection", each / 1024)));
    assert_eq!(
        spec.max_memory(Kind::Datagram),
        spec.limits.sessions as u64 * kib(4) + kib(21 * 1024) + spec.limits.outbox as u64 * frame
    );
    spec.tls = Some(switchboard::TlsSettings::new("cert.pem", "key.pem"));
    assert_eq!(spec.max_memory(Kind::Stream), connections * (each + kib(144)));
    spec.proxy = Some(switchboard::ProxySettings::default());
    spec.rates.connections_per_source = switchboard::settings::Rate::per_second(1);
    assert_eq!(spec.max_memory(Kind::Stream), connections * (each + kib(144 + 8)) + kib(8 * 1024));
}
