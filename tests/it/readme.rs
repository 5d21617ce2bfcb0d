//! The README: its commands run, its tables match the program, and its paths exist. Its Rust code is compiled as
//! documentation tests of the test harness.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Program, Running, tool};
use serde_json::Value;

fn readme() -> String {
    fs::read_to_string(harness::root().join("README.md")).unwrap()
}

/// The fenced code blocks in order: language and text.
pub(crate) fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language.to_owned(), body.join("\n") + "\n"));
        }
    }
    blocks
}

/// The cells of each row of the table with this header.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn name(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn port(server: &Running) -> String {
    server.socket("main").rsplit_once(':').unwrap().1.to_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}

#[test]
fn the_python_clients_print_the_documented_output() {
    let Some(python) = tool("python3") else { return };
    let text = readme();
    let blocks = blocks(&text);
    let mut seen = 0;
    for (at, (_, script)) in blocks.iter().enumerate().filter(|(_, (language, _))| language == "python") {
        let scheme = if script.contains("SOCK_DGRAM") { "udp" } else { "tcp" };
        let server = Program::switchboard().args(["--listen", &format!("{scheme}://127.0.0.1:0")]).start();
        let script = script.replace("9999", &port(&server));
        let (language, wanted) = &blocks[at + 1];
        assert_eq!(language, "text", "the output follows the script");
        assert_eq!(run(Command::new(&python).arg("-c").arg(script)), *wanted);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn the_console_example_prints_the_documented_output() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let mut seen = 0;
    for (_, session) in blocks(&readme()).into_iter().filter(|(language, _)| language == "console") {
        let (command, wanted) = session.split_once('\n').unwrap();
        let command = command.strip_prefix("$ ").unwrap().replace("9999", &port(&server));
        let path = format!("{}:{}", harness::target().display(), std::env::var("PATH").unwrap());
        assert_eq!(run(Command::new("sh").args(["-c", &command]).env("PATH", path)), wanted);
        seen += 1;
    }
    assert_eq!(seen, 1);
}

#[test]
fn the_configurations_are_valid_and_the_three_commands_are_equivalent() {
    let place = tempfile::tempdir().unwrap();
    let text = readme();
    let blocks = blocks(&text);
    for (_, file) in blocks.iter().filter(|(language, _)| language == "toml") {
        fs::write(place.path().join("echo.toml"), file).unwrap();
        let checked = Program::switchboard().args(["check", "-c", "echo.toml"]).current_dir(place.path()).run();
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    }
    let echo = blocks.iter().find(|(_, file)| file.starts_with("# echo.toml")).unwrap();
    fs::write(place.path().join("echo.toml"), &echo.1).unwrap();
    let ways = blocks.iter().find(|(language, ways)| language == "sh" && ways.contains("echo.toml")).unwrap();
    let printed: BTreeSet<_> = ways
        .1
        .lines()
        .map(|line| {
            let program = harness::target().join("switchboard");
            let mut words: Vec<_> = line.split(' ').collect();
            let at = words.iter().position(|word| *word == "switchboard").unwrap();
            let program = format!("{} config --format json", program.display());
            words[at] = &program;
            run(Command::new("sh").args(["-c", &words.join(" ")]).current_dir(place.path()))
        })
        .collect();
    assert_eq!(ways.1.lines().count(), 3);
    assert_eq!(printed.len(), 1, "{printed:#?}");
    assert!(printed.first().unwrap().contains("udp://127.0.0.1:9999"), "{printed:#?}");
}

#[test]
fn the_tables_match_the_output_of_list() {
    let text = readme();
    let listed = Program::switchboard().args(["list", "--json"]).run();
    let list: Value = serde_json::from_str(&listed.stdout).unwrap();
    let entries = |what: &str, field: &str| -> BTreeSet<(String, String)> {
        let entry =
            |entry: &Value| (entry["name"].as_str().unwrap().to_owned(), entry[field].as_str().unwrap().to_owned());
        list[what].as_array().unwrap().iter().map(entry).collect()
    };
    let documented = |head: &str| -> BTreeSet<(String, String)> {
        table(&text, head).iter().map(|row| (name(&row[0]).to_owned(), row[1].clone())).collect()
    };
    assert_eq!(documented("handler"), entries("handlers", "summary"));
    assert_eq!(documented("layer"), entries("layers", "summary"));
    let names =
        |set: BTreeSet<(String, String)>| -> BTreeSet<String> { set.into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names(documented("framing")), names(entries("framings", "summary")));
    assert_eq!(names(documented("transport")), names(entries("transports", "summary")));
}

#[test]
fn the_table_of_examples_matches_the_directory() {
    let text = readme();
    let documented: BTreeSet<_> = table(&text, "example").iter().map(|row| name(&row[0]).to_owned()).collect();
    let manifest = fs::read_to_string(harness::root().join("examples/Cargo.toml")).unwrap();
    let examples = manifest.split("[[").filter_map(|entry| entry.strip_prefix("example]]"));
    let names = examples.filter_map(|entry| entry.lines().find_map(|line| line.strip_prefix("name = ")));
    let existing: BTreeSet<_> = names.map(|name| name.trim_matches('"').to_owned()).collect();
    assert_eq!(documented, existing);
}

#[test]
fn the_source_tree_lists_existing_paths() {
    let text = readme();
    let root = harness::root();
    let map = blocks(&text).into_iter().find(|(_, map)| map.starts_with("Cargo.toml")).unwrap().1;
    let mut folder = String::new();
    for line in map.lines() {
        let path = line.split_whitespace().next().unwrap();
        let path = if line.starts_with(' ') { format!("{folder}{path}") } else { path.to_owned() };
        if !line.starts_with(' ') {
            folder.clone_from(&path);
        }
        assert!(root.join(&path).exists(), "{path} is in the map");
    }
    let message_path: Vec<_> = text.split('`').filter(|word| word.ends_with(".rs") && word.contains('/')).collect();
    assert!(message_path.len() >= 5, "{message_path:?}");
    for path in message_path {
        assert!(root.join(Path::new(path)).exists(), "{path} is in the message path");
    }
}

#[test]
fn the_links_of_every_document_have_existing_targets() {
    let mut seen = 0;
    for folder in ["", "bin/docs", "bin/packaging", "tests/fuzz"] {
        let place = harness::root().join(folder);
        let pages = fs::read_dir(&place).unwrap().map(|file| file.unwrap().path());
        for page in pages.filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
            let text = fs::read_to_string(&page).unwrap();
            for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
                assert!(link.contains("://") || place.join(link).exists(), "{}: {link}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 10);
}

#[test]
fn the_exit_statuses_match_the_help() {
    let help = Program::switchboard().arg("--help").run().stdout;
    // The help is wrapped at the width of the terminal.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in table(&readme(), "status") {
        assert!(help.contains(&format!(" {} ", row[0])), "{} in\n{help}", row[0]);
    }
}
