//! The reference page is generated from the program. This test compares it with the stored page.
//!
//! `UPDATE=1 cargo test --test it reference` regenerates the page.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpStream;

use harness::{Program, TEST_TIMEOUT, root};
use serde_json::Value;
use switchboard::{CloseReason, TlsIdentity};

use crate::tls::Authority;

const PAGE: &str = "bin/docs/reference.md";

/// The sections of the configuration by path, in the order of the schema.
pub(crate) fn sections(schema: &Value) -> Vec<(String, &Value)> {
    fn add<'s>(schema: &'s Value, path: &str, section: &'s Value, found: &mut Vec<(String, &'s Value)>) {
        if !path.is_empty() {
            found.push((path.to_owned(), section));
        }
        for (key, property) in section["properties"].as_object().unwrap() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // The settings of a listener can also be set at the top level.
            if schema["$defs"]["ListenerSettings"]["properties"].get(&path).is_some() {
                continue;
            }
            if let Some(inner) = target(schema, property) {
                add(schema, &path, inner, found);
            } else if let Some(inner) = target(schema, &property["additionalProperties"]) {
                let name = if key == "sni" { "HOST" } else { "NAME" };
                add(schema, &format!("{path}.{name}"), inner, found);
            }
        }
    }
    let mut found = Vec::new();
    add(schema, "", schema, &mut found);
    found
}

/// The section that a property refers to.
fn target<'s>(schema: &'s Value, property: &Value) -> Option<&'s Value> {
    let name = property.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
    Some(&schema["$defs"][name]).filter(|definition| definition.get("properties").is_some())
}

