//! The page of defaults lists every key and every fixed bound with the value in the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::Program;
use serde_json::Value;
use switchboard::Kind;
use switchboard::server::ListenerSpec;

/// Constants that are not bounds.
const NOT_BOUNDS: [&str; 5] = ["PROBATION", "ESTABLISHED", "VALIDATED", "COUNT", "CENTURY"];

fn page() -> String {
    fs::read_to_string(harness::root().join("bin/docs/defaults.md")).unwrap()
}

/// The first two cells of each row of the table with this header, without backticks.
fn rows(head: &str) -> Vec<(String, String)> {
    let page = page();
    let rows = page.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 3 && !cells[2].is_empty(), "a row needs a name, a value and a reason: {row}");
        (cells[0].replace('`', ""), cells[1].replace('`', ""))
    });
    rows.collect()
}

#[test]
fn every_key_has_the_default_that_the_page_says() {
    let printed = Program::switchboard().args(["config", "--format", "json"]).run();
    let config: Value = serde_json::from_str(&printed.stdout).unwrap();
    let main = &config["listeners"]["main"];
    let groups = ["limits", "timeouts", "rate", "socket"].map(|group| (group, &main[group]));
    let leaves = groups.into_iter().chain([("drain", &config["drain"])]).flat_map(|(group, table)| {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.as_object().unwrap().iter().map(move |(key, value)| (format!("{group}.{key}"), text(value)))
    });
    let (program, page): (BTreeMap<_, _>, BTreeMap<_, _>) = (leaves.collect(), rows("key").into_iter().collect());
    assert_eq!(program, page);
}

/// The name and expression of each bound in a source file.
fn constants(text: &str) -> Vec<(String, String)> {
    let found = text.lines().take_while(|line| *line != "#[cfg(test)]").filter_map(|line| {
        let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let (name, rest) = line.trim_start_matches("pub ").strip_prefix("const ")?.split_once(": ")?;
        let (kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
        ["usize", "u64", "u32", "Duration"].contains(&kind).then(|| (name.to_owned(), value.to_owned()))
    });
    found.filter(|(name, _)| !NOT_BOUNDS.contains(&&**name)).collect()
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

/// Parses a value in the form of the page: `64 KiB`, `1,024`, `5 ms`.
fn read(written: &str) -> u128 {
    let (number, unit) = written.split_once(' ').unwrap_or((written, ""));
    let number: u128 = number.replace(',', "").parse().unwrap_or_else(|_| panic!("{written}"));
    let times = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "ms" => Duration::from_millis(1).as_nanos(),
        "s" => Duration::from_secs(1).as_nanos(),
        "d" => Duration::from_secs(24 * 60 * 60).as_nanos(),
        _ => panic!("{written}"),
    };
    number * times
}

fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
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
fn every_fixed_bound_is_on_the_page_with_its_value() {
    let mut code = BTreeMap::new();
    for package in ["framework/src", "bin/src", "handlers/src"] {
        let (top, mut files) = (harness::root().join(package), Vec::new());
        sources(&top, &mut files);
        for file in files {
            let constants = constants(&fs::read_to_string(&file).unwrap());
            let file = file.strip_prefix(&top).unwrap().display().to_string();
            for (name, expression) in constants {
                code.entry((file.clone(), name)).or_insert(expression);
            }
        }
    }
    assert!(code.len() > 30, "{code:?}");
    let named = |name: &str| {
        let found = code.iter().find(|((_, known), _)| known == name);
        value(found.unwrap_or_else(|| panic!("{name} is not known")).1, &|name| panic!("{name}"))
    };
    let page: BTreeMap<String, u128> =
        rows("bound").iter().map(|(bound, value)| (bound.clone(), read(value))).collect();
    let program: BTreeMap<String, u128> =
        code.iter().map(|((file, name), expression)| (format!("{file} {name}"), value(expression, &named))).collect();
    let (on_page, in_code): (BTreeSet<_>, BTreeSet<_>) = (page.iter().collect(), program.iter().collect());
    let missing: Vec<_> = in_code.difference(&on_page).collect();
    let gone: Vec<_> = on_page.difference(&in_code).collect();
    assert!(missing.is_empty() && gone.is_empty(), "missing on the page: {missing:?}\nonly on the page: {gone:?}");
}

#[test]
fn the_formula_of_memory_is_that_of_the_page() {
    let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:9999".parse().unwrap());
    let kib = |kib: u64| kib * 1024;
    let (frame, connections) = (spec.limits.frame as u64, spec.limits.connections as u64);
    let each = kib(12) + (frame + kib(1 + 64 + 4 + 64)) + 2 * (kib(64) + frame);
    assert_eq!(spec.max_memory(Kind::Stream), connections * each);
    assert!(page().contains(&format!("that is {} KiB for a connection", each / 1024)));
    assert_eq!(
        spec.max_memory(Kind::Datagram),
        spec.limits.sessions as u64 * kib(4) + kib(17 * 1024) + spec.limits.outbox as u64 * frame
    );
    spec.tls = Some(switchboard::TlsSettings::new("cert.pem", "key.pem"));
    assert_eq!(spec.max_memory(Kind::Stream), connections * (each + kib(144)));
    spec.proxy = Some(switchboard::ProxySettings::default());
    spec.rates.connections_per_source = switchboard::settings::Rate::per_second(1);
    assert_eq!(spec.max_memory(Kind::Stream), connections * (each + kib(144 + 8)) + kib(8 * 1024));
}
