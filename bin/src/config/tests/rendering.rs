//! Errors with the line of the source.

use super::*;

/// What the program prints, without the summary.
fn shown(case: &Case<'_>) -> String {
    let text = case.load_and_show(|diagnostics| rendered(diagnostics, false)).expect_err("an invalid configuration");
    let (errors, summary) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(summary.starts_with("error: invalid configuration ("), "{text}");
    errors.to_owned()
}

#[track_caller]
fn shows(case: &Case<'_>, expected: &str) {
    assert_eq!(shown(case), expected.trim_matches('\n'));
}

#[test]
fn the_value_is_marked() {
    shows(
        &file("# a comment\nlisten  = 'tcp://127.0.0.1:0'\nhandler = \"ecko\" # mine\n"),
        r#"
switchboard.toml:3:11: error: listeners.main.handler: "ecko" is not a handler; did you mean "echo"? Available: echo, hello, many, must, streamy, typed
  |
3 | handler = "ecko" # mine
  |           ^^^^^^"#,
    );
}

#[test]
fn an_unknown_key_is_marked_and_its_value_is_hidden() {
    shows(
        &file("[listeners.main.timeouts]\nidel = 'hunter2'\n"),
        r#"
switchboard.toml:2:1: error: listeners.main.timeouts.idel: is not a known key; did you mean "idle"? Available: handshake, first_message, frame, idle, message, write, lifetime
  |
2 | idel = ***
  | ^^^^"#,
    );
}

#[test]
fn a_missing_key_marks_its_table() {
    shows(
        &file("listeners.two.handler = 'echo'\n"),
        r#"
switchboard.toml:1:11: error: listeners.two.listen: is missing; write it like "tcp://127.0.0.1:9999"
  |
1 | listeners.two.handler = 'echo'
  |           ^^^"#,
    );
}

#[test]
fn an_item_of_a_list_is_marked_in_each_format() {
    let message =
        r#"error: listeners.main.layers.1: "nobody" is not a layer. Available: concurrency, rate, timeout, trace"#;
    for (name, text, line, column, shown, marks) in [
        ("a.toml", "[listeners.main]\nlayers = ['trace',\n  'nobody']", 3, 3, "  'nobody']", "  ^^^^^^^^"),
        ("a.yaml", "listeners:\n  main:\n    layers:\n    - trace\n    - nobody", 5, 7, "    - nobody", "      ^^^^^^"),
        (
            "a.json",
            r#"{"listeners": {"main": {"layers": ["trace", "nobody"]}}}"#,
            1,
            45,
            r#"{"listeners": {"main": {"layers": ["trace", "nobody"]}}}"#,
            "                                            ^^^^^^^^",
        ),
    ] {
        let expected = format!("{name}:{line}:{column}: {message}\n  |\n{line} | {shown}\n  | {marks}");
        shows(&Case { name, file: Some(text), ..Case::default() }, &expected);
    }
}

