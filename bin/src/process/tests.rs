//! Tests of `process.rs`.

use super::*;

#[test]
fn a_umask_keeps_files_usable_for_the_owner_and_read_only_for_others() {
    for (inherited, corrected) in [
        (0o022, 0o022),
        (0o077, 0o077),
        (0o002, 0o002),
        (0o007, 0o007),
        (0o000, 0o022),
        (0o777, 0o077),
        (0o700, 0o022),
        (0o070, 0o072),
        (0o222, 0o022),
    ] {
        let mode = Mode::from_bits_truncate;
        assert_eq!(corrected_umask(mode(inherited)), mode(corrected), "{inherited:04o}");
    }
}
