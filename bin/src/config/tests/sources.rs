//! Defaults, layers, short forms and variables.

use super::*;

#[test]
fn without_settings_there_is_one_listener_with_the_defaults_of_the_framework() {
    let config = Case::default().good();
    let main = main_of(&config);
    assert_eq!(main.spec.endpoint.to_string(), "tcp://127.0.0.1:9999");
    assert_eq!((main.handler.as_str(), &main.framing), ("hello", &AnyFraming::default()));
    assert_eq!(main.spec.limits, switchboard::settings::Limits::default());
    assert_eq!(main.spec.timeouts, switchboard::settings::Timeouts::default());
    assert_eq!(main.spec.rates, switchboard::settings::Rates::default());
    assert_eq!(main.spec.socket, switchboard::settings::SocketOptions::default());
    assert_eq!(config.drain, switchboard::settings::DrainSettings::default());
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Auto));
    assert_eq!(config.file, None);
}

#[test]
fn the_handler_is_optional_only_if_the_binary_has_exactly_one() {
    let mut registry = Registry::new();
    registry.handler("shout", |_: NoOptions| Ok(Nothing));
    let config = load(&Inputs::default(), &registry).unwrap();
    assert_eq!(main_of(&config).handler, "shout");
    registry.handler("whisper", |_: NoOptions| Ok(Nothing));
    let diagnostics = load(&Inputs::default(), &registry).unwrap_err().diagnostics.to_string();
    assert!(
        diagnostics.starts_with("error: listeners.main.handler: is missing. Available: shout, whisper\n"),
        "{diagnostics}"
    );
}

#[test]
fn later_sources_override_defaults_file_environment_flags() {
    let text = "[listeners.main.limits]\nframe = '1KiB'\noutbox = 1\nconnections_per_source = 1\n";
    let environment = [
        ("SWITCHBOARD_LISTENERS__MAIN__LIMITS__OUTBOX", "2"),
        ("SWITCHBOARD_LISTENERS__MAIN__LIMITS__CONNECTIONS_PER_SOURCE", "2"),
    ];
    let flags = [("--set x", "listeners.main.limits.connections_per_source", "3")];
    let config = Case { file: Some(text), environment: &environment, flags: &flags, ..Case::default() }.good();
    let limits = main_of(&config).spec.limits;
    assert_eq!((limits.connections, limits.frame, limits.outbox, limits.connections_per_source), (10_000, 1024, 2, 3));
}

#[test]
fn json_and_yaml_give_the_same_values_as_toml() {
    let files = [
        ("a.toml", "listen = 'udp://127.0.0.1:1'\nhandler = 'echo'\n[handlers.echo]\n[limits]\nframe = '2KiB'\n"),
        (
            "a.json",
            "{\"listen\": \"udp://127.0.0.1:1\", \"handler\": \"echo\", \"handlers\": {\"echo\": {}}, \"limits\": {\"frame\": \"2KiB\"}}",
        ),
        ("a.yaml", "listen: udp://127.0.0.1:1\nhandler: echo\nhandlers:\n  echo:\nlimits: {frame: 2KiB}\n"),
        ("a.yml", "---\nlisten: udp://127.0.0.1:1\nhandler: echo\nlimits:\n  frame: 2KiB\ntimeouts:\n"),
    ];
    for (name, text) in files {
        let config = Case { name, file: Some(text), ..Case::default() }.good();
        let main = main_of(&config);
        assert_eq!(
            (main.spec.endpoint.to_string().as_str(), main.handler.as_str()),
            ("udp://127.0.0.1:1", "echo"),
            "{name}"
        );
        assert_eq!(main.spec.limits.frame, 2048, "{name}");
    }
}

#[test]
fn a_listener_overrides_shared_values_from_any_source() {
    let text = "
        listeners.a = { listen = 'tcp://127.0.0.1:1', limits = { outbox = 7 } }
        listeners.b = { listen = 'tcp://127.0.0.1:2' }
        timeouts.idle = '1m'
    ";
    let flags = [("--set", "limits.outbox", "9"), ("--set", "socket.backlog", "5")];
    let config = Case { file: Some(text), flags: &flags, ..Case::default() }.good();
    let outbox = |name: &str| config.listeners[name].spec.limits.outbox;
    assert_eq!((outbox("a"), outbox("b")), (7, 9));
    for name in ["a", "b"] {
        assert_eq!(config.listeners[name].spec.timeouts.idle, Duration::from_secs(60));
        assert_eq!(config.listeners[name].spec.socket.backlog, 5);
    }
    assert!(!config.listeners.contains_key("main"));
}

