//! The source tree: one-way dependencies, short files with a description, and the naming and line-width rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::root;

/// Every file with this extension below a directory of the repository.
pub(crate) fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    walk(&path, ending, found);
                }
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(below), ending, &mut found);
    found.sort();
    found
}

/// Every Rust file of the workspace: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let all = ["framework", "handlers", "bin", "examples", "tests"].map(|package| files(package, "rs"));
    let named = all.into_iter().flatten().map(|path| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).unwrap())
    });
    named.collect()
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    before_tests.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

#[track_caller]
pub(crate) fn none<T: std::fmt::Debug>(offenders: &[T]) {
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn framework_modules_use_only_modules_below_them() {
    let lib = fs::read_to_string(root().join("framework/src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| {
        line.trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
    });
    let order: BTreeMap<&str, usize> = modules.enumerate().map(|(at, module)| (module, at)).collect();
    assert!(order.len() > 10, "{order:?}");
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        let Some(path) = name.strip_prefix("framework/src/") else { continue };
        let module = path.split('/').next().unwrap().trim_end_matches(".rs");
        let Some(own) = order.get(module) else { continue }; // lib.rs itself
        for line in code(&text) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match order.get(&*used) {
                    Some(at) if at >= own || used == module => {}
                    // Names re-exported by lib.rs are above every module.
                    _ => offenders.push(format!("{name}: {}", line.trim())),
                }
            }
        }
    }
    none(&offenders);
}

#[test]
fn every_file_has_a_description() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    none(&silent.collect::<Vec<_>>());
}

#[test]
fn every_test_module_has_a_description() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let lines: Vec<&str> = main.lines().collect();
    let bare = lines.windows(2).filter(|pair| pair[1].starts_with("mod ") && !pair[0].starts_with("/// "));
    none(&bare.map(|pair| pair[1]).collect::<Vec<_>>());
    let declared = |file: &PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        // A module in a folder is declared in the file with the name of the folder.
        let parent = fs::read_to_string(file.parent().unwrap().with_extension("rs")).unwrap_or_else(|_| main.clone());
        name == "main" || parent.contains(&format!("mod {name};"))
    };
    let forgotten: Vec<_> = files("tests/it", "rs").into_iter().filter(|file| !declared(file)).collect();
    none(&forgotten);
}

/// Files above the limit, each with its reason. A file leaves this list when it becomes shorter.
const LONG_FILES: [(&str, &str); 0] = [];

#[test]
fn no_file_is_longer_than_the_limit() {
    const LIMIT: usize = 300;
    let lengths: BTreeMap<String, usize> =
        sources().into_iter().map(|(name, text)| (name, text.lines().count())).collect();
    let allowed = |name: &str| LONG_FILES.iter().any(|(file, _)| *file == name);
    // A test module is read one test at a time, so its length does not matter.
    let exempt = |name: &str| name.starts_with("tests/it/") || name.ends_with("/tests.rs") || name.contains("/tests/");
    let long = lengths.iter().filter(|(name, lines)| **lines > LIMIT && !exempt(name) && !allowed(name));
    none(&long.collect::<Vec<_>>());
    none(
        &LONG_FILES
            .iter()
            .filter(|(name, _)| lengths.get(*name).is_none_or(|lines| *lines <= LIMIT))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn no_line_of_prose_is_wider_than_120_columns() {
    const COLUMNS: usize = 120;
    let is_comment = |ending: &str, line: &str| {
        let line = line.trim_start();
        match ending {
            "rs" | "js" | "mjs" => line.starts_with("//") || line.starts_with("* "),
            "md" => !line.starts_with('|'), // a row of a table cannot be broken
            "toml" | "service" | "socket" | "yaml" | "yml" | "cfg" => line.starts_with('#'),
            _ => line.starts_with("/*") || line.starts_with("<!--"),
        }
    };
    let mut wide = Vec::new();
    for ending in ["rs", "md", "toml", "js", "mjs", "css", "html", "service", "socket", "yaml", "yml", "cfg"] {
        for path in prose(ending) {
            let text = fs::read_to_string(&path).unwrap();
            // The output of a command in a document is not prose.
            let mut is_output = false;
            let lines = text.lines().enumerate().filter(|(_, line)| {
                is_output = if line.starts_with("```") { *line == "```console" } else { is_output };
                !(ending == "md" && is_output)
            });
            let too_wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS && is_comment(ending, line));
            wide.extend(too_wide.map(|(at, _)| format!("{}:{}", path.strip_prefix(root()).unwrap().display(), at + 1)));
        }
    }
    none(&wide);
}

/// Every file with this extension, except built files and installed packages.
fn prose(ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["framework", "handlers", "bin", "examples", "tests"]
        .into_iter()
        .flat_map(|folder| files(folder, ending))
        .filter(|path| {
            !path
                .components()
                .any(|part| ["node_modules", "dist", "corpus"].iter().any(|name| part.as_os_str() == *name))
        })
        .collect();
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.extension().is_some_and(|own| own == ending)));
    found
}

