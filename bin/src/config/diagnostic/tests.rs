//! Tests of `config/diagnostic.rs`.

use std::sync::Arc;

use super::*;
use crate::config::source_text::{Mark, SourceText};
use crate::config::tree::path;

fn at_line(name: &str, line: usize) -> Origin {
    let text = Arc::new(SourceText::file("\n".repeat(line), Vec::new()));
    Origin::file(name).at(&text, Mark { key: line - 1..line - 1, value: None })
}

#[test]
fn an_error_is_one_sentence_with_its_origin() {
    let diagnostic =
        Diagnostic::new(&path("listeners.main.listen"), "\"x\" is no\nthing").from(Some(at_line("a.toml", 7)));
    assert_eq!(diagnostic.to_string(), "listeners.main.listen: \"x\" is no\\nthing (a.toml, line 7)");
    assert_eq!(Diagnostic::general("a.toml is gone").to_string(), "a.toml is gone");
}

#[test]
fn an_error_is_one_line_even_if_its_origin_contains_line_breaks() {
    let diagnostic =
        Diagnostic::new(&path("log.level"), "\"x\" is none").from(Some(Origin::new("environment variable A\x7f\nB")));
    assert_eq!(diagnostic.to_string(), r#"log.level: "x" is none (environment variable A\u{7f}\nB)"#);
}

#[test]
fn errors_are_sorted_by_source_and_line() {
    let origins =
        [Origin::new("flag --listen"), at_line("a", 9), Origin::new("environment variable X"), at_line("a", 2)];
    let mut diagnostics = Diagnostics::default();
    for origin in origins {
        diagnostics.push(Diagnostic::new(&path("a"), "is wrong").from(Some(origin)));
    }
    let text = diagnostics.to_string();
    let order: Vec<&str> = text.lines().take(4).filter_map(|line| line.split('(').nth(1)).collect();
    assert_eq!(order, ["a, line 2)", "a, line 9)", "environment variable X)", "flag --listen)"]);
}

#[test]
fn similar_names_are_suggested_and_others_are_not() {
    let known = ["connections", "frame", "outbox"];
    assert_eq!(suggestion("conections", known), "; did you mean \"connections\"?");
    assert_eq!(suggestion("FRAME", known), "; did you mean \"frame\"?");
    assert_eq!(suggestion("tls", known), "");
    let sentence = unknown("is not a known key", "farme", known);
    assert_eq!(sentence, "is not a known key; did you mean \"frame\"? Available: connections, frame, outbox");
}

#[test]
fn a_secret_is_never_shown() {
    let value = Json::String("hunter2".into());
    assert_eq!(found(&value, true), "the value (not shown)");
    assert_eq!(found(&value, false), "\"hunter2\"");
}
