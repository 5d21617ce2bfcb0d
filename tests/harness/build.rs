//! Finds the programs under test and builds them once per test process.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The root directory of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests directory is one level below the root")
}

/// The directory with the build output of this test's profile, usually `target/debug`.
pub fn target() -> PathBuf {
    // target/<profile>/deps/it-0123456789abcdef
    let test = env::current_exe().expect("the path of the test executable");
    test.ancestors().nth(2).expect("the test executable is in target/<profile>/deps").to_owned()
}

// `--workspace` keeps the features of the dependencies the same for every selection.

/// Builds the `switchboard` binary with the profile and target directory of this test.
pub(crate) fn program() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--workspace", "--bin", "switchboard"]));
}

/// The path of a program of the workspace, for example one of `tests/extension`, built with the profile and target
/// directory of this test.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--workspace", "--bins"]));
    target().join(name)
}

/// The path of an example, built with the profile and target directory of this test.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // A failed build ends only the tests that need it.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(name) {
        build(&["--workspace", "--example", name]);
        built.insert(name.to_owned());
    }
    target().join("examples").join(name)
}

fn build(selection: &[&str]) {
    let target = target();
    let profile = match target.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet"])
        .args(selection)
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target.parent().expect("the profile directory is inside the target directory"))
        .current_dir(root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build {selection:?} failed");
}