/// Names of the first version. The glossary of today has one standard term for each.
const OLD_NAMES: [&str; 74] = [
    "Line",
    "Crowd",
    "Feed",
    "Serving",
    "Slot",
    "Plug",
    "Door",
    "Window",
    "pulse",
    "Cutter",
    "cutter",
    "News",
    "Seat",
    "Kit",
    "Loan",
    "Calls",
    "straight",
    "Straight",
    "Arrival",
    "Stage",
    "asked",
    "lend_port",
    "Allowance",
    "allowance",
    "Pace",
    "pace",
    "roster",
    "Roster",
    "Book",
    "Place",
    "Gate",
    "TurnedAway",
    "turned_away",
    "Lane",
    "lane",
    "Order",
    "Meter",
    "Meters",
    "meters",
    "Tally",
    "Stopwatch",
    "Wire",
    "wire",
    "Conversation",
    "conversation",
    "Desk",
    "desk",
    "DatagramDesk",
    "ServeDatagrams",
    "Answers",
    "sanity",
    "insane",
    "farewell",
    "clocks",
    "Clocks",
    "owned",
    "OwnedDriver",
    "End",
    "Why",
    "tempo",
    "Tempo",
    "Wish",
    "wish",
    "House",
    "house",
    "Said",
    "Trial",
    "leaf",
    "examine",
    "stand_in",
    "poison",
    "poisoned",
    "crowd",
    "DrainSpec",
];

/// Names of other crates that are outdated names, too: a line of text and the key of a terminal library.
const OF_OTHER_CRATES: [(&str, &str); 2] =
    [("bin/src/client/top/view.rs", "Line"), ("bin/src/client/top/app.rs", "End")];

#[test]
fn no_outdated_name_is_left() {
    let mut left = Vec::new();
    for (name, text) in sources() {
        if name == "tests/it/tidy.rs" {
            continue;
        }
        let mut idents = Vec::new();
        identifiers(text.parse().unwrap_or_else(|error| panic!("{name}: {error}")), &mut idents);
        let old = idents.into_iter().filter(|(ident, _)| {
            OLD_NAMES.contains(&ident.as_str()) && !OF_OTHER_CRATES.contains(&(name.as_str(), ident.as_str()))
        });
        left.extend(old.map(|(ident, line)| format!("{name}:{line}: {ident}")));
    }
    let old_files = files("framework/src", "rs").into_iter().chain(files("bin/src", "rs")).filter(|path| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        OLD_NAMES.contains(&stem.as_str())
            || ["board", "trial", "fault", "manual", "difference"].contains(&stem.as_str())
    });
    left.extend(old_files.map(|path| path.display().to_string()));
    none(&left);
}

fn identifiers(tokens: proc_macro2::TokenStream, found: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Group(group) => identifiers(group.stream(), found),
            proc_macro2::TokenTree::Ident(ident) => found.push((ident.to_string(), ident.span().start().line)),
            _ => {}
        }
    }
}

#[test]
fn packages_depend_one_way() {
    let may =
        [("framework", &[][..]), ("handlers", &["switchboard"]), ("bin", &["switchboard", "switchboard-handlers"])];
    let packages = [
        "switchboard",
        "switchboard-handlers",
        "switchboard-server",
        "switchboard-tests",
        "switchboard-extension",
        "switchboard-hot",
        "switchboard-examples",
    ];
    for (package, allowed) in may {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| {
            let name = line.split(['.', '=', ' ']).next()?;
            packages.contains(&name).then_some(name)
        });
        none(&named.filter(|name| !allowed.contains(name)).map(|name| (package, name.to_owned())).collect::<Vec<_>>());
    }
    let reaches_down = sources().into_iter().filter_map(|(name, text)| {
        let wrong: &[&str] = match name.split('/').next().unwrap() {
            "framework" => &["switchboard_handlers", "switchboard_server"],
            "handlers" => &["switchboard_server"],
            _ => &[],
        };
        let line = code(&text).find(|line| wrong.iter().any(|word| line.contains(word)))?.to_owned();
        Some((name, line))
    });
    none(&reaches_down.collect::<Vec<_>>());
}

#[test]
fn the_top_level_directory_has_only_the_listed_entries() {
    const BELONGS: [&str; 14] = [
        "framework",
        "handlers",
        "bin",
        "examples",
        "tests",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "Cargo.toml",
        "Cargo.lock",
        "clippy.toml",
        "rustfmt.toml",
        "deny.toml",
    ];
    let there = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let strange = there.filter(|name| {
        let hidden = name.starts_with('.');
        !(hidden || name.starts_with("LICENSE") || name == "target" || BELONGS.contains(&&**name))
    });
    none(&strange.collect::<Vec<_>>());
}

#[test]
fn no_todo_is_left() {
    // Each word is split, so that this file does not match.
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("dbg", "!("), concat!("todo", "!(")];
    let left = sources().into_iter().flat_map(|(name, text)| {
        let lines = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        lines.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())).collect::<Vec<_>>()
    });
    none(&left.collect::<Vec<_>>());
}

#[test]
fn every_example_is_named_in_the_readme() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else { return };
    let names = files("examples", "rs").into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        (path.parent()? == root().join("examples")).then_some(name)
    });
    none(&names.filter(|name| !readme.contains(&**name)).collect::<Vec<_>>());
}

#[test]
fn examples_and_their_declarations_match() {
    let manifest = fs::read_to_string(root().join("examples/Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| line.split("path").nth(1)?.split('"').nth(1));
    let missing = paths.filter(|path| path.ends_with(".rs") && !root().join("examples").join(path).exists());
    none(&missing.collect::<Vec<_>>());
}
