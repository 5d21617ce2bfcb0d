//! Tests of `descriptors.rs`.

use super::*;
use crate::assemble::build_errors;
use crate::config::{self, Inputs};

#[test]
fn connections_count_as_open_files_and_datagram_peers_do_not() {
    let flags = [
        ("limits.connections", "100"),
        ("listeners.main.listen", "tcp://127.0.0.1:0"),
        ("listeners.gram.listen", "udp://127.0.0.1:0"),
    ];
    let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
    let inputs = Inputs { flags: flags.to_vec(), ..Inputs::default() };
    let config = config::load(&inputs, &crate::registry()).unwrap();
    assert_eq!(needed_files(&config), OWN_FILES + 102 + 2);
    assert!(build_errors(&config, &crate::registry(), None).is_empty());
}

#[test]
fn a_part_of_every_limit_is_reserved_and_the_admin_endpoint_leaves_a_part_of_the_reserve() {
    for (limit, expected) in [(0, 0), (20, 5), (100, 25), (256, 64), (1024, 256), (1_048_576, 256), (u64::MAX, 256)] {
        assert_eq!(reserve(limit), expected, "{limit}");
    }
}
