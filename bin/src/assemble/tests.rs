//! Tests of `assemble.rs`.

use super::*;
use crate::config::{self, Inputs};

fn config(flags: &[(&str, &str)]) -> Config {
    let flags = flags.iter().map(|(key, value)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned()));
    let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
    config::load(&inputs, &crate::registry()).unwrap()
}

#[test]
fn a_layer_that_refuses_its_options_makes_the_configuration_faulty_used_or_not() {
    for listed in [&[("listeners.main.layers", "busy")][..], &[]] {
        let flags = [&[("layers.busy.type", "concurrency"), ("layers.busy.limit", "0")], listed].concat();
        let config = config(&flags);
        let refused = refusals(&config, &crate::registry(), None).to_string();
        assert!(refused.starts_with("error: layers.busy: "), "{refused}");
        let runtime = runtime(1).unwrap();
        let refused = runtime.block_on(async { assemble(config, &crate::registry(), None) }).unwrap_err().to_string();
        assert!(refused.starts_with("error: layers.busy: "), "{refused}");
    }
}

#[test]
fn it_is_told_with_all_other_faults() {
    let flags = [("layers.busy.type", "concurrency"), ("layers.busy.limit", "0"), ("drain.deadline", "soon")];
    let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
    let inputs = Inputs { flags: flags.to_vec(), ..Inputs::default() };
    let refused = config::load(&inputs, &crate::registry()).unwrap_err();
    let told = all_faults(*refused, &crate::registry(), None).to_string();
    assert!(told.contains("error: drain.deadline: ") && told.contains("error: layers.busy: "), "{told}");
}

#[test]
fn files_are_counted_for_connections_and_not_for_datagrams() {
    let config = config(&[
        ("limits.connections", "100"),
        ("listeners.main.listen", "tcp://127.0.0.1:0"),
        ("listeners.gram.listen", "udp://127.0.0.1:0"),
    ]);
    assert_eq!(needed_files(&config), OWN_FILES + 102 + 2);
    assert!(refusals(&config, &crate::registry(), None).is_empty());
}
