//! Tests of `log/journal.rs`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn the_variable_must_name_the_file_of_the_descriptor() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let found = fs::metadata(file.path()).unwrap();
    let (device, inode) = (found.dev(), found.ino());
    let is = |text: &str| is_journal(file.as_file().as_fd(), Some(OsStr::new(text)));
    assert!(is(&format!("{device}:{inode}")));
    for other in [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1)] {
        assert!(!is(&other), "{other}");
    }
    for invalid in ["", ":", "1", "a:b", "1:2:3", "-1:-1", "99999999999999999999:1"] {
        assert!(!is(invalid), "{invalid}");
    }
    assert!(!is_journal(file.as_file().as_fd(), None));
}

#[test]
fn levels_are_priorities_of_syslog() {
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    assert_eq!(levels.map(prefix), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
}
