//! Errors: all are reported in one run, each with its key, origin and suggestion.

use super::*;

#[test]
fn ten_errors_are_ten_sentences() {
    let text = r#"listen = "localhost:80"
handler = "ehco"
[log]
levle = "info"
[listeners.main.limits]
frame = "lots"
connections = "5"
outbox = 0
[admin]
token = "hunter2"
[handlers.hello]
welcom = "hi"
[handlers.Loud]
"#;
    let config = Case {
        file: Some(text),
        environment: &[("SWITCHBOARD_LISTENERS__MAIN__TIMEOUTS__IDLE", "30 parsecs")],
        flags: &[("--framing", "framing", "line")],
        ..Case::default()
    };
    let mut diagnostics = config.bad();
    diagnostics.sort();
    assert_eq!(
        diagnostics,
        [
            "admin.listen: is missing; write it like \"tcp://127.0.0.1:9900\" or \"unix:/run/switchboard/admin.sock\" (switchboard.toml, line 9)",
            "handlers.Loud: \"Loud\" is not a name; a name is a lower-case letter, then lower-case letters, digits, \"_\" and \"-\" (switchboard.toml, line 13)",
            "handlers.hello.welcom: is not an option of hello; did you mean \"welcome\"? Available: type, welcome, greeting, exit, delay (switchboard.toml, line 12)",
            "listeners.main.framing: \"line\" is not a framing; did you mean \"lines\"? Available: raw, lines, length, delimited, json-lines (flag --framing)",
            "listeners.main.handler: \"ehco\" is not a handler; did you mean \"echo\"? Available: echo, hello, many, must, streamy, typed (switchboard.toml, line 2)",
            "listeners.main.limits.connections: \"5\" is not a whole number from 1 to 10000000; write it without quotes (switchboard.toml, line 7)",
            "listeners.main.limits.frame: \"lots\" is not a size; write it like \"64KiB\" (switchboard.toml, line 6)",
            "listeners.main.limits.outbox: 0 is out of range; 1 to 65536 are possible (switchboard.toml, line 8)",
            "listeners.main.listen: \"localhost:80\" is not an address: missing scheme; use tcp://localhost:80 or udp://localhost:80 (switchboard.toml, line 1)",
            "listeners.main.timeouts.idle: \"30 parsecs\" is not a duration; write it like \"30s\", \"500ms\" or \"1h 30m\" (environment variable SWITCHBOARD_LISTENERS__MAIN__TIMEOUTS__IDLE)",
            "log.levle: is not a known key; did you mean \"level\"? Available: level, format, lines (switchboard.toml, line 4)",
        ]
    );
}

#[test]
fn an_error_is_reported_even_if_a_higher_source_overrides_the_value() {
    let text = "listen = 'nowhere'\n[limits]\nframe = 5\n[handlers.hello]\nwelcome = 5\n";
    let config = Case {
        file: Some(text),
        environment: &[("SWITCHBOARD_LIMITS__FRAME", "1KiB"), ("SWITCHBOARD_HANDLERS__HELLO__WELCOME", "hi")],
        flags: &[("--listen", "listen", "tcp://127.0.0.1:1")],
        ..Case::default()
    };
    let diagnostics = config.bad();
    assert_eq!(diagnostics.len(), 3, "{diagnostics:?}");
    assert!(
        diagnostics.iter().any(|diagnostic| diagnostic
            == "limits.frame: 5 is not a size; write it like \"64KiB\" (switchboard.toml, line 3)")
    );
    assert!(diagnostics.iter().any(|diagnostic| diagnostic
        == "handlers.hello.welcome: 5 is not a text; write it in quotes (switchboard.toml, line 5)"));
}

