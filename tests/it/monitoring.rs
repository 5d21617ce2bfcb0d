//! The alerts for Prometheus and the Grafana dashboard are generated: the dashboard from the metrics that the program
//! declares, the alerts from a table. Prometheus evaluates each expression with the metrics of a server under load.
//!
//! `UPDATE=1 cargo test --test it monitoring` writes the files.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::{Program, Running, TEST_TIMEOUT, free_port, root, tool};
use serde_json::Value;
use switchboard::TlsIdentity;

use crate::fleet::Redis;
use crate::monitoring::alerts::ALERTS;
use crate::reference::declared_metrics;
use crate::tls::Authority;

/// The alerts and the sample series of their tests.
mod alerts;
/// The dashboard.
mod dashboard;

fn packaging(file: &str) -> PathBuf {
    root().join("bin/packaging").join(file)
}

/// Compares a generated text with a file. With `UPDATE`, writes the file first.
fn compare(file: &str, text: &str) {
    let path = packaging(file);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(stored.lines()).find(|(now, stored)| now != stored);
    assert!(text == stored, "{file} is out of date (UPDATE=1 writes it): {differs:?}");
}

fn generated_dashboard() -> Value {
    dashboard::dashboard(&declared_metrics(&Program::switchboard))
}

#[test]
fn the_dashboard_is_the_one_of_the_declared_metrics() {
    let text = serde_json::to_string_pretty(&generated_dashboard()).unwrap() + "\n";
    compare("grafana/switchboard.json", &text);
    for metric in declared_metrics(&Program::switchboard) {
        assert!(text.contains(&metric.name), "{} is not in the dashboard", metric.name);
    }
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_only_when_it_should() {
    compare("prometheus/rules.yml", &alerts::rules());
    compare("prometheus/rules.test.yml", &alerts::tests());
    let guide = fs::read_to_string(root().join("bin/docs/operators.md")).unwrap();
    for alert in &ALERTS {
        assert!(guide.contains(&format!("\n| `{}` |", alert.name)), "the guide does not explain {}", alert.name);
    }
    let scaling = fs::read_to_string(root().join("bin/docs/scaling.md")).unwrap();
    let Some(promtool) = tool("promtool") else { return };
    for arguments in
        [["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]]
    {
        let checked = Program::at(&promtool).args(arguments).current_dir(packaging("prometheus")).run();
        assert_eq!(checked.code(), Some(0), "{arguments:?}: {}{}", checked.stdout, checked.stderr);
        if arguments[0] == "test" {
            let session = format!("$ promtool {}\n{}", arguments.join(" "), checked.stdout);
            assert!(scaling.contains(session.trim_end()), "the guide does not show this:\n{session}");
        }
    }
}

/// Prometheus with the stored configuration and rules, which reads the metrics of one server every second.
struct Prometheus {
    _running: Running,
    port: u16,
    _place: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Option<Self> {
        let prometheus = tool("prometheus")?;
        let (place, port) = (tempfile::tempdir().unwrap(), free_port());
        let stored = fs::read_to_string(packaging("prometheus/prometheus.yml")).unwrap();
        let (before, after) = (stored.find("targets: [").unwrap(), stored.rfind(']').unwrap());
        let config = format!("{}targets: [\"{target}\"{}", &stored[..before], &stored[after..]);
        let config = config.replace("_interval: 15s", "_interval: 1s");
        assert!(!config.contains("15s"), "{config}");
        fs::write(place.path().join("prometheus.yml"), config).unwrap();
        fs::copy(packaging("prometheus/rules.yml"), place.path().join("rules.yml")).unwrap();
        let program = Program::at(&prometheus)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(place.path())
            .ready_at(format!("tcp://127.0.0.1:{port}"));
        Some(Self { _running: program.start(), port, _place: place })
    }

    /// The `data` of the reply to a request of the HTTP API. HTTP/1.0, because such a reply is not chunked.
    fn get(&self, path: &str) -> Value {
        let mut io = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        write!(io, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut reply = String::new();
        io.read_to_string(&mut reply).unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {reply}")).1;
        let mut reply: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {reply}"));
        assert_eq!(reply["status"], "success", "{path}: {reply}");
        reply["data"].take()
    }

    /// The values that an expression has now.
    fn query(&self, expression: &str) -> Vec<f64> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.get(&format!("query?query={encoded}"));
        let values = data["result"].as_array().unwrap().iter().map(|sample| sample["value"][1].as_str().unwrap());
        values.map(|value| value.parse().unwrap()).collect()
    }
}

/// The expression with values instead of the variables of the dashboard.
fn substituted(expression: &str) -> String {
    let variables = [("$job", "switchboard"), ("$instance", ".+"), ("$listener", ".+"), ("$__rate_interval", "10s")];
    variables.iter().fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

#[test]
fn every_expression_has_a_value_for_a_server_under_load() {
    let set = ["--set", "listeners.main.listen=tcp://127.0.0.1:0", "--set", "listeners.main.framing=lines"];
    let udp = ["--set", "listeners.udp.listen=udp://127.0.0.1:0", "--set", "listeners.udp.handler=echo"];
    let admin = ["--set", "listeners.main.handler=echo", "--set", "admin.listen=tcp://127.0.0.1:0"];
    let authority = Authority::new();
    let TlsIdentity { certificate, key } = authority.sign("localhost", "localhost", |_| {});
    let tls = [
        "listeners.secure.listen=tls://127.0.0.1:0".to_owned(),
        format!("listeners.secure.tls.certificate={}", certificate.display()),
        format!("listeners.secure.tls.key={}", key.display()),
    ];
    let tls = tls.iter().flat_map(|tls| ["--set", tls]);
    let Some(redis) = Redis::start(&[]) else { return };
    let link = format!("fleet.link={}", redis.link());
    let server = Program::switchboard().arg("serve").args(set).args(udp).args(admin).args(tls);
    let records = format!("recorder.directory={}", authority.place().join("records").display());
    let server = server.args(["--set", &link, "--set", &records]).spawn();
    let Some(prometheus) = Prometheus::start(&server.socket("admin")) else { return };
    // A message per connection, messages of connections that stay open, and datagrams. The load ends by itself.
    let load = |address: &str, flags: &[&str]| {
        let load = ["--rate", "200/s", "--connections", "2", "--duration", "3m"];
        Program::switchboard().args(["bench", address]).args(load).args(flags).spawn()
    };
    let _load = [
        load(&server.address("main"), &["--framing", "lines", "--connect-each"]),
        load(&server.address("main"), &["--framing", "lines"]),
        load(&server.address("udp"), &[]),
    ];

    let dashboard = generated_dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut expressions: Vec<_> = targets.map(|target| substituted(target["expr"].as_str().unwrap())).collect();
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        let query = substituted(variable["definition"].as_str().unwrap());
        let (series, label) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        expressions.push(format!("count by ({}) ({series})", label.trim_end_matches(')')));
    }
    expressions.extend(ALERTS.iter().map(|alert| alert.value.to_owned()));
    assert!(expressions.len() > 30 && expressions.iter().all(|text| !text.contains('$')), "{expressions:#?}");

    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        // Rates need two samples.
        let without: Vec<_> = expressions
            .iter()
            .map(|text| (text, prometheus.query(text)))
            .filter(|(_, values)| values.is_empty() || values.iter().all(|value| value.is_nan()))
            .collect();
        if without.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "no value: {without:#?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    // What the load causes is not zero.
    for (metric, labels) in [
        ("listener_up", ""),
        ("connections_open", r#"listener="main""#),
        ("sessions_open", r#"listener="udp""#),
        ("connections_accepted_total", r#"listener="main""#),
        ("connections_closed_total", r#"reason="peer_closed",listener="main""#),
        ("messages_total", r#"outcome="ok",listener="udp""#),
        ("message_seconds_count", r#"listener="main""#),
        ("received_bytes_total", r#"listener=~"main|udp""#),
        ("sent_bytes_total", r#"listener=~"main|udp""#),
    ] {
        let values = prometheus.query(&format!("switchboard_{metric}{{{labels}}}"));
        assert!(!values.is_empty() && values.iter().all(|value| *value > 0.0), "{metric}: {values:?}");
    }
    // Prometheus has loaded and evaluated every rule, and a healthy server fires no alert.
    // None before it has loaded them.
    let rules = || prometheus.get("rules")["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
    let deadline = Instant::now() + TEST_TIMEOUT;
    while rules().is_empty() || rules().iter().any(|rule| rule["health"] == "unknown") {
        assert!(Instant::now() < deadline, "{:?}", rules());
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let states = |key: &str| rules().iter().map(|rule| rule[key].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    assert_eq!((states("health"), rules().len()), (BTreeSet::from(["ok".to_owned()]), ALERTS.len()));
    assert!(!states("state").contains("firing"), "{:#?}", rules());
}
