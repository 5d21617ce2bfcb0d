//! The printed configuration.

use super::*;

const RICH: &str = r#"
    log = { level = "info,switchboard=debug", format = "json" }
    limits.frame = "2KiB"
    drain.deadline = "90s"
    [listeners.a]
    listen = "tcp://[::1]:7000"
    handler = "mine"
    framing = { type = "delimited", delimiter = "\u0000\"|" }
    layers = ["slow"]
    [listeners.a.access]
    allow = ["10.0.0.0/8", "2001:db8::/32"]
    deny = ["192.0.2.1"]
    [listeners.a.proxy]
    trusted = ["127.0.0.0/8"]
    [listeners.b]
    listen = "unix:/run/a b.sock"
    handler = "echo"
    [listeners.b.socket]
    group = "web"
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
fn the_printed_configuration_loads_to_the_same_values() {
    for config in [Case::default(), file(RICH)] {
        let config = config.good();
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
fn each_value_is_printed_with_its_origin() {
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
