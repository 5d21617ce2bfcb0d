//! Three instances behind HAProxy, with the shipped files: `haproxy.cfg`, `compose.yaml` and `compose.toml`.

use std::fs;
use std::net::Ipv4Addr;

use harness::{Program, Signal, root, tool};
use serde_json::Value;
use switchboard::settings::{Limits, Timeouts};

use crate::kubernetes::{seconds, stop_seconds};
use crate::machines::{Clients, Instance, Machines, NAMES, address, exchange, haproxy_line, on_the_balancer};

fn read(file: &str) -> String {
    fs::read_to_string(root().join("bin/packaging").join(file)).unwrap()
}

/// The number after a word of a line; times are in seconds.
fn number(line: &[String], word: &str) -> u64 {
    let at = line.iter().position(|other| other == word).unwrap_or_else(|| panic!("{word}: {line:?}"));
    let text = &line[at + 1];
    let digits = text.trim_end_matches(['s', 'm']);
    digits.parse::<u64>().unwrap() * if text.ends_with('m') { 60 } else { 1 }
}

#[test]
fn the_compose_file_fits_the_configuration_and_haproxy() {
    let configuration = read("compose.toml");
    let table = serde_json::to_value(configuration.parse::<toml::Table>().unwrap()).unwrap();
    let compose: Value = serde_saphyr::from_str(&read("compose.yaml")).unwrap();
    let network_address =
        |name: &str| compose["services"][name]["networks"]["instances"]["ipv4_address"].as_str().unwrap();
    assert_eq!(table["listeners"]["main"]["proxy"]["trusted"], serde_json::json!([network_address("haproxy")]));
    for name in NAMES {
        assert_eq!(address(name).ip().to_string(), network_address(name));
        let service = &compose["services"][name];
        let stop = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
        assert!(stop >= stop_seconds(&configuration), "{stop}");
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{service}");
    }
    for (place, port) in [("listeners.main", address(NAMES[0]).port().into()), ("admin", number(&servers(), "port"))] {
        let listen = place.split('.').fold(&table, |table, key| &table[key])["listen"].as_str().unwrap();
        assert!(listen.ends_with(&format!(":{port}")), "{listen}");
    }
    let Some(docker_compose) = tool("docker-compose") else { return };
    let config = |token: &str| {
        let file = root().join("bin/packaging/compose.yaml");
        let program = Program::at(&docker_compose).env("SWITCHBOARD_ADMIN__TOKEN", token).arg("--file").arg(file);
        program.args(["config", "--quiet"]).run()
    };
    assert_eq!((config("secret").code(), config("").code()), (Some(0), Some(1)), "{}", config("secret").stderr);
}

fn servers() -> Vec<String> {
    haproxy_line("default-server")
}

#[test]
fn haproxy_accepts_its_configuration_and_its_times_fit_the_program() {
    let servers = servers();
    let client = number(&haproxy_line("timeout client"), "client");
    assert!(client > Timeouts::default().idle.as_secs() && number(&haproxy_line("timeout server"), "server") == client);
    assert_eq!(number(&servers, "maxconn"), Limits::default().connections as u64);
    // HAProxy sends no new clients to an instance that drains before its listeners close.
    let noticed = number(&servers, "inter") * number(&servers, "fall");
    for file in ["compose.toml", "examples/behind-haproxy.toml"] {
        assert!(seconds(&read(file).parse().unwrap(), "announce") > noticed + 1, "{file}");
    }
    let Some(haproxy) = tool("haproxy") else { return };
    let checked = Program::at(&haproxy).args(["-c", "-f"]).arg(root().join("bin/packaging/haproxy/haproxy.cfg")).run();
    let output = checked.stdout + &checked.stderr;
    assert!(checked.status.success() && !output.contains("WARNING"), "{output}");
}

#[test]
fn a_rolling_restart_of_three_instances_and_the_loss_of_one_refuse_no_client() {
    on_the_balancer(|tools| {
        let Machines { mut instances, haproxy } = Machines::start(&tools, "switchboard", &[]);
        let clients = Clients::start(&[2; 4]);
        clients.wait_for_more(50);
        for (nth, name) in NAMES.into_iter().enumerate() {
            let old = instances.remove(nth).log;
            old.signal(Signal::SIGTERM);
            let ended = old.wait();
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
            instances.insert(nth, Instance::start(name, &tools, "switchboard", &[]));
            // HAProxy knows the new process when it sends clients to it.
            let opened = instances[nth].log.wait_for_event(|event| {
                event["message"] == "connection opened" && event["peer"].as_str().unwrap().starts_with("127.0.1.")
            });
            assert!(opened["proxy"].as_str().unwrap().starts_with("10.77.0.2:"), "{opened}");
            clients.wait_for_more(50);
        }
        assert_eq!(clients.stop().0, [] as [String; 0], "{}", haproxy.stdout());
        assert!(haproxy.stdout().contains("is DOWN, reason: Layer7 wrong status, code: 503"), "{}", haproxy.stdout());

        // An instance disappears with its network, and HAProxy does not know it yet.
        drop(instances.remove(0));
        for nth in 0..20 {
            let exchanged = exchange(Ipv4Addr::new(127, 0, 1, 9), nth, 2);
            exchanged.unwrap_or_else(|error| panic!("{error}: {}", haproxy.stdout()));
        }
    });
}
