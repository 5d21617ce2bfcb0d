//! The handler author's guide: its chapters are linked, its configurations are valid, and its commands make the files
//! that deploy another program. Its Rust code runs as documentation tests of the program's library.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Program, root, tool};
use switchboard::prelude::*;
use switchboard_server::ConfigCheck;

use crate::packaging::verify_units;
use crate::readme::blocks;

fn guide() -> String {
    fs::read_to_string(root().join("bin/docs/handlers.md")).unwrap()
}

/// The only block in this language, or the only one that contains `part`.
#[track_caller]
fn block(language: &str, part: &str) -> String {
    let mut found: Vec<_> =
        blocks(&guide()).into_iter().filter(|(other, text)| other == language && text.contains(part)).collect();
    assert_eq!(found.len(), 1, "{language} {part}: {found:?}");
    found.remove(0).1
}

#[test]
fn every_rust_snippet_runs_and_no_block_has_an_unknown_language() {
    let known = ["rust", "toml", "toml,config", "toml,manifest", "sh", "bash", "text"];
    let others: Vec<_> = blocks(&guide()).into_iter().filter(|(language, _)| !known.contains(&&**language)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn every_chapter_is_in_the_table_and_every_link_has_a_heading() {
    let text = guide();
    let chapters: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let anchor = |chapter: &str| chapter.to_lowercase().replace(' ', "-").replace(',', "");
    for chapter in &chapters {
        assert!(text.contains(&format!("\n| [{chapter}](#{}) |", anchor(chapter))), "{chapter} is not in the table");
    }
    let anchors: Vec<_> = chapters.iter().map(|chapter| anchor(chapter)).collect();
    for link in text.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(anchors.iter().any(|anchor| anchor == link), "#{link} has no heading");
    }
}

#[test]
fn the_configurations_are_valid() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct QuoteOptions {
        prefix: String,
    }
    let mut registry = switchboard_server::registry();
    registry.handler("quote", |_: QuoteOptions| {
        Ok(handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) }))
    });
    let configurations: Vec<_> = blocks(&guide()).into_iter().filter(|(kind, _)| kind == "toml,config").collect();
    assert_eq!(configurations.len(), 2);
    for (_, text) in configurations {
        ConfigCheck::new(&registry).text("toml", &*text).check().unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn the_packaging_files_fit_another_program_after_the_documented_commands() {
    let Some(bash) = tool("bash") else { return };
    let project = tempfile::tempdir().unwrap();
    let made = Command::new(bash)
        .args(["-euc", &block("bash", "packaging")])
        .current_dir(project.path())
        .env("SWITCHBOARD", root())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let at = |name: &str| project.path().join(name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_else(|error| panic!("{name}: {error}"));

    verify_units(&at("packaging/systemd"), "greeter");
    for name in ["packaging/greeter.toml", "packaging/image.toml"] {
        let checked = Program::switchboard().args(["check", "--config"]).arg(at(name)).run();
        assert_eq!(checked.code(), Some(0), "{name}: {}", checked.stderr);
    }

    // The package: every file exists, and the configuration, the user and the program are those of the unit.
    let manifest: toml::Table = block("toml,manifest", "deb").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut installed = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let [source, place] = [0, 1].map(|nth| asset[nth].as_str().unwrap());
        assert!(source == "target/release/greeter" || at(source).is_file(), "{source}");
        let name = Path::new(source).file_name().unwrap().to_str().unwrap();
        installed.push(if place.ends_with('/') { format!("/{place}{name}") } else { format!("/{place}") });
    }
    assert_eq!(deb["conf-files"][0].as_str().unwrap(), "/etc/greeter/greeter.toml");
    for file in ["/usr/bin/greeter", "/etc/greeter/greeter.toml"] {
        assert!(installed.iter().any(|place| place == file), "{file} is not in {installed:?}");
    }
    // cargo-deb finds the units and the user by the name of the package.
    assert!(at(deb["maintainer-scripts"].as_str().unwrap()).is_dir());
    let units = at(deb["systemd-units"]["unit-scripts"].as_str().unwrap());
    for file in ["greeter.service", "greeter.socket", "greeter.sysusers"] {
        assert!(units.join(file).is_file(), "{file}");
    }
    let unit = read("packaging/systemd/greeter.service");
    for line in ["ExecStart=/usr/bin/greeter serve --config /etc/greeter/greeter.toml", "User=greeter"] {
        assert!(unit.lines().any(|other| other == line), "{line} is not in {unit}");
    }
    assert!(read("packaging/systemd/greeter.sysusers").contains("u greeter "));

    // The image.
    let image = read("packaging/Dockerfile");
    for line in [
        "RUN cargo build --release --locked --package greeter",
        "COPY --from=build /src/target/release/greeter /usr/bin/greeter",
        "COPY packaging/image.toml /etc/greeter/greeter.toml",
        "ENTRYPOINT [\"/usr/bin/greeter\"]",
        "CMD [\"serve\", \"--config\", \"/etc/greeter/greeter.toml\"]",
    ] {
        assert!(image.lines().any(|other| other == line), "{line} is not in {image}");
    }
    assert!(!image.contains("llvm") && !image.contains("packaged"), "{image}");

    // The commands name existing files.
    let commands = block("sh", "sysusers") + &block("sh", "docker");
    let words: Vec<_> = commands.split_whitespace().filter(|word| word.starts_with("packaging/")).collect();
    assert!(words.len() >= 4, "{words:?}");
    for word in words {
        assert!(at(word).is_file(), "{word}");
    }
}
