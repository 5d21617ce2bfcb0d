//! Types of texts from the environment and flags; files.

use super::*;

#[test]
fn texts_from_the_environment_are_converted_to_the_type_of_the_key() {
    let config = env(&[
        ("SWITCHBOARD_HANDLER", "many"),
        ("SWITCHBOARD_HANDLERS__MANY__TEXT", "007"),
        ("SWITCHBOARD_HANDLERS__MANY__MAYBE", "true"),
        ("SWITCHBOARD_HANDLERS__MANY__NUMBER", "42"),
        ("SWITCHBOARD_HANDLERS__MANY__RATIO", "2"),
        ("SWITCHBOARD_HANDLERS__MANY__ON", "true"),
        ("SWITCHBOARD_HANDLERS__MANY__NAMES", "1.10, b"),
        ("SWITCHBOARD_HANDLERS__MANY__PORTS", "1,2"),
        ("SWITCHBOARD_HANDLERS__MANY__INNER__DEEP", "3"),
        ("SWITCHBOARD_HANDLERS__MANY__INNER__OTHER_KEY", "4"),
        ("SWITCHBOARD_LISTENERS__MAIN__SOCKET__BACKLOG", "7"),
        ("SWITCHBOARD_SOCKET__MODE", "0660"),
        ("SWITCHBOARD_LISTEN", "unix:/run/app.sock"),
        ("SWITCHBOARD_LISTENERS__MAIN__SOCKET__GROUP", "42"),
        ("SWITCHBOARD_LISTENERS__MAIN__LAYERS", "rate,trace"),
    ])
    .good();
    let many: Many = serde_json::from_value(config.handlers["many"].options.clone()).unwrap();
    assert_eq!((many.text.as_str(), many.maybe.as_deref(), many.number), ("007", Some("true"), 42));
    assert_eq!((many.ratio, many.on, many.ports), (2.0, true, vec![1, 2]));
    assert_eq!(many.names, ["1.10", "b"]);
    assert_eq!((many.inner.deep, many.inner.other_key.as_str()), (3, "4"));
    let main = main_of(&config);
    assert_eq!(
        (main.spec.socket.backlog, main.spec.socket.mode, main.spec.socket.group.as_deref()),
        (7, 0o660, Some("42"))
    );
    assert_eq!(main.layers, ["rate", "trace"]);
}

#[test]
fn option_types_follow_the_type_of_the_section_from_any_source() {
    let config = Case {
        file: Some("handler = 'mine'\n[handlers.mine]\ntype = 'many'\n[handlers.my-other]\ntype = 'many'\n"),
        environment: &[("SWITCHBOARD_HANDLERS__MINE__TEXT", "1"), ("SWITCHBOARD_HANDLERS__MY_OTHER__NUMBER", "2")],
        flags: &[("--set", "handlers.third.type", "many"), ("--set", "handlers.third.number", "3")],
        ..Case::default()
    }
    .good();
    assert_eq!(config.handlers["mine"].options["text"], "1");
    assert_eq!(config.handlers["my-other"].options["number"], 2);
    assert_eq!(config.handlers["third"].options["number"], 3);
}

#[test]
fn a_framing_can_be_a_name_or_a_table_in_every_source() {
    let config = file("framing = { type = 'length', width = 2, order = 'little', max = '1KiB' }\n").good();
    let expected = Length::new(2, ByteOrder::Little, 0).unwrap().max(1024);
    assert_eq!(main_of(&config).framing, AnyFraming::new(expected));
    for text in ["{ type = \"delimited\", delimiter = \"|\" }", "{\"type\": \"delimited\", \"delimiter\": \"|\"}"] {
        let config = env(&[("SWITCHBOARD_FRAMING", text)]).good();
        assert_eq!(main_of(&config).framing.name(), "delimited", "{text}");
        assert_eq!(
            read_framing("{ type = \"delimited\", delimiter = \"|\" }", &crate::registry()).as_ref(),
            Ok(&main_of(&config).framing)
        );
    }
    let config = env(&[("SWITCHBOARD_FRAMING__TYPE", "length"), ("SWITCHBOARD_FRAMING__WIDTH", "8")]).good();
    assert_eq!(main_of(&config).framing.name(), "length");
    // A name replaces the whole table.
    let text = "framing = { type = 'length', width = 2 }\n";
    let config = Case { file: Some(text), flags: &[("--framing", "framing", "lines")], ..Case::default() }.good();
    assert_eq!(main_of(&config).framing, AnyFraming::new(Lines::default()));
    assert!(
        read_framing("{ type = \"lines\", width = 2 }", &crate::registry())
            .unwrap_err()
            .contains("not an option of lines")
    );
    assert!(read_framing("{ type = ", &crate::registry()).is_err());
}

#[test]
fn an_unreadable_config_file_is_reported_with_its_origin() {
    let named = |file: Option<&str>, environment: &[(&str, &str)]| {
        let inputs = Inputs {
            file: file.map(PathBuf::from),
            file_origin: file.map(|_| Origin::new("flag --config")),
            environment: environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect(),
            ..Inputs::default()
        };
        load(&inputs, &test_registry()).unwrap_err().diagnostics.to_string()
    };
    let expected = "error: /not/there.toml cannot be read: No such file or directory";
    let diagnostics = named(Some("/not/there.toml"), &[("SWITCHBOARD_CONFIG", "/other.toml")]);
    assert!(diagnostics.starts_with(&format!("{expected} (flag --config)\n")), "{diagnostics}");
    let diagnostics = named(None, &[("SWITCHBOARD_CONFIG", "/not/there.toml")]);
    assert!(
        diagnostics.starts_with(&format!("{expected} (environment variable SWITCHBOARD_CONFIG)\n")),
        "{diagnostics}"
    );
    // Errors of other keys are reported in the same run.
    let diagnostics = named(Some("/not/there.toml"), &[("SWITCHBOARD_FRAMNG", "x")]);
    assert!(diagnostics.ends_with("error: invalid configuration (2 errors)\n"), "{diagnostics}");
}

#[test]
fn a_syntax_error_is_one_sentence_with_the_line() {
    let at = |diagnostics: &[String], format: &str, place: &str| {
        let is_at = |line: &String| line.starts_with(&format!("this is not {format}: ")) && line.ends_with(place);
        assert!(diagnostics.len() == 1 && diagnostics.iter().all(is_at), "{diagnostics:?}");
    };
    let diagnostics = file("listen = 'tcp://127.0.0.1:1'\nhandler = \n").bad();
    at(&diagnostics, "TOML", " (switchboard.toml, line 2)");
    let diagnostics = Case { name: "a.json", file: Some("{\n\"a\": 1\n\"b\"}"), ..Case::default() }.bad();
    at(&diagnostics, "JSON", " (a.json, line 3)");
}