#[test]
fn short_forms_set_keys_of_main_in_every_source() {
    let config = Case {
        file: Some("listen = 'tcp://0.0.0.0:7000'\n"),
        environment: &[("SWITCHBOARD_HANDLER", "echo")],
        flags: &[("--framing", "framing", "lines")],
        ..Case::default()
    }
    .good();
    let main = main_of(&config);
    assert_eq!(main.spec.endpoint.to_string(), "tcp://0.0.0.0:7000");
    assert_eq!((main.handler.as_str(), main.framing.name()), ("echo", "lines"));
    let config = env(&[("SWITCHBOARD_LISTEN", "udp://127.0.0.1:9999")]).good();
    assert_eq!(main_of(&config).spec.endpoint.to_string(), "udp://127.0.0.1:9999");
}

#[test]
fn a_key_set_twice_in_one_source_is_an_error_that_names_both() {
    let text = "listen = 'tcp://127.0.0.1:1'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:2'\n";
    only(
        &file(text).bad(),
        "listeners.main.listen: is set twice, to \"tcp://127.0.0.1:1\" (switchboard.toml, line 1) and to \
         \"tcp://127.0.0.1:2\" (switchboard.toml, line 3); remove one",
    );
    let both = [("SWITCHBOARD_HANDLER", "echo"), ("SWITCHBOARD_LISTENERS__MAIN__HANDLER", "hello")];
    only(
        &env(&both).bad(),
        "listeners.main.handler: is set twice, to \"echo\" (environment variable SWITCHBOARD_HANDLER) and to \"hello\" \
         (environment variable SWITCHBOARD_LISTENERS__MAIN__HANDLER); remove one",
    );
    let both = [("--listen", "listen", "tcp://127.0.0.1:1"), ("--set listen", "listen", "tcp://127.0.0.1:2")];
    assert!(set(&both).bad()[0].contains("(flag --listen)"));
    let both = [("--framing", "framing", "lines"), ("--set f", "listeners.main.framing.max", "1KiB")];
    assert!(
        set(&both).bad()[0]
            .starts_with("listeners.main.framing: is set both as a table and by individual keys (flag --framing")
    );
}

#[test]
fn the_same_value_twice_is_allowed_and_so_are_two_sources() {
    file("handler = 'echo'\nlisteners.main.handler = 'echo'\n").good();
    env(&[("SWITCHBOARD_HANDLER", "echo"), ("SWITCHBOARD_LISTENERS__MAIN__HANDLER", "echo")]).good();
    let config = Case {
        file: Some("handler = 'echo'\n"),
        environment: &[("SWITCHBOARD_LISTENERS__MAIN__HANDLER", "hello")],
        ..Case::default()
    };
    assert_eq!(main_of(&config.good()).handler, "hello");
}

#[test]
fn a_short_form_without_its_listener_is_an_error() {
    let text = "[listeners.web]\nlisten = 'tcp://127.0.0.1:1'\n";
    let config = Case { file: Some(text), flags: &[("--listen", "listen", "tcp://127.0.0.1:2")], ..Case::default() };
    only(
        &config.bad(),
        "listen: is short for listeners.main.listen, but the file declares other listeners (web) and no main; set the key of \
         one of them, or declare [listeners.main] (flag --listen)",
    );
    let text = "handler = 'echo'\n[listeners.web]\nlisten = 'tcp://127.0.0.1:1'\n";
    assert!(file(text).bad()[0].ends_with("(switchboard.toml, line 1)"));
    let text = "[listeners.web]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.main]\n";
    let config = Case { file: Some(text), flags: &[("--listen", "listen", "tcp://127.0.0.1:2")], ..Case::default() };
    assert_eq!(config.good().listeners.len(), 2);
    let text = "[listeners.web]\nlisten = 'tcp://127.0.0.1:1'\n";
    let environment = [("SWITCHBOARD_LISTENERS__MAIN__LISTEN", "tcp://127.0.0.1:2"), ("SWITCHBOARD_HANDLER", "echo")];
    let config = Case { file: Some(text), environment: &environment, ..Case::default() }.good();
    assert_eq!(main_of(&config).handler, "echo");
}