fn printed(program: &dyn Fn() -> Program, args: &[&str]) -> String {
    let ended = program().args(args).run();
    assert_eq!(ended.code(), Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The default of a key as text, or nothing.
pub(crate) fn default(key: &str, property: &Value) -> String {
    match (key, property.get("default")) {
        ("workers", _) => "the cores".to_owned(),
        (_, None) => String::new(),
        (_, Some(Value::Array(items))) if items.is_empty() => "`[]`".to_owned(),
        (_, Some(value)) => format!("`{value}`"),
    }
}

fn keys(page: &mut String, schema: &Value) {
    for (path, section) in sections(schema) {
        let key = path.strip_prefix("listeners.NAME.").unwrap_or_default();
        let is_shared = schema["properties"].get(key).is_some();
        let title = if is_shared { format!("[{path}], or [{key}] for all") } else { format!("[{path}]") };
        let _ = write!(page, "\n### `{title}`\n\n| key | default | purpose |\n|---|---|---|\n");
        for (key, property) in section["properties"].as_object().unwrap() {
            if target(schema, property).is_none() {
                let what = property["description"].as_str().unwrap_or_default();
                let _ = writeln!(page, "| `{key}` | {} | {} |", default(key, property), cell(what));
            }
        }
    }
}

fn components(page: &mut String, list: &Value) {
    for (title, what) in [("Handlers", "handlers"), ("Layers", "layers"), ("Framings", "framings")] {
        let _ = write!(page, "\n## {title}\n");
        for entry in list[what].as_array().unwrap() {
            let _ = write!(
                page,
                "\n### `{}`\n\n{}.\n",
                entry["name"].as_str().unwrap(),
                entry["summary"].as_str().unwrap()
            );
            let options = entry["options"].as_array().unwrap();
            if !options.is_empty() {
                page.push_str("\n| option | default | purpose |\n|---|---|---|\n");
            }
            for option in options {
                let default = match &option["default"] {
                    Value::Null => String::new(),
                    value => format!("`{value}`"),
                };
                let (name, words) =
                    (option["name"].as_str().unwrap(), option["description"].as_str().unwrap_or_default());
                let _ = writeln!(page, "| `{name}` | {default} | {} |", cell(words));
            }
        }
    }
    page.push_str("\n## Transports\n\n| scheme | provides |\n|---|---|\n");
    for entry in list["transports"].as_array().unwrap() {
        let _ = writeln!(page, "| `{}` | {} |", entry["name"].as_str().unwrap(), entry["summary"].as_str().unwrap());
    }
}

/// The help of every command, in the order of the program.
fn commands(page: &mut String, program: &dyn Fn() -> Program) {
    fn add(page: &mut String, program: &dyn Fn() -> Program, command: &[&str]) {
        let words: Vec<&str> = [command, &["--help"]].concat();
        let help = program().args(&words).env("COLUMNS", "100").run().stdout;
        if !command.is_empty() {
            let help: Vec<_> = help.lines().map(str::trim_end).collect();
            let command = command.join(" ");
            let _ = write!(page, "\n### `switchboard {command}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
        }
        let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
        for line in list.lines().take_while(|line| !line.is_empty()) {
            // A long description continues in lines with more spaces.
            let name =
                line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).and_then(|line| line.split(' ').next());
            if let Some(name) = name.filter(|name| *name != "help") {
                add(page, program, &[command, &[name]].concat());
            }
        }
    }
    page.push_str("\n## Commands\n");
    add(page, program, &[]);
}

fn close_reasons(page: &mut String) {
    page.push_str("\n## Close reasons\n\n| reason | meaning |\n|---|---|\n");
    for reason in CloseReason::ALL {
        let _ = writeln!(page, "| `{reason}` | {} |", reason.sentence());
    }
}

/// A metric that a program declares.
pub(crate) struct Metric {
    pub(crate) name: String,
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    pub(crate) help: String,
    /// The labels of its samples with their values, in this order.
    pub(crate) labels: Vec<(String, String)>,
}

impl Metric {
    pub(crate) fn has_label(&self, name: &str) -> bool {
        self.labels.iter().any(|(label, _)| label == name)
    }
}

/// The metrics of a running server, read at its admin endpoint.
pub(crate) fn declared_metrics(program: &dyn Fn() -> Program) -> Vec<Metric> {
    // With TLS, because a metric of certificates has no sample otherwise.
    let authority = Authority::new();
    let TlsIdentity { certificate, key } = authority.sign("localhost", "localhost", |_| {});
    let files = [("certificate", certificate), ("key", key)];
    let files = files.map(|(key, file)| format!("listeners.main.tls.{key}={}", file.display()));
    let records = authority.place().join("records");
    let server = program()
        .args(["serve", "--listen", "tls://127.0.0.1:0", "--set", "admin.listen=tcp://127.0.0.1:0"])
        .args(files.iter().flat_map(|file| ["--set", file]))
        .args(["--set", "fleet.link=redis://127.0.0.1:1"]) // its metrics exist without an answer
        .args(["--set", &format!("recorder.directory={}", records.display())])
        .spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let mut io = TcpStream::connect(server.socket("admin")).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let metric = |(at, line): (usize, &&str)| {
        let (name, help) = line.strip_prefix("# HELP ")?.split_once(' ')?;
        let kind = lines[at..].iter().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        // The samples of a histogram have suffixes.
        let is_sample = |line: &&&str| [name, &format!("{name}_bucket")].contains(&line.split('{').next().unwrap());
        let labels = lines.iter().filter(is_sample).filter_map(|sample| sample.split_once('{')?.1.split('}').next());
        let labels = labels.flat_map(|labels| labels.split(',')).filter_map(|label| label.split_once('='));
        let mut labels: Vec<_> =
            labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
        labels.dedup();
        Some(Metric { name: name.to_owned(), kind: kind.to_owned(), help: help.to_owned(), labels })
    };
    lines.iter().enumerate().filter_map(metric).collect()
}

fn metrics(page: &mut String, program: &dyn Fn() -> Program) {
    page.push_str("\n## Metrics\n\nAll metrics have the label `listener`, except those of the process: `build_info`, `drain_phase`,\n`evacuating`, bans, strikes and the fleet. The fleet has metrics only with the section `fleet`.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for Metric { name, kind, help, labels } in declared_metrics(program) {
        let own = labels.iter().filter(|(label, _)| !["listener", "le", "version"].contains(&&**label));
        let mut own: Vec<_> = own.map(|(label, value)| format!("`{label}=\"{value}\"`")).collect();
        own.dedup();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {} |", own.join(" "), cell(&help));
    }
}

/// The reference of a program, generated from its schema, its list, its help and its metrics.
pub(crate) fn page(program: &dyn Fn() -> Program) -> String {
    let schema: Value = serde_json::from_str(&printed(program, &["schema"])).unwrap();
    let list: Value = serde_json::from_str(&printed(program, &["list", "--json"])).unwrap();
    let mut page = String::from(
        "# Reference\n\nThis page is generated from the program: every key, handler, layer, framing, transport, command, \
         close\nreason and metric. The [operator's guide](operators.md) explains how to use them,\n[defaults and \
         bounds](defaults.md) lists the fixed bounds.\n\n\
         ## Configuration\n\nDefaults < file < environment < flags. A key is `SWITCHBOARD_A__B__C` in the environment and \
         `--set a.b.c=…` as a flag.\nIn a flag, a part with a dot is quoted: `--set 'listeners.main.tls.sni.\"example.com\".key=…'`.\nSizes (`\"64KiB\"`), durations (`\"30s\"`) and rates (`\"100/s\"`) are text.\n",
    );
    page.push_str("\n### Top level\n\n| key | purpose |\n|---|---|\n");
    let properties = schema["properties"].as_object().unwrap();
    let is_section = |property: &Value| property["type"] == "object" || target(&schema, property).is_some();
    for (key, property) in properties.iter().filter(|(_, property)| !is_section(property)) {
        let _ = writeln!(page, "| `{key}` | {} |", property["description"].as_str().unwrap());
    }
    keys(&mut page, &schema);
    components(&mut page, &list);
    commands(&mut page, program);
    close_reasons(&mut page);
    metrics(&mut page, program);
    page
}

#[test]
fn the_page_matches_the_program() {
    let page = page(&Program::switchboard);
    let path = root().join(PAGE);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(kept.lines()).find(|(now, kept)| now != kept);
    assert!(page == kept, "{PAGE} is out of date (UPDATE=1 regenerates it): {differs:?}");
}
