//! The house: dependencies point one way, files are small and say what they are for, and nothing is left lying about.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::root;

/// Every file of this ending below a directory of the repository.
fn files(below: &str, ending: &str) -> Vec<PathBuf> {
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

/// Every Rust file of the house: its path from the top, and its text.
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

fn none<T: std::fmt::Debug>(offenders: &[T]) {
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn a_module_of_the_framework_uses_only_those_below_it() {
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
                    // The names that lib.rs exports stand above everything.
                    _ => offenders.push(format!("{name}: {}", line.trim())),
                }
            }
        }
    }
    none(&offenders);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    none(&silent.collect::<Vec<_>>());
}

#[test]
fn every_test_module_has_its_sentence() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let lines: Vec<&str> = main.lines().collect();
    let bare = lines.windows(2).filter(|pair| pair[1].starts_with("mod ") && !pair[0].starts_with("/// "));
    none(&bare.map(|pair| pair[1]).collect::<Vec<_>>());
    let declared = |file: &PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        name == "main" || main.contains(&format!("mod {name};"))
    };
    let forgotten: Vec<_> = files("tests/it", "rs").into_iter().filter(|file| !declared(file)).collect();
    none(&forgotten);
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    let long = sources().into_iter().filter_map(|(name, text)| {
        let lines = code(&text).count();
        (lines > 400 && !name.starts_with("tests/it/") && !name.ends_with("/tests.rs"))
            .then(|| format!("{name}: {lines} lines of code"))
    });
    none(&long.collect::<Vec<_>>());
}

#[test]
fn packages_depend_one_way() {
    let may =
        [("framework", &[][..]), ("handlers", &["switchboard"]), ("bin", &["switchboard", "switchboard-handlers"])];
    let house =
        ["switchboard", "switchboard-handlers", "switchboard-server", "switchboard-tests", "switchboard-examples"];
    for (package, allowed) in may {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| {
            let name = line.split(['.', '=', ' ']).next()?;
            house.contains(&name).then_some(name)
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
fn the_top_holds_only_what_belongs_there() {
    const BELONGS: [&str; 12] = [
        "framework",
        "handlers",
        "bin",
        "examples",
        "tests",
        "README.md",
        "CHANGELOG.md",
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
fn nothing_is_left_for_later() {
    // In two parts, so that this file does not name itself.
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
fn every_example_is_declared_and_nothing_is_declared_without_a_file() {
    let manifest = fs::read_to_string(root().join("examples/Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| line.split("path").nth(1)?.split('"').nth(1));
    let missing = paths.filter(|path| path.ends_with(".rs") && !root().join("examples").join(path).exists());
    none(&missing.collect::<Vec<_>>());
}
