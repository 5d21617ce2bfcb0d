//! A third party registers a framing, a layer and a transport by name, in one place each. Lists, schema, configuration,
//! help and the reference follow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use harness::{Program, TEST_TIMEOUT};
use serde_json::Value;

use crate::reference;

fn extended() -> Program {
    Program::extension("extended").logs()
}

fn printed(args: &[&str]) -> String {
    let ended = extended().args(args).run();
    assert_eq!(ended.code(), Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn third_party_components_are_in_lists_schema_and_suggestions() {
    let list: Value = serde_json::from_str(&printed(&["list", "--json"])).unwrap();
    for (kind, name) in [("framings", "netstring"), ("layers", "prefix"), ("transports", "relay")] {
        assert!(list[kind].as_array().unwrap().iter().any(|entry| entry["name"] == name), "{kind} {name}: {list}");
    }
    let schema = printed(&["schema"]);
    for part in
        ["\"netstring\"", "Maximum digits of the length.", "\"prefix\"", "Text put before each message.", "relay"]
    {
        assert!(schema.contains(part), "{part} is not in the schema");
    }
    let config = printed(&[
        "config",
        "--listen",
        "relay:port-0",
        "--framing",
        "netstring",
        "--handler",
        "echo",
        "--set",
        "listeners.main.layers=prefix",
    ]);
    for part in ["relay:port-0", "netstring", "[layers.prefix]", "text = \"> \""] {
        assert!(config.contains(part), "{part} is not in\n{config}");
    }
    let help = printed(&["serve", "--help"]);
    assert!(help.contains("netstring") && help.contains("relay"), "{help}");
    let page = reference::page(&extended);
    for part in ["### `netstring`", "### `prefix`", "| `relay` |", "Maximum digits of the length."] {
        assert!(page.contains(part), "{part} is not in the reference");
    }
}

#[test]
fn an_invalid_option_of_a_third_party_is_reported_like_a_built_in_one() {
    let ended = extended()
        .args(["check", "--set", "listeners.main.framing={ type = \"netstring\", digits = 10, digit = 1 }"])
        .args(["--set", "layers.prefix.txt=x"])
        .run();
    assert_eq!(ended.code(), Some(78));
    for part in ["10 is out of range; 1 to 9 are possible", "did you mean \"digits\"?", "did you mean \"text\"?"] {
        assert!(ended.stderr.contains(part), "{part} is not in\n{}", ended.stderr);
    }
}

#[test]
fn a_third_party_framing_layer_and_transport_serve_together() {
    let server = extended()
        .args(["serve", "--listen", "relay:port-0", "--framing", "netstring", "--handler", "echo"])
        .args(["--set", "listeners.main.layers=prefix"])
        .start();
    let port = server.socket("main").rsplit('-').next().unwrap().to_owned();
    let mut client = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    client.write_all(b"5:hello,").unwrap();
    let mut reply = [0; 10];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"7:> hello,");
}

#[test]
fn the_client_uses_a_third_party_framing() {
    let server = extended().args(["serve", "--listen", "tcp://127.0.0.1:0", "--framing", "netstring"]);
    let server = server.args(["--handler", "echo"]).start();
    let address = format!("tcp://{}", server.socket("main"));
    let client =
        extended().args(["connect", &address, "--framing", "netstring", "--wait", "1m"]).input("hello\n").run();
    assert_eq!((client.code(), client.stdout.trim_end()), (Some(0), "hello"), "{}", client.stderr);
    assert!(printed(&["connect", "--help"]).contains("netstring"));
    let wrong = extended().args(["connect", &address, "--framing", "netstrin"]).run();
    assert_eq!(wrong.code(), Some(2));
    assert!(
        wrong.stderr.contains("--framing") && wrong.stderr.contains("did you mean \"netstring\""),
        "{}",
        wrong.stderr
    );
}

/// `tests/extension/add_setting` builds the binary that this test examines.
#[test]
fn a_setting_is_one_field() {
    let Some(path) = std::env::var_os("SWITCHBOARD_WITH_SCRATCH_SETTING") else {
        eprintln!("skipped: run tests/extension/add_setting");
        return;
    };
    let program = || Program::at(Path::new(&path)).logs();
    let schema: Value = serde_json::from_str(&program().arg("schema").run().stdout).unwrap();
    let scratch = &schema["$defs"]["Limits"]["properties"]["scratch"];
    assert_eq!((&scratch["default"], &scratch["maximum"]), (&7.into(), &9.into()), "{scratch}");
    let config = program().args(["config", "--set", "limits.scratch=5", "--origin"]).run().stdout;
    assert!(config.contains("scratch = 5  # flag --set limits.scratch"), "{config}");
    // Printed in the order of declaration: before `frame`.
    assert!(config.find("scratch = ").unwrap() < config.find("frame = ").unwrap(), "{config}");
    let wrong = program().arg("check").env("SWITCHBOARD_LISTENERS__MAIN__LIMITS__SCRATCH", "10").run();
    assert!(wrong.stderr.contains("10 is out of range; 2 to 9 are possible"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("SWITCHBOARD_LISTENERS__MAIN__LIMITS__SCRATCH"), "{}", wrong.stderr);
    let page = reference::page(&program);
    assert!(
        page.contains("| `scratch` | `7` | Scratch setting: between two and nine. |"),
        "no scratch in the reference"
    );
}
