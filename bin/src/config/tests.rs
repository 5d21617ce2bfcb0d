//! The promises of the configuration, one test each: from sources to effective values, or to sentences.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard::Needs;
use switchboard::framing::{AnyFraming, ByteOrder, Lines};
use switchboard::prelude::*;

use super::*;

/// A handler that does nothing, with options of every type.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Many {
    text: String,
    maybe: Option<String>,
    number: u32,
    ratio: f64,
    on: bool,
    names: Vec<String>,
    ports: Vec<u16>,
    password: String,
    inner: Inner,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    deep: u32,
    other_key: String,
}

impl Default for Many {
    fn default() -> Self {
        let (text, password) = ("x".to_owned(), String::new());
        let (names, ports) = (vec!["a".to_owned()], Vec::new());
        Self { text, maybe: None, number: 1, ratio: 0.5, on: false, names, ports, password, inner: Inner::default() }
    }
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "options are only read here")]
struct Must {
    path: String,
    count: u32,
}

struct Nothing;

impl Handler for Nothing {
    type State = ();
    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply, BoxError> {
        Ok(Reply::none())
    }
}

/// Serves connections only.
struct Streamy;

impl Handler for Streamy {
    const NEEDS: Needs = Needs::Stream;
    type State = ();
    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply, BoxError> {
        Ok(Reply::none())
    }
}

fn test_registry() -> Registry {
    let mut registry = crate::registry();
    registry.handler("many", |_: Many| Ok(Nothing));
    registry.handler("must", |_: Must| Ok(Nothing));
    registry.handler("streamy", |_: NoOptions| Ok(Streamy));
    registry.typed_handler("typed", "lines", |_: &NoOptions| Lines::default(), |_| Ok(Nothing));
    registry
}

#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    file: Option<&'a str>,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [(&'a str, &'a str, &'a str)],
}

impl Case<'_> {
    fn load(&self) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let name = if self.name.is_empty() { "switchboard.toml" } else { self.name };
        let path = dir.path().join(name);
        if let Some(text) = self.file {
            fs::write(&path, text).unwrap();
        }
        let inputs = Inputs {
            file: None,
            text: None,
            search: vec![path],
            environment: self.environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect(),
            flags: self.flags.iter().map(|(f, k, v)| ((*f).to_owned(), (*k).to_owned(), (*v).to_owned())).collect(),
        };
        let here = format!("{}/", dir.path().display());
        load(&inputs, &test_registry()).map_err(|diagnostics| diagnostics.to_string().replace(&here, ""))
    }

    fn good(&self) -> Config {
        self.load().unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    }

    /// The sentences, without the last line, which must count them.
    fn bad(&self) -> Vec<String> {
        let diagnostics = self.load().expect_err("this configuration should be faulty");
        let mut lines: Vec<String> = diagnostics.lines().map(str::to_owned).collect();
        let count = lines.pop().unwrap();
        let plural = if lines.len() == 1 { "error" } else { "errors" };
        assert_eq!(count, format!("error: invalid configuration ({} {plural})", lines.len()), "{diagnostics}");
        lines.into_iter().map(|line| line.strip_prefix("error: ").unwrap().to_owned()).collect()
    }
}

fn file(text: &str) -> Case<'_> {
    Case { file: Some(text), ..Case::default() }
}

fn env<'a>(environment: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { environment, ..Case::default() }
}

