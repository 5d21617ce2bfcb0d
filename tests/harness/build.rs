//! Finds the programs under test, and builds them once a process.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live one level below the top")
}

/// The directory of the profile that this test was built with: `target/debug` for most.
pub fn target() -> PathBuf {
    // target/<profile>/deps/it-0123456789abcdef
    let me = env::current_exe().expect("a running test has a path");
    me.ancestors().nth(2).expect("a test lies in target/<profile>/deps").to_owned()
}

/// Builds the program, with the profile and into the directory of this test.
pub(crate) fn program() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--workspace", "--bins"]));
}

/// The same for all examples.
pub(crate) fn examples() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--workspace", "--examples"]));
}

fn build(what: &[&str]) {
    let target = target();
    let profile = match target.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet"])
        .args(what)
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target.parent().expect("a profile lies in a target directory"))
        .current_dir(root())
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "{what:?} do not build");
}
