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

/// Builds the `switchboard` binary with the profile and target directory of this test.
pub(crate) fn program() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--bin", "switchboard"]));
}

/// The path of a program of the workspace, for example one of `tests/extension`, built with the profile and target
/// directory of this test.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--bins"]));
    target().join(name)
}

/// The path of an example, built with the profile and target directory of this test.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // A failed build ends only the tests that need it.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(name) {
        build(&["--example", name]);
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
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo describes the package of this test in variables. A build script that reads them would run again, and
    // everything that depends on it would be built again.
    for (name, _) in env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    // Cargo chooses the features of the dependencies by the selection. With the workspace and an example, they are
    // those of `cargo test`, and nothing is built twice.
    let status = cargo
        .args(["build", "--quiet", "--workspace", "--example", "handler_fn"])
        .args(selection)
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target.parent().expect("the profile directory is inside the target directory"))
        .current_dir(root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build {selection:?} failed");
}
