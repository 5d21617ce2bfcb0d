//! Subcommands that print: schema, man page, completions, check and diff.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use harness::{Program, Signal, free_port, root, tool};
use serde_json::{Value, json};

fn printed(args: &[&str]) -> String {
    let ended = Program::switchboard().args(args).run();
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{args:?}");
    ended.stdout
}

fn from_toml(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_schema_accepts_the_same_configurations_as_the_program() {
    let schema: Value = serde_json::from_str(&printed(&["schema"])).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let fits = |config: &Value| schema.iter_errors(config).map(|error| error.to_string()).collect::<Vec<_>>();
    // The defaults as the program prints them.
    let mut whole: Value = serde_json::from_str(&printed(&["config", "--format", "json"])).unwrap();
    assert_eq!(fits(&whole), Vec::<String>::new());
    whole["handlers"]["greeter"] = json!({ "type": "hello", "delay": "1s" });
    whole["layers"] = json!({ "busy": { "type": "concurrency", "limit": 3 } });
    assert_eq!(fits(&whole), Vec::<String>::new());
    // The examples in the documents.
    for page in ["README.md", "bin/docs/operators.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let shown: Vec<_> = text.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
        assert!(!shown.is_empty());
        for block in shown {
            assert_eq!(fits(&from_toml(block)), Vec::<String>::new(), "{page}: {block}");
        }
    }
    for file in fs::read_dir(root().join("bin/packaging/examples")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fits(&from_toml(&text)), Vec::<String>::new(), "{}", path.display());
    }
    for wrong in [
        "lisen = 'tcp://127.0.0.1:1'",
        "handler = 1",
        "framing = 'lnies'",
        "[drain]\nlater = '1s'",
        "[listeners.main.limits]\nconnections = 0",
        "[listeners.main]\nlayers = 'log'",
        "[handlers.hello]\nwellcome = 'x'",
        "[handlers.greeter]\ntype = 'hello'\nwellcome = 'x'",
        "[handlers.greeter]\nwelcome = 'x'",
        "[layers.busy]\ntype = 'nobody'",
    ] {
        assert_ne!(fits(&from_toml(wrong)), Vec::<String>::new(), "{wrong}");
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("invalid.toml");
        fs::write(&path, wrong).unwrap();
        let checked = Program::switchboard().args(["check", "--config"]).arg(&path).run();
        assert_eq!(checked.code(), Some(78), "{wrong}");
    }
}