#[test]
fn one_mistake_is_one_error() {
    // An invalid section, address or key causes no further errors, such as a missing handler or address.
    only(
        &file("handler = 'mine'\n[handlers.mine]\ntype = 'ehco'\n").bad(),
        "handlers.mine.type: \"ehco\" is not a handler; did you mean \"echo\"? Available: echo, hello, many, must, streamy, typed (switchboard.toml, line 3)",
    );
    assert_eq!(file("[listeners.web]\nlisen = 'tcp://127.0.0.1:1'\n").bad().len(), 1);
    assert_eq!(file("[listeners.web]\nlisten = 5\n").bad().len(), 1);
    assert_eq!(file("listeners = 5\nlisten = 'tcp://127.0.0.1:1'\n").bad().len(), 1);
    assert_eq!(file("handler = 'must'\n[handlers.must]\npath = 5\ncount = 1\n").bad().len(), 1);
    assert_eq!(file("framing = { type = 'length', width = 5 }\n").bad().len(), 1);
    assert_eq!(file("layers = 5\n").bad().len(), 1);
}

#[test]
fn missing_keys_are_reported() {
    only(
        &file("[listeners.web]\nhandler = 'echo'\n").bad(),
        "listeners.web.listen: is missing; write it like \"tcp://127.0.0.1:9999\" (switchboard.toml, line 1)",
    );
    let diagnostics = file("handler = 'must'\n[handlers.must]\n").bad();
    assert_eq!(
        diagnostics,
        [
            "handlers.must.path: is required by must (switchboard.toml, line 2)",
            "handlers.must.count: is required by must (switchboard.toml, line 2)",
        ]
    );
    // A key that another source sets is not missing.
    Case {
        file: Some("handler = 'must'\n[handlers.must]\npath = 'x'\n"),
        environment: &[("SWITCHBOARD_HANDLERS__MUST__COUNT", "1")],
        ..Case::default()
    }
    .good();
}

#[test]
fn all_options_of_a_section_are_checked_even_if_the_section_is_unused() {
    let text = "[handlers.many]\ntext = 5\nports = [1, 'x', 70000]\n[handlers.many.inner]\ndeep = -1\ndepth = 1\n";
    let mut diagnostics = file(text).bad();
    diagnostics.sort();
    assert_eq!(diagnostics.len(), 5, "{diagnostics:#?}");
    assert!(
        diagnostics[0].starts_with("handlers.many.inner.deep: -1 is out of range; 0 or more is possible"),
        "{diagnostics:#?}"
    );
    assert!(
        diagnostics[1].starts_with("handlers.many.inner.depth: is not an option of many. Available: deep, other_key"),
        "{diagnostics:#?}"
    );
    assert!(diagnostics[2].starts_with("handlers.many.ports.1: \"x\" is not a whole number"), "{diagnostics:#?}");
    assert!(
        diagnostics[3].starts_with("handlers.many.ports.2: 70000 is out of range; 0 to 65535 are possible"),
        "{diagnostics:#?}"
    );
    assert!(diagnostics[4].starts_with("handlers.many.text: 5 is not a text"), "{diagnostics:#?}");
}

