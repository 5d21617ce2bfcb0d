//! Tests of `handover/new_process.rs`.

use super::*;

#[test]
fn the_program_is_found_again() {
    let executable = Executable::current().unwrap();
    assert!(executable.path.is_absolute() && executable.path.is_file(), "{executable:?}");
}
