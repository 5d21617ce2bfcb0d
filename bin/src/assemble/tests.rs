//! Tests of `assemble.rs`.

use super::*;
use crate::config::{self, Inputs};

fn config(flags: &[(&str, &str)]) -> Config {
    let flags = flags.iter().map(|(key, value)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned()));
    let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
    config::load(&inputs, &crate::registry()).unwrap()
}

#[test]
fn invalid_layer_options_are_errors_even_if_the_layer_is_unused() {
    for listed in [&[("listeners.main.layers", "busy")][..], &[]] {
        let flags = [&[("layers.busy.type", "concurrency"), ("layers.busy.limit", "0")], listed].concat();
        let config = config(&flags);
        let rejected = build_errors(&config, &crate::registry(), None).to_string();
        assert!(rejected.starts_with("error: layers.busy: "), "{rejected}");
        let runtime = runtime(1).unwrap();
        let rejected = runtime.block_on(async { assemble(config, &crate::registry(), None) }).unwrap_err().to_string();
        assert!(rejected.starts_with("error: layers.busy: "), "{rejected}");
    }
}

#[test]
fn invalid_layer_options_are_reported_with_all_other_errors() {
    let flags = [("layers.busy.type", "concurrency"), ("layers.busy.limit", "0"), ("drain.deadline", "soon")];
    let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
    let inputs = Inputs { flags: flags.to_vec(), ..Inputs::default() };
    let rejected = config::load(&inputs, &crate::registry()).unwrap_err();
    let shown = all_errors(*rejected, &crate::registry(), None).to_string();
    assert!(shown.contains("error: drain.deadline: ") && shown.contains("error: layers.busy: "), "{shown}");
}
