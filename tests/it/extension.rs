//! A third party registers a framing, a layer and a transport by name, in one place each. Lists, schema, configuration, help
//! and the reference follow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use harness::{Program, TEST_PATIENCE};
use serde_json::Value;

use crate::reference;

fn extended() -> Program {
    Program::at(Path::new(env!("CARGO_BIN_EXE_extended"))).logs()
}

fn printed(args: &[&str]) -> String {
    let ended = extended().args(args).run();
    assert_eq!(ended.code(), Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn what_a_third_party_registers_is_listed_described_and_helped_with() {
    let list: Value = serde_json::from_str(&printed(&["list", "--json"])).unwrap();
    for (kind, name) in [("framings", "netstring"), ("layers", "prefix"), ("transports", "relay")] {
        assert!(list[kind].as_array().unwrap().iter().any(|entry| entry["name"] == name), "{kind} {name}: {list}");
    }
    let schema = printed(&["schema"]);
    for part in ["\"netstring\"", "Maximum digits of the length.", "\"prefix\"", "Text put before each message.", "relay"] {
        assert!(schema.contains(part), "{part} is not in the schema");
    }
    let config = printed(&[
        "config", "--listen", "relay:port-0", "--framing", "netstring", "--set", "listeners.main.layers=prefix",
    ]);
    for part in ["relay:port-0", "netstring", "digits = 6", "[layers.prefix]", "text = \"> \""] {
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
fn a_wrong_option_of_a_third_party_is_reported_like_one_of_ours() {
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
    client.set_read_timeout(Some(TEST_PATIENCE)).unwrap();
    client.write_all(b"5:hello,").unwrap();
    let mut reply = [0; 10];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"7:> hello,");
}