#[test]
fn a_variable_or_flag_is_shown_with_its_name() {
    shows(
        &env(&[("SWITCHBOARD_FRAMING", "lins")]),
        r#"
error: listeners.main.framing: "lins" is not a framing; did you mean "lines"? Available: raw, lines, length, delimited, json-lines (environment variable SWITCHBOARD_FRAMING)
 |
 | SWITCHBOARD_FRAMING=lins
 |                     ^^^^"#,
    );
    shows(
        &set(&[("--set limits.frame", "limits.frame", "x\u{1b}[2J")]),
        r#"
error: limits.frame: "x\u{1b}[2J" is not a size; write it like "64KiB" (flag --set limits.frame)
 |
 | --set limits.frame=x\u{1b}[2J
 |                    ^^^^^^^^^^"#,
    );
    shows(
        &set(&[("--log-level", "log.level", "inof")]),
        r#"
error: log.level: "inof" is not a level (off, error, warn, info, debug, trace) or a filter; write a filter like "info,switchboard=debug"; did you mean "info"? (flag --log-level)
 |
 | --log-level inof
 |             ^^^^"#,
    );
}

#[test]
fn a_syntax_error_is_marked() {
    for (name, text, expected) in [
        (
            "a.toml",
            "listen = x\n",
            "a.toml:1:10: error: this is not TOML: string values must be quoted, expected literal string\n  |\n1 | listen = x\n  |          ^",
        ),
        (
            "a.yaml",
            "log: [a\nlisten: 2\n",
            "a.yaml:2:7: error: this is not YAML: illegal placement of ':' indicator\n  |\n2 | listen: 2\n  |       ^",
        ),
        (
            "a.json",
            "{\n\"listen\": tru\n}",
            "a.json:2:14: error: this is not JSON: a value is expected: a text in quotes, a number, true, false, [ or {\n  |\n2 | \"listen\": tru\n  |              ^",
        ),
    ] {
        shows(&Case { name, file: Some(text), ..Case::default() }, expected);
    }
}

/// Whatever is wrong with a secret, or with the text around it, nothing of it is shown.
#[test]
fn no_secret_is_shown() {
    let files = [
        ("a.toml", "admin.token = 'hunter2 hunter2'"),
        ("a.toml", "admin.token = \"\"\"\nhunter2\nhunter2\"\"\""),
        ("a.toml", "admin.token = hunter2"),
        ("a.toml", "admin = { listen = 5, token = \"hunter2\" }"),
        ("a.toml", "[admin]\ntoken =\n  hunter2"),
        ("a.toml", "[admin]\nlisten = 5\ntoken = 'hunter2' x"),
        ("a.toml", "[admin]\nTOKEN = ['hunter2']"),
        ("a.toml", "[handlers.many]\npassword = 5\ntext = 5\npasword = 'hunter2'"),
        ("a.toml", "[handlers.x]\ntype = 'nobody'\npassword = 'hunter2'\nlist = [{a = 'hunter2'}]"),
        ("a.yaml", "admin: {listen: 5, token: hunter2 hunter2}"),
        ("a.yaml", "admin:\n  token: &x hunter2 y\n  tokn: *x\n"),
        ("a.yaml", "admin:\n  token: |\n    hunter2\n    hunter2\n  listen: 5\n"),
        ("a.yaml", "admin:\n  token: >-\n    hunter2\n    hunter2\n  listen: 5\n"),
        ("a.yaml", "admin:\n  token: !!str 'hunter2 y'\n"),
        ("a.yaml", "admin:\n  token: hunter2\n    hunter2\n  listen: 5\n"),
        ("a.yaml", "admin:\n  ? token\n  : hunter2 y\n"),
        ("a.yaml", "admin:\n  token: [hunter2\n"),
        ("a.yaml", "admin:\n  token: \"hunter2\n"),
        ("a.json", r#"{"admin": {"listen": 5, "token": "hunter2 y"}}"#),
        ("a.json", r#"{"admin": {"listen": 5, "token": "hunter2}}"#),
        ("a.json", r#"{"admin": {"token": ["hunter2"]}, "toke": {"a": "hunter2"}}"#),
    ];
    for (name, text) in files {
        let shown = shown(&Case { name, file: Some(text), ..Case::default() });
        assert!(!shown.contains("hunter"), "{text}:\n{shown}");
    }
    for (key, text) in [
        ("admin.token", "hunter2 y"),
        ("admin.tokn", "hunter2"),
        ("handlers.many", "{ password = \"hunter2\""),
        ("framing", "{ type = \"hunter2\""),
    ] {
        let shown = shown(&set(&[(&format!("--set {key}"), key, text)]));
        assert!(!shown.contains("hunter") || key == "framing", "{key}:\n{shown}");
    }
}

#[test]
fn colours_are_only_there_when_they_are_asked_for() {
    let case = file("listen = 'x'\n");
    let colored = case.load_and_show(|diagnostics| rendered(diagnostics, true)).unwrap_err();
    assert!(colored.contains("\u{1b}[") && !shown(&case).contains('\u{1b}'), "{colored}");
}

#[test]
fn a_record_has_the_place_in_the_file() {
    let case = file("listen = 'tcp://127.0.0.1:0'\nhandler = \"ecko\"\n");
    let records = case.load_and_show(|diagnostics| serde_json::to_string(&records(diagnostics)).unwrap()).unwrap_err();
    let [record] = &serde_json::from_str::<Vec<serde_json::Value>>(&records).unwrap()[..] else { panic!("{records}") };
    assert_eq!(record["key"], "listeners.main.handler");
    assert_eq!(
        (&record["file"], &record["line"], &record["column"]),
        (&"switchboard.toml".into(), &2.into(), &11.into())
    );
    assert_eq!(record["origin"], "switchboard.toml, line 2");
    assert!(record["message"].as_str().unwrap().starts_with("\"ecko\" is not a handler"));
}