#[test]
fn the_schema_has_a_description_and_a_default_for_each_key() {
    let schema: Value = serde_json::from_str(&printed(&["schema"])).unwrap();
    let limits = &schema["$defs"]["Limits"]["properties"];
    assert_eq!((&limits["connections"]["default"], &limits["frame"]["default"]), (&json!(10000), &json!("64KiB")));
    fn without_words(schema: &Value, at: &str, found: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_named = property.get("description").is_some() || property == &json!({});
            // A section with a known type needs no separate description.
            if !is_named && property.get("allOf").is_none() {
                found.push(format!("{at}.{key}"));
            }
        }
        for (key, inner) in schema.as_object().into_iter().flatten().filter(|(_, inner)| inner.is_object()) {
            without_words(inner, &format!("{at}/{key}"), found);
        }
    }
    let mut found = Vec::new();
    without_words(&schema, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_man_page_has_every_command_and_the_completions_are_valid_scripts() {
    let page = printed(&["man"]);
    for part in
        [".TH switchboard", "SIGUSR2", "SWITCHBOARD_CONFIG", "EXIT STATUS", "1 a message failed or none was answered"]
    {
        assert!(page.contains(part), "{part}");
    }
    let commands = ["serve", "config diff", "status", "connections", "reload", "drain", "log-level", "top"];
    for command in commands {
        assert!(page.contains(&format!("COMMAND: {command}\"\n")), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(printed(&["completions", shell]).contains("log-level"), "{shell}");
    }
    let Some(bash) = tool("bash") else { return };
    let script = "source /dev/stdin; COMP_WORDS=(switchboard ch); COMP_CWORD=1; _switchboard switchboard ch switchboard; echo \"${COMPREPLY[@]}\"";
    let completed = Program::at(&bash).args(["-c", script]).input(printed(&["completions", "bash"])).run();
    assert_eq!((completed.stdout.trim(), &*completed.stderr), ("check", ""));
    // The names of framings are offered, and any text is accepted.
    let words = "COMP_WORDS=(switchboard connect --framing js); COMP_CWORD=3";
    let script = script
        .replace("COMP_WORDS=(switchboard ch); COMP_CWORD=1", words)
        .replace("switchboard ch ", "switchboard js ");
    let script = script.replace("js switchboard;", "js --framing;");
    let completed = Program::at(&bash).args(["-c", &script]).input(printed(&["completions", "bash"])).run();
    assert_eq!((completed.stdout.trim(), &*completed.stderr), ("json-lines", ""));
}

#[test]
fn check_bind_reports_addresses_that_cannot_be_bound() {
    let check = |listen: &str, more: &[&str]| {
        Program::switchboard().args(["check", "--bind", "--set"]).arg(format!("listen={listen}")).args(more).run()
    };
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", held.local_addr().unwrap());
    let rejected = check(&address, &[]);
    assert_eq!(rejected.code(), Some(1));
    assert!(
        rejected.stderr.starts_with(&format!("error: listener main cannot listen on {address}: ")),
        "{}",
        rejected.stderr
    );
    let rejected = check("tcp://127.0.0.1:0", &["--set", &format!("admin.listen={address}")]);
    let origin = "(flag --set admin.listen)\n";
    assert!(rejected.stderr.starts_with("error: listener admin cannot listen on "), "{}", rejected.stderr);
    assert!(rejected.stderr.ends_with(origin), "{}", rejected.stderr);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let good = check(&format!("unix:{}", path.display()), &[]);
    assert!(good.code() == Some(0) && good.stdout.ends_with("all addresses can be bound\n"), "{}", good.stdout);
    assert!(!path.exists());
    assert_eq!(check("tcp://127.0.0.1:0", &["--handler", "hallo"]).code(), Some(78));
}

#[test]
fn an_address_that_cannot_be_bound_is_printed_without_control_characters() {
    let listen = "unix:/nowhere/\u{1b}[31m\u{202e}\u{9b}/x";
    for command in
        [&["serve", "--log-format", "text", "--listen", listen][..], &["check", "--bind", "--listen", listen]]
    {
        let rejected = Program::switchboard().args(command).run();
        assert_eq!(rejected.code(), Some(1), "{}", rejected.stderr);
        let shown = r"cannot listen on unix:/nowhere/\u001B[31m\u202E\u009B/x: ";
        assert!(rejected.stderr.contains(shown), "{:?}", rejected.stderr);
    }
}

fn difference(place: &Path, args: &[&str]) -> (Option<i32>, String) {
    let ended = Program::switchboard().current_dir(place).args(["config", "diff"]).args(args).run();
    (ended.code(), ended.stdout + &ended.stderr)
}

#[test]
fn config_diff_shows_the_changes_of_a_reload() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    let at = |admin: &str| format!("[admin]\nlisten = '{admin}'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\n");
    let admin = format!("tcp://127.0.0.1:{}", free_port());
    write("token", "hunter2");
    for (admin, token) in [("unix:admin", None), (&admin, Some("token = 'hunter2'\n"))] {
        let first = at(admin).replace("\n[listeners", &format!("\n{}[listeners", token.unwrap_or_default()));
        write("switchboard.toml", &first);
        let server = Program::switchboard().arg("serve").current_dir(place.path()).spawn();
        server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        assert_eq!(difference(place.path(), &[]), (Some(0), "no changes\n".to_owned()));
        write(
            "switchboard.toml",
            &(first.clone() + "framing = 'lines'\n[runtime]\nworkers = 7\n[listeners.more]\nlisten = 'mem:x'\n"),
        );
        let (status, said) = difference(place.path(), &[]);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!((status, lines.len()), (Some(1), 3), "{said}");
        assert!(
            lines[0].starts_with("listeners.main.framing: \"raw\" -> \"lines\" (switchboard.toml, line "),
            "{said}"
        );
        assert!(lines[1].starts_with("listeners.more: nothing -> {"), "{said}");
        assert!(lines[2].contains(" -> 7, after a restart (switchboard.toml, line "), "{said}");
        server.signal(Signal::SIGHUP);
        server.wait_for_event(|event| event["message"] == "reloaded");
        // A key that needs a restart still differs from what runs.
        let (status, said) = difference(place.path(), &[]);
        assert!(status == Some(1) && said.starts_with("runtime.workers: ") && said.lines().count() == 1, "{said}");
        assert!(said.contains(" -> 7, after a restart (switchboard.toml, line "), "{said}");
        let from_flag = ["--admin", admin, "--json"];
        let (status, said) = match token {
            None => difference(place.path(), &from_flag),
            Some(_) => difference(place.path(), &[&from_flag[..], &["--token-file", "token"]].concat()),
        };
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, &said["keys"][0]["key"]), (Some(1), &"runtime.workers".into()), "{said}");
        // The file names another address, which needs a reload.
        let text = fs::read_to_string(place.path().join("switchboard.toml")).unwrap();
        write("switchboard.toml", &text.replace(admin, "unix:other"));
        let (status, said) = difference(place.path(), &[]);
        assert!(status == Some(1) && said.trim_end().ends_with("name its address: --admin ADDRESS"), "{said}");
        let (status, said) = difference(place.path(), &["--admin", admin]);
        let listen = format!("admin.listen: {admin:?} -> \"unix:other\" (");
        assert!(status == Some(1) && said.starts_with(&listen), "{said}");
        write("switchboard.toml", &text);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
        let (status, said) = difference(place.path(), &[]);
        assert_eq!(status, Some(1));
        assert!(
            said.starts_with(&format!("error: admin endpoint {admin} (admin.listen, switchboard.toml, line 2): ")),
            "{said}"
        );
    }
    write("old.toml", "[listeners.main]\nlisten = 'tcp://127.0.0.1:7'\n");
    write("switchboard.toml", "[listeners.main]\nlisten = 'tcp://127.0.0.1:8'\n");
    let (status, said) = difference(place.path(), &["--against", "old.toml"]);
    assert_eq!(status, Some(1));
    assert_eq!(difference(place.path(), &["--against", "switchboard.toml"]).0, Some(0));
    assert!(said.starts_with("listeners.main.listen: \"tcp://127.0.0.1:7\" -> \"tcp://127.0.0.1:8\" ("), "{said}");
    write("invalid.toml", "[limits]\nframe = 'lots'\nconections = 7\n");
    let (status, said) = difference(place.path(), &["--against", "invalid.toml"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((status, lines.len()), (Some(78), 9), "{said}");
    assert!(lines[0].starts_with("invalid.toml:2:9: error: limits.frame: "), "{said}");
    let (status, said) = difference(place.path(), &["--against", "absent.toml"]);
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("absent.toml cannot be read") && said.contains("(flag --against)"), "{said}");
    let (status, said) = difference(place.path(), &[]);
    assert!(status == Some(1) && said.contains("--against"), "{said}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_of_every_command_and_a_closed_pipe_is_none() {
    let program = harness::binary("switchboard");
    for args in [&["--help"][..], &["--version"], &["list", "--help"], &["list"], &["schema"], &["config"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = Command::new(&program).args(args).stdout(full).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {error}");
        assert_eq!(error, "error: cannot write to standard output: No space left on device\n", "{args:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(&program).args(args).stdout(writer).output().unwrap();
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]), "{args:?}");
    }
}