fn set<'a>(flags: &'a [(&'a str, &'a str, &'a str)]) -> Case<'a> {
    Case { flags, ..Case::default() }
}

#[track_caller]
fn only(diagnostics: &[String], expected: &str) {
    assert_eq!(diagnostics, [expected]);
}

/// The one listener.
fn main_of(config: &Config) -> &check::Listener {
    &config.listeners["main"]
}

// What holds where nobody says anything

#[test]
fn without_anything_there_is_main_with_the_defaults_of_the_framework() {
    let config = Case::default().good();
    let main = main_of(&config);
    assert_eq!(main.spec.endpoint.to_string(), "tcp://127.0.0.1:9999");
    assert_eq!((main.handler.as_str(), &main.framing), ("hello", &AnyFraming::default()));
    assert_eq!(main.spec.limits, switchboard::settings::Limits::default());
    assert_eq!(main.spec.timeouts, switchboard::settings::Timeouts::default());
    assert_eq!(main.spec.rates, switchboard::settings::Rates::default());
    assert_eq!(main.spec.socket, switchboard::settings::SocketOptions::default());
    assert_eq!(config.drain, switchboard::settings::DrainSettings::default());
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", Format::Auto));
    assert_eq!(config.file, None);
}

#[test]
fn a_binary_with_one_handler_serves_it_unasked_and_with_several_must_be_told() {
    let mut registry = Registry::new();
    registry.handler("shout", |_: NoOptions| Ok(Nothing));
    let config = load(&Inputs::default(), &registry).unwrap();
    assert_eq!(main_of(&config).handler, "shout");
    registry.handler("whisper", |_: NoOptions| Ok(Nothing));
    let diagnostics = load(&Inputs::default(), &registry).unwrap_err().to_string();
    assert!(
        diagnostics.starts_with("error: listeners.main.handler: is missing. Known here: shout, whisper\n"),
        "{diagnostics}"
    );
}

// Layers

#[test]
fn a_later_layer_wins_defaults_file_environment_flags() {
    let text = "[listeners.main.limits]\nframe = '1KiB'\noutbox = 1\nsessions = 1\n";
    let environment =
        [("SWITCHBOARD_LISTENERS__MAIN__LIMITS__OUTBOX", "2"), ("SWITCHBOARD_LISTENERS__MAIN__LIMITS__SESSIONS", "2")];
    let flags = [("--set x", "listeners.main.limits.sessions", "3")];
    let config = Case { file: Some(text), environment: &environment, flags: &flags, ..Case::default() }.good();
    let limits = main_of(&config).spec.limits;
    assert_eq!((limits.connections, limits.frame, limits.outbox, limits.sessions), (10_000, 1024, 2, 3));
}

#[test]
fn json_and_yaml_say_the_same_as_toml() {
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
fn a_shared_value_holds_for_each_listener_and_its_own_wins_whichever_layer_either_came_from() {
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

// Short forms

#[test]
fn short_forms_stand_for_main_in_every_layer() {
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
fn a_layer_that_says_the_same_key_twice_names_both() {
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
fn the_same_value_twice_is_fine_and_so_are_two_layers() {
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
fn a_short_form_that_stands_for_no_listener_is_told() {
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

// Types of texts from the environment and flags

#[test]
fn a_text_from_the_environment_is_read_as_what_its_key_wants() {
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
        ("SWITCHBOARD_LISTENERS__MAIN__SOCKET__NODELAY", "false"),
        ("SWITCHBOARD_LISTENERS__MAIN__SOCKET__MODE", "0660"),
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
        (main.spec.socket.nodelay, main.spec.socket.mode, main.spec.socket.group.as_deref()),
        (false, 0o660, Some("42"))
    );
    assert_eq!(main.layers, ["rate", "trace"]);
}

#[test]
fn options_are_typed_by_the_type_of_their_section_whichever_source_says_it() {
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
fn a_framing_can_be_a_name_or_a_table_in_every_layer() {
    let config = file("framing = { type = 'length', width = 2, order = 'little', max = '1KiB' }\n").good();
    let expected = Length::new(2, ByteOrder::Little, 0).unwrap().max(1024);
    assert_eq!(main_of(&config).framing, AnyFraming::new(expected));
    for text in ["{ type = \"delimited\", delimiter = \"|\" }", "{\"type\": \"delimited\", \"delimiter\": \"|\"}"] {
        let config = env(&[("SWITCHBOARD_FRAMING", text)]).good();
        assert_eq!(main_of(&config).framing.name(), "delimited", "{text}");
        assert_eq!(read_framing("{ type = \"delimited\", delimiter = \"|\" }").as_ref(), Ok(&main_of(&config).framing));
    }
    let config = env(&[("SWITCHBOARD_FRAMING__TYPE", "length"), ("SWITCHBOARD_FRAMING__WIDTH", "8")]).good();
    assert_eq!(main_of(&config).framing.name(), "length");
    // A name takes the place of a whole table.
    let text = "framing = { type = 'length', width = 2 }\n";
    let config = Case { file: Some(text), flags: &[("--framing", "framing", "lines")], ..Case::default() }.good();
    assert_eq!(main_of(&config).framing, AnyFraming::new(Lines::default()));
    assert!(read_framing("{ type = \"lines\", width = 2 }").unwrap_err().contains("not an option of lines"));
    assert!(read_framing("{ type = ").is_err());
}

// Variables

#[test]
fn what_kubernetes_sets_is_passed_over() {
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
fn a_variable_that_fits_no_key_is_told_with_what_was_meant() {
    for (variable, expected) in [
        ("SWITCHBOARD_LOG_LEVEL", "log_level: is not a known key; did you mean SWITCHBOARD_LOG__LEVEL?"),
        (
            "SWITCHBOARD_LISTENERS__MAIN__LIMITS_FRAME",
            "listeners.main.limits_frame: is not a known key; did you mean SWITCHBOARD_LISTENERS__MAIN__LIMITS__FRAME?",
        ),
        (
            "SWITCHBOARD_LISTENERS__MAIN_LISTEN",
            "listeners.main_listen: \"x\" is not a table; did you mean SWITCHBOARD_LISTENERS__MAIN__LISTEN?",
        ),
        ("SWITCHBOARD_LISTNE", "listne: is not a known key; did you mean \"listen\"? Known here: "),
        ("SWITCHBOARD_SERVICE", "service: is not a known key"),
        ("SWITCHBOARD_", "\"\": is not a known key"),
    ] {
        let diagnostics = env(&[(variable, "x")]).bad();
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        assert!(diagnostics[0].starts_with(expected), "{}", diagnostics[0]);
        assert!(diagnostics[0].ends_with(&format!("(environment variable {variable})")), "{}", diagnostics[0]);
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let environment = vec![("SWITCHBOARD_HANDLER".into(), OsString::from_vec(vec![0xff]))];
    let inputs = Inputs { environment, ..Inputs::default() };
    let diagnostics = load(&inputs, &test_registry()).unwrap_err().to_string();
    assert!(
        diagnostics.contains("handler: is not UTF-8 text (environment variable SWITCHBOARD_HANDLER)"),
        "{diagnostics}"
    );
}

#[test]
fn rust_log_wins_over_every_layer() {
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
        "log.level: is not a filter; write it like \"info,switchboard=debug\" (environment variable RUST_LOG)",
    );
}

// The file

#[test]
fn a_named_file_that_cannot_be_read_is_told_by_who_named_it() {
    let named = |file: Option<&str>, environment: &[(&str, &str)]| {
        let inputs = Inputs {
            file: file.map(PathBuf::from),
            environment: environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect(),
            ..Inputs::default()
        };
        load(&inputs, &test_registry()).unwrap_err().to_string()
    };
    let expected = "error: /not/there.toml cannot be read: No such file or directory";
    let diagnostics = named(Some("/not/there.toml"), &[("SWITCHBOARD_CONFIG", "/other.toml")]);
    assert!(diagnostics.starts_with(&format!("{expected} (flag --config)\n")), "{diagnostics}");
    let diagnostics = named(None, &[("SWITCHBOARD_CONFIG", "/not/there.toml")]);
    assert!(
        diagnostics.starts_with(&format!("{expected} (environment variable SWITCHBOARD_CONFIG)\n")),
        "{diagnostics}"
    );
    // What is wrong elsewhere is told with it.
    let diagnostics = named(Some("/not/there.toml"), &[("SWITCHBOARD_FRAMNG", "x")]);
    assert!(diagnostics.ends_with("error: invalid configuration (2 errors)\n"), "{diagnostics}");
}

#[test]
fn a_file_that_is_not_its_format_is_one_sentence_with_the_line() {
    let diagnostics = file("listen = 'tcp://127.0.0.1:1'\nhandler = \n").bad();
    assert!(
        diagnostics.len() == 1 && diagnostics[0].starts_with("switchboard.toml, line 2: this is not TOML"),
        "{diagnostics:?}"
    );
    let diagnostics = Case { name: "a.json", file: Some("{\n\"a\": 1\n\"b\"}"), ..Case::default() }.bad();
    assert!(
        diagnostics.len() == 1 && diagnostics[0].starts_with("a.json, line 3: this is not JSON"),
        "{diagnostics:?}"
    );
}

// Diagnostics

#[test]
fn ten_faults_are_ten_sentences() {
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
            "handlers.hello.welcom: is not an option of hello; did you mean \"welcome\"? Known here: type, welcome, greeting, exit, delay (switchboard.toml, line 12)",
            "listeners.main.framing: \"line\" is not a framing; did you mean \"lines\"? Known here: raw, lines, length, delimited, json-lines (flag --framing)",
            "listeners.main.handler: \"ehco\" is not a handler; did you mean \"echo\"? Known here: echo, hello, many, must, streamy, typed (switchboard.toml, line 2)",
            "listeners.main.limits.connections: \"5\" is not a whole number from 1 to 10000000; write it without quotes (switchboard.toml, line 7)",
            "listeners.main.limits.frame: \"lots\" is not a size; write it like \"64KiB\" (switchboard.toml, line 6)",
            "listeners.main.limits.outbox: 0 is out of range; 1 to 65536 are possible (switchboard.toml, line 8)",
            "listeners.main.listen: \"localhost:80\" is not an address: missing scheme; use tcp://localhost:80 or udp://localhost:80 (switchboard.toml, line 1)",
            "listeners.main.timeouts.idle: \"30 parsecs\" is not a duration; write it like \"30s\", \"500ms\" or \"1h 30m\" (environment variable SWITCHBOARD_LISTENERS__MAIN__TIMEOUTS__IDLE)",
            "log.levle: is not a known key; did you mean \"level\"? Known here: level, format (switchboard.toml, line 4)",
        ]
    );
}

#[test]
fn a_fault_is_told_even_where_a_higher_layer_hides_it() {
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
fn one_mistake_is_one_sentence() {
    // The handler hangs on a faulty section, the address is mistyped, and so is its key: nothing else is missed for it.
    only(
        &file("handler = 'mine'\n[handlers.mine]\ntype = 'ehco'\n").bad(),
        "handlers.mine.type: \"ehco\" is not a handler; did you mean \"echo\"? Known here: echo, hello, many, must, streamy, typed (switchboard.toml, line 3)",
    );
    assert_eq!(file("[listeners.web]\nlisen = 'tcp://127.0.0.1:1'\n").bad().len(), 1);
    assert_eq!(file("[listeners.web]\nlisten = 5\n").bad().len(), 1);
    assert_eq!(file("listeners = 5\nlisten = 'tcp://127.0.0.1:1'\n").bad().len(), 1);
    assert_eq!(file("handler = 'must'\n[handlers.must]\npath = 5\ncount = 1\n").bad().len(), 1);
    assert_eq!(file("framing = { type = 'length', width = 5 }\n").bad().len(), 1);
    assert_eq!(file("layers = 5\n").bad().len(), 1);
}

#[test]
fn what_is_missing_is_told() {
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
    // What another layer gives is not missing.
    Case {
        file: Some("handler = 'must'\n[handlers.must]\npath = 'x'\n"),
        environment: &[("SWITCHBOARD_HANDLERS__MUST__COUNT", "1")],
        ..Case::default()
    }
    .good();
}

#[test]
fn options_are_checked_deep_and_all_at_once_even_where_nobody_uses_the_section() {
    let text = "[handlers.many]\ntext = 5\nports = [1, 'x', 70000]\n[handlers.many.inner]\ndeep = -1\ndepth = 1\n";
    let mut diagnostics = file(text).bad();
    diagnostics.sort();
    assert_eq!(diagnostics.len(), 5, "{diagnostics:#?}");
    assert!(
        diagnostics[0].starts_with("handlers.many.inner.deep: -1 is out of range; 0 or more is possible"),
        "{diagnostics:#?}"
    );
    assert!(
        diagnostics[1].starts_with("handlers.many.inner.depth: is not an option of many. Known here: deep, other_key"),
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
fn wrong_types_are_told_for_every_kind_of_key() {
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
            "framing = { type = 'lines', width = 4 }",
            "listeners.main.framing.width: is not an option of lines. Known here: type, max (switchboard.toml, line 1)",
        ),
        (
            "framing = { type = 'length', wdth = 4 }",
            "listeners.main.framing.wdth: is not an option of length; did you mean \"width\"? Known here: type, width, order, offset, max (switchboard.toml, line 1)",
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
fn a_yaml_key_without_a_value_is_told_unless_it_is_a_section() {
    let case = Case { name: "a.yaml", file: Some("listen:\nlog:\nlimits:\n"), ..Case::default() };
    only(&case.bad(), "listen: has no value; set a value or remove the key (a.yaml, line 1)");
}

#[test]
fn the_origin_of_a_fault_is_the_flag_or_variable_itself() {
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
fn keys_of_what_this_build_has_not_are_refused_wherever_they_come_from() {
    let diagnostics = set(&[("--listen", "listen", "tpc://127.0.0.1:1")]).bad();
    assert!(diagnostics[0].contains("has an unknown transport; did you mean \"tcp\"?"), "{diagnostics:?}");
}

// Who may come

#[test]
fn who_may_come_is_shared_by_listeners_whose_peers_have_addresses() {
    let text = "
        access = { allow = ['10.0.0.0/8'] }
        [listeners.a]
        listen = 'tcp://127.0.0.1:1'
        [listeners.a.limits]
        handshakes = 5
        connections_per_source = 2
        [listeners.a.rate]
        connections_per_source = '3/s'
        burst = 4
        [listeners.b]
        listen = 'unix:/run/b.sock'
        [listeners.c]
        listen = 'unix:/run/c.sock'
        proxy = {}
    ";
    let environment = [("SWITCHBOARD_ACCESS__DENY", "10.1.0.0/16, 192.0.2.1")];
    let flags = [("--set", "listeners.a.proxy.trusted", "127.0.0.0/8,::1")];
    let config = Case { file: Some(text), environment: &environment, flags: &flags, ..Case::default() }.good();
    let [a, b, c] = ["a", "b", "c"].map(|name| &config.listeners[name]);
    let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    assert!(a.spec.access.allow.contains(ip("10.2.0.1")) && a.spec.access.deny.contains(ip("192.0.2.1")));
    assert!(a.spec.proxy.as_ref().is_some_and(|proxy| proxy.trusted.contains(ip("::1"))));
    assert_eq!((a.spec.limits.handshakes, a.spec.limits.connections_per_source), (5, 2));
    assert_eq!((a.spec.rates.connections_per_source.count(), a.spec.rates.burst), (3, 4));
    assert_eq!((&b.spec.access, &b.spec.proxy), (&switchboard::Access::default(), &None));
    assert_eq!((&c.spec.access, &c.spec.proxy), (&a.spec.access, &Some(switchboard::ProxySettings::default())));
    let printed = config.effective.print(Shape::Origins);
    assert!(printed.contains("# environment variable SWITCHBOARD_ACCESS__DENY"), "{printed}");
    assert_eq!(format!("{:?}", file(&printed).good().listeners), format!("{:?}", config.listeners));
}

#[test]
fn a_wrong_network_and_a_section_that_can_do_nothing_say_what_would_do() {
    for (text, parts) in [
        (
            "access.deny = ['10.0.0.1/8', 'x']",
            &["access.deny.0: \"10.0.0.1/8\" is not a network", "access.deny.1: \"x\" is not a network"][..],
        ),
        ("listeners.main.proxy = {}", &["listeners.main.proxy.trusted: is missing, so no proxy could connect"]),
        ("listeners.main.proxy.trusted = []", &["listeners.main.proxy.trusted: is empty, so no proxy could connect"]),
        ("listen = 'udp://127.0.0.1:1'\nlisteners.main.proxy = {}", &["listeners.main.proxy: requires connections"]),
        (
            "listen = 'mem:a'\nlisteners.main.access.allow = ['::1']",
            &[
                "listeners.main.access.allow: lists networks, but the peers of \"mem:a\" have no network address; remove this key, or add [listeners.main.proxy]",
            ],
        ),
        ("listeners.main.rate.burst = 5", &["listeners.main.rate.burst: has no effect without a rate"]),
    ] {
        let diagnostics = file(text).bad();
        assert_eq!(diagnostics.len(), parts.len(), "{text}: {diagnostics:#?}");
        assert!(
            parts.iter().all(|part| diagnostics.iter().any(|diagnostic| diagnostic.starts_with(part))),
            "{text}: {diagnostics:#?}"
        );
    }
}

#[test]
fn a_secret_is_in_no_fault() {
    let text = "[handlers.many]\npassword = ['hunter2']\n[handlers.other]\ntype = 'many'\npassword = 4711\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 2, "{diagnostics:?}");
    let twice = [("SWITCHBOARD_HANDLERS__MANY__PASSWORD", "hunter2"), ("SWITCHBOARD_HANDLERS__many__PASSWORD", "4711")];
    let twice = env(&twice).bad();
    for diagnostic in diagnostics.iter().chain(&twice) {
        assert!(!diagnostic.contains("hunter2") && !diagnostic.contains("4711"), "{diagnostic}");
    }
}

// What only shows when keys meet

#[test]
fn tls_and_its_section_belong_together() {
    let diagnostics = file("[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n").bad();
    assert_eq!(diagnostics.len(), 2, "{diagnostics:?}");
    for (diagnostic, file) in diagnostics.iter().zip(["certificate", "key"]) {
        assert!(
            diagnostic.starts_with(&format!("listeners.main.tls.{file}: is missing, but \"tls://127.0.0.1:1\"")),
            "{diagnostic}"
        );
    }
    let text = "[listeners.main]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\n";
    only(
        &file(text).bad(),
        "listeners.main.tls: requires a tls:// or systemd: address, but listen is \"tcp://127.0.0.1:1\"; change listen to tls:// or \
         remove this section (switchboard.toml, line 3)",
    );
    let text = "[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\n\
                [listeners.main.tls.sni.'a.example']\ncertificate = 'a'\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(
        diagnostics[0].contains("a.example") && diagnostics[0].contains("key") && diagnostics[0].contains("is missing"),
        "{diagnostics:?}"
    );
    let text = "[timeouts]\nhandshake = '3s'\n[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n\
                [listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'a'\nalpn = ['one', 'two']\n";
    let config = file(text).good();
    let main = &config.listeners["main"];
    assert_eq!(main.spec.timeouts.handshake, Duration::from_secs(3));
    let mut expected = switchboard::TlsSettings::new("c", "k");
    expected.client_ca = Some("a".into());
    expected.alpn = vec!["one".into(), "two".into()];
    assert_eq!(main.spec.tls, Some(expected));
    assert!(config.effective.print(Shape::Toml).contains("key = \"k\""), "a path is no secret");
    let text = "[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\n\
                key = '''-----BEGIN PRIVATE KEY-----\nhunter2'''\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(diagnostics[0].contains("not its content") && !diagnostics[0].contains("hunter2"), "{diagnostics:?}");
    let text = "[listeners.main]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.other]\nlisten = 'tls://127.0.0.1:1'\n\
                [listeners.other.tls]\ncertificate = 'c'\nkey = 'k'\n";
    let diagnostics = file(text).bad();
    assert!(diagnostics.len() == 1 && diagnostics[0].contains("is already used by"), "{diagnostics:?}");
}

#[test]
fn a_handler_that_does_not_fit_its_transport_names_both() {
    let text = "listen = 'udp://127.0.0.1:1'\nhandler = 'streamy'\n";
    only(
        &file(text).bad(),
        "listeners.main.handler: the handler \"streamy\" requires connections, but \"udp://127.0.0.1:1\" provides datagrams; \
         streamy supports tcp, tls, unix, mem, systemd (switchboard.toml, line 2)",
    );
}

#[test]
fn a_framing_that_does_not_fit_is_told() {
    let text = "listen = 'udp://127.0.0.1:1'\nframing = 'lines'\n";
    let diagnostics = file(text).bad();
    assert!(
        diagnostics[0].starts_with("listeners.main.framing: the framing lines splits the bytes of a connection"),
        "{diagnostics:?}"
    );
    file("listen = 'udp://127.0.0.1:1'\nframing = 'raw'\n").good();
    let diagnostics = file("handler = 'typed'\nframing = 'lines'\n").bad();
    assert!(diagnostics[0].contains("has its own framing"), "{diagnostics:?}");
    file("handler = 'typed'\n").good();
    let diagnostics = file("framing = 'json-lines'\n").bad();
    assert!(diagnostics[0].contains("does not support the framing json-lines"), "{diagnostics:?}");
    let diagnostics = file("handler = 'typed'\n[listeners.main]\nlayers = ['trace']\n").bad();
    assert!(diagnostics[0].starts_with("listeners.main.layers: require messages of bytes"), "{diagnostics:?}");
}

#[test]
fn layers_have_names_and_sections_like_handlers() {
    let text = "[listeners.main]\nlayers = ['slow', 'trace']\n[layers.slow]\ntype = 'rate'\nrate = '1/s'\n";
    let config = file(text).good();
    assert_eq!(main_of(&config).layers, ["slow", "trace"]);
    assert_eq!((config.layers["slow"].kind.as_str(), config.layers["trace"].kind.as_str()), ("rate", "trace"));
    only(
        &file("[listeners.main]\nlayers = ['trace', 'rat']\n").bad(),
        "listeners.main.layers.1: \"rat\" is not a layer; did you mean \"rate\"? Known here: concurrency, rate, timeout, trace (switchboard.toml, line 2)",
    );
    assert!(
        file("[layers.slow]\nrate = '1/s'\n").bad()[0]
            .starts_with("layers.slow: has no type, and \"slow\" is not a layer")
    );
    assert!(file("[layers.rate]\nratte = '1/s'\n").bad()[0].contains("did you mean \"rate\"?"));
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let text = "
        [listeners.a]
        listen = 'tcp://127.0.0.1:7000'
        [listeners.b]
        listen = 'tcp://127.0.0.1:7000'
    ";
    only(
        &file(text).bad(),
        "listeners.b.listen: \"tcp://127.0.0.1:7000\" is already used by listeners.a (switchboard.toml, line 3) (switchboard.toml, line 5)",
    );
    file("[listeners.a]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.b]\nlisten = 'tcp://127.0.0.1:0'\n").good();
    file("[listeners.a]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.b]\nlisten = 'udp://127.0.0.1:1'\n").good();
}

#[test]
fn a_burst_without_a_rate_is_told() {
    let diagnostics = file("[listeners.main.rate]\nburst = 5\n").bad();
    assert!(diagnostics[0].starts_with("listeners.main.rate.burst: has no effect without a rate"), "{diagnostics:?}");
    let config = file("rate = { messages_per_source = '10/m', burst = 5 }\n").good();
    let rates = main_of(&config).spec.rates;
    assert_eq!(
        (rates.messages_per_source.count(), rates.messages_per_source.per().as_secs(), rates.burst),
        (10, 60, 5)
    );
    file("rate = { burst = 5 }\n[listeners.main.rate]\nmessages_per_source = '0/s'\n").good();
}

// Printing

const RICH: &str = r#"
    log = { level = "info,switchboard=debug", format = "json" }
    limits.frame = "2KiB"
    drain.deadline = "90s"
    [listeners.a]
    listen = "tcp://[::1]:7000"
    handler = "mine"
    framing = { type = "delimited", delimiter = "\u0000\"|" }
    layers = ["slow"]
    [listeners.a.socket]
    group = "web"
    [listeners.a.access]
    allow = ["10.0.0.0/8", "2001:db8::/32"]
    deny = ["192.0.2.1"]
    [listeners.a.proxy]
    trusted = ["127.0.0.0/8"]
    [listeners.b]
    listen = "unix:/run/a b.sock"
    handler = "echo"
    [handlers.mine]
    type = "many"
    text = "a \"quoted\" text\nwith lines, \u007f and ü"
    names = ["x, y", "z"]
    ratio = 2.0
    inner = { deep = 3 }
    [layers.slow]
    type = "rate"
"#;

#[test]
fn what_is_printed_reads_back_to_the_same() {
    for text in ["", RICH] {
        let config = file(text).good();
        let toml = config.effective.print(Shape::Toml);
        assert_eq!(file(&toml).good().effective.print(Shape::Toml), toml);
        let origins = config.effective.print(Shape::Origins);
        assert_eq!(file(&origins).good().effective.print(Shape::Toml), toml);
        let json = config.effective.print(Shape::Json);
        let again = Case { name: "a.json", file: Some(&json), ..Case::default() }.good();
        assert_eq!(again.effective.print(Shape::Toml), toml);
        assert_eq!(format!("{:?}", again.listeners), format!("{:?}", config.listeners));
        assert_eq!(format!("{:?}", again.handlers), format!("{:?}", config.handlers));
    }
}

#[test]
fn each_printed_value_says_where_it_came_from() {
    let config = Case {
        file: Some("listen = 'tcp://127.0.0.1:1'\n[limits]\nframe = '2KiB'\n[handlers.hello]\nwelcome = 'hi'\n"),
        environment: &[("SWITCHBOARD_LISTENERS__MAIN__LIMITS__OUTBOX", "3")],
        flags: &[("--handler", "handler", "hello"), ("--set drain.deadline", "drain.deadline", "1s")],
        ..Case::default()
    };
    let text = config.good().effective.print(Shape::Origins);
    let has = |line: &str| {
        text.lines().any(|found| found.split('/').next_back().unwrap().contains(line) || found.contains(line))
    };
    for line in [
        "announce = \"0s\"  # default",
        "deadline = \"1s\"  # flag --set drain.deadline",
        "handler = \"hello\"  # flag --handler",
        "outbox = 3  # environment variable SWITCHBOARD_LISTENERS__MAIN__LIMITS__OUTBOX",
        "exit = \"exit\"  # default",
        "type = \"hello\"  # default",
    ] {
        assert!(has(line), "{line} is not in\n{text}");
    }
    let from_file = |key: &str, line: &str| text.lines().any(|found| found.starts_with(key) && found.ends_with(line));
    assert!(from_file("listen = ", "switchboard.toml, line 1"), "{text}");
    assert!(from_file("frame = \"2KiB\"", "switchboard.toml, line 3"), "{text}");
    assert!(from_file("welcome = \"hi\"", "switchboard.toml, line 5"), "{text}");
}

#[test]
fn a_secret_is_never_printed() {
    let config = file("handler = 'many'\n[handlers.many]\npassword = 'hunter2'\n").good();
    assert_eq!(config.handlers["many"].options["password"], "hunter2");
    for shape in [Shape::Toml, Shape::Origins, Shape::Json] {
        let text = config.effective.print(shape);
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(config.effective.print(Shape::Toml).contains("# password is set and not shown"));
}