#[test]
fn variables_set_by_kubernetes_are_ignored() {
    env(&[
        ("SWITCHBOARD_SERVICE_HOST", "10.0.0.1"),
        ("SWITCHBOARD_SERVICE_PORT", "9999"),
        ("SWITCHBOARD_SERVICE_PORT_MAIN", "9999"),
        ("SWITCHBOARD_PORT", "tcp://10.0.0.1:9999"),
        ("SWITCHBOARD_PORT_9999_TCP", "tcp://10.0.0.1:9999"),
        ("SWITCHBOARD_PORT_9999_TCP_ADDR", "10.0.0.1"),
        ("OTHER_VARIABLE", "x"),
    ])
    .good();
}

#[test]
fn an_unknown_variable_is_reported_with_a_suggestion() {
    for (variable, expected) in [
        ("SWITCHBOARD_LOG_LEVEL", "log_level: is not a known key; did you mean SWITCHBOARD_LOG__LEVEL?"),
        (
            "SWITCHBOARD_LISTENERS__MAIN__LIMITS_FRAME",
            "listeners.main.limits_frame: is not a known key; did you mean SWITCHBOARD_LISTENERS__MAIN__LIMITS__FRAME?",
        ),
        (
            "SWITCHBOARD_LISTENERS__MAIN_LISTEN",
            "listeners.main_listen: a text is not a table; write a table like { key = \"value\" }; did you mean SWITCHBOARD_LISTENERS__MAIN__LISTEN?",
        ),
        ("SWITCHBOARD_LISTNE", "listne: is not a known key; did you mean \"listen\"? Available: "),
        ("SWITCHBOARD_SERVICE", "service: is not a known key"),
        ("SWITCHBOARD_", "\"\": is not a known key"),
    ] {
        let diagnostics = env(&[(variable, "x")]).bad();
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        assert!(diagnostics[0].starts_with(expected), "{}", diagnostics[0]);
        assert!(diagnostics[0].ends_with(&format!("(environment variable {variable})")), "{}", diagnostics[0]);
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config =
        env(&[("SWITCHBOARD_LISTEN", ""), ("SWITCHBOARD_HANDLERS__HELLO__WELCOME", ""), ("SWITCHBOARD_X", "")]);
    assert_eq!(main_of(&config.good()).spec.endpoint.to_string(), "tcp://127.0.0.1:9999");
    assert_eq!(config.good().handlers["hello"].options["welcome"], "welcome!");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_reported() {
    use std::os::unix::ffi::OsStringExt;
    let environment = vec![("SWITCHBOARD_HANDLER".into(), OsString::from_vec(vec![0xff]))];
    let inputs = Inputs { environment, ..Inputs::default() };
    let diagnostics = load(&inputs, &test_registry()).unwrap_err().diagnostics.to_string();
    assert!(
        diagnostics.contains("handler: is not UTF-8 text (environment variable SWITCHBOARD_HANDLER)"),
        "{diagnostics}"
    );
}

#[test]
fn rust_log_overrides_every_source() {
    let config = Case {
        environment: &[("RUST_LOG", "switchboard=trace"), ("SWITCHBOARD_LOG__LEVEL", "warn")],
        flags: &[("--log-level", "log.level", "error")],
        ..Case::default()
    }
    .good();
    assert_eq!(config.log.level, "switchboard=trace");
    assert!(
        config
            .effective
            .print(Shape::Origins)
            .contains("level = \"switchboard=trace\"  # environment variable RUST_LOG")
    );
    assert_eq!(env(&[("RUST_LOG", "")]).good().log.level, "info");
    only(
        &env(&[("RUST_LOG", "a=b=c")]).bad(),
        "log.level: \"a=b=c\" is not a level (off, error, warn, info, debug, trace) or a filter; write a filter like \"info,switchboard=debug\" (environment variable RUST_LOG)",
    );
}

#[test]
fn a_part_of_a_key_with_a_dot_is_quoted() {
    let key = "listeners.main.tls.sni.\"example.com\".certificate";
    let flags = [("--listen", "listen", "tls://127.0.0.1:1"), ("--set", key, "a.pem")];
    let case = Case { flags: &flags, ..Case::default() };
    let error = case.load().unwrap_err();
    assert!(error.contains("listeners.main.tls.sni.\"example.com\".key: is missing"), "{error}");
    let run = |key: &str| crate::run_from(test_registry(), ["switchboard", "check", "--set", key]);
    let [usage, config] = [2, 78].map(std::process::ExitCode::from);
    assert_eq!(run("listeners.main.tls.sni.\"*.example.com\".key=a"), config);
    for key in ["a.\"b=c", "\"=1", "a b=1", "a.\"\n\"=1", "=1"] {
        assert_eq!(run(key), usage, "{key}");
    }
}