#[test]
fn wrong_types_are_reported_for_every_kind_of_key() {
    for (text, expected) in [
        ("log = 5", "log: 5 is not a table (switchboard.toml, line 1)"),
        (
            "listeners.main.layers = 'rate'",
            "listeners.main.layers: \"rate\" is not a list; write it like [\"a\", \"b\"] (switchboard.toml, line 1)",
        ),
        (
            "socket.nodelay = 'true'",
            "socket.nodelay: \"true\" is not true or false; write it without quotes (switchboard.toml, line 1)",
        ),
        ("socket.group = 5", "socket.group: 5 is not a text; write it in quotes (switchboard.toml, line 1)"),
        (
            "socket.mode = 600",
            "socket.mode: 600 is not a mode; write it in octal as text, like \"0600\" (switchboard.toml, line 1)",
        ),
        (
            "timeouts.idle = 30",
            "timeouts.idle: 30 is not a duration; write it like \"30s\", \"500ms\" or \"1h 30m\" (switchboard.toml, line 1)",
        ),
        (
            "rate.messages_per_source = 5",
            "rate.messages_per_source: 5 is not a rate; write it like \"100/s\", \"5/m\" or \"1000/h\" (switchboard.toml, line 1)",
        ),
        (
            "runtime.workers = 0",
            "runtime.workers: 0 is out of range; 1 to 1024 are possible (switchboard.toml, line 1)",
        ),
        (
            "runtime.workers = -1",
            "runtime.workers: -1 is out of range; 1 to 1024 are possible (switchboard.toml, line 1)",
        ),
        (
            "runtime.workers = 1.5",
            "runtime.workers: 1.5 is not a whole number from 1 to 1024 (switchboard.toml, line 1)",
        ),
        (
            "runtime.workers = true",
            "runtime.workers: true is not a whole number from 1 to 1024 (switchboard.toml, line 1)",
        ),
        (
            "limits.connections = 10_000_001",
            "limits.connections: 10000001 is out of range; 1 to 10000000 are possible (switchboard.toml, line 1)",
        ),
        (
            "limits.frame = '2GiB'",
            "limits.frame: \"2GiB\" is out of range; 1B to 1GiB are possible (switchboard.toml, line 1)",
        ),
        (
            "log.level = 'inf'",
            "log.level: \"inf\" is not a level (off, error, warn, info, debug, trace) or a filter; write a filter like \"info,switchboard=debug\"; did you mean \"info\"? (switchboard.toml, line 1)",
        ),
        (
            "log.level = 2020-01-01",
            "log.level: 2020-01-01 is a date; no key accepts a date; write a text in quotes (switchboard.toml, line 1)",
        ),
        (
            "listeners.main.layers = [\n5,\n'trace']",
            "listeners.main.layers.0: 5 is not a text; write it in quotes (switchboard.toml, line 2)",
        ),
        (
            "framing = 5",
            "listeners.main.framing: 5 is not a framing; write its name, like \"lines\", or a table, like { type = \"length\", width = 2 } (switchboard.toml, line 1)",
        ),
        (
            "framing = { max = '1KiB' }",
            "listeners.main.framing.type: is missing; it is one of raw, lines, length, delimited, json-lines (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'length', width = 5 }",
            "listeners.main.framing.width: 5 is not one of 1, 2, 3, 4, 8 (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'length', width = '2' }",
            "listeners.main.framing.width: \"2\" is not one of 1, 2, 3, 4, 8; write it without quotes (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'lines', width = 4 }",
            "listeners.main.framing.width: is not an option of lines. Available: type, max (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'length', wdth = 4 }",
            "listeners.main.framing.wdth: is not an option of length; did you mean \"width\"? Available: type, width, order, offset, max (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'delimited', delimiter = '' }",
            "listeners.main.framing.delimiter: a delimiter cannot be empty; write it like \"|\" (switchboard.toml, line 1)",
        ),
        (
            "framing = 'delimited'",
            "listeners.main.framing.delimiter: is required by delimited (switchboard.toml, line 1)",
        ),
    ] {
        only(&file(text).bad(), expected);
    }
}

#[test]
fn a_yaml_key_without_a_value_is_an_error_unless_it_is_a_section() {
    let case = Case { name: "a.yaml", file: Some("listen:\nlog:\nlimits:\n"), ..Case::default() };
    only(&case.bad(), "listen: has no value; set a value or remove the key (a.yaml, line 1)");
}

#[test]
fn the_origin_of_an_error_is_the_flag_or_variable() {
    let flags =
        [("--set listeners.main.limits.frame", "listeners.main.limits.frame", "lots"), ("--listen", "listen", "x")];
    assert_eq!(
        set(&flags).bad(),
        [
            "listeners.main.limits.frame: \"lots\" is not a size; write it like \"64KiB\" (flag --set listeners.main.limits.frame)",
            "listeners.main.listen: \"x\" is not an address: missing scheme; use an address such as tcp://127.0.0.1:9999 or unix:/run/app.sock (flag --listen)",
        ]
    );
}

#[test]
fn keys_of_features_missing_from_this_build_are_rejected_from_every_source() {
    let diagnostics = set(&[("--listen", "listen", "tpc://127.0.0.1:1")]).bad();
    assert!(diagnostics[0].contains("has an unknown transport; did you mean \"tcp\"?"), "{diagnostics:?}");
}
