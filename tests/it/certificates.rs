//! Certificates of a running server: a reload and its dry run name what has changed, and an early expiry is reported.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use harness::{Event, Output, Program, Running, Signal};
use serde_json::{Value, json};
use switchboard::TlsIdentity;

use crate::admin::ask;
use crate::tls::Authority;

/// A TLS server whose configuration and files are in the directory of the authority.
struct Installed {
    authority: Authority,
    server: Running,
}

impl Installed {
    fn start(lifetime: Option<Duration>) -> Self {
        let authority = Authority::new();
        let text = "[admin]\nlisten = 'unix:admin.sock'\n[listeners.main]\nlisten = 'tls://127.0.0.1:0'\n\
                    [listeners.main.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\nclient_ca = 'ca.pem'\n";
        fs::write(authority.path("switchboard.toml"), text).unwrap();
        install(&authority, "localhost", lifetime);
        let server = Program::switchboard().arg("serve").current_dir(authority.place()).spawn();
        server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        Self { authority, server }
    }

    fn run(&self, args: &[&str]) -> Output {
        Program::switchboard().current_dir(self.authority.place()).args(args).run()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--json"]].concat()).stdout).unwrap()
    }

    fn reload(&self) -> Event {
        let known = self.server.log();
        self.server.signal(Signal::SIGHUP);
        self.server.wait_for_event(|event| event["message"] == "reloaded" && !known.contains(event))
    }
}

/// Signs a certificate of this name for localhost, and installs it.
fn install(authority: &Authority, name: &str, lifetime: Option<Duration>) {
    let TlsIdentity { certificate, key } = authority.sign(name, "localhost", |params| {
        if let Some(lifetime) = lifetime {
            params.not_after = (SystemTime::now() + lifetime).into();
        }
    });
    fs::copy(certificate, authority.path("cert.pem")).unwrap();
    fs::copy(key, authority.path("key.pem")).unwrap();
}

const KEY: &str = "listeners.main.tls.certificate";

#[test]
fn a_reload_and_its_dry_run_name_the_certificate_that_changed() {
    let this = Installed::start(None);
    assert_eq!(this.run(&["config", "diff"]).stdout, "no changes\n");
    install(&this.authority, "other.example", None);
    let wanted = format!("{KEY}: \"CN=localhost, expires 4096-01-01\" -> \"CN=other.example, expires 4096-01-01\"\n");
    let diff = this.run(&["config", "diff"]);
    assert_eq!((diff.code(), &*diff.stdout), (Some(1), &*wanted), "{}", diff.stderr);
    let diff = this.json(&["config", "diff"]);
    assert_eq!((&diff["keys"][0]["key"], &diff["keys"][0]["is_file_content"]), (&json!(KEY), &json!(true)), "{diff}");
    assert_eq!(this.run(&["reload"]).stdout, format!("reloaded\n{wanted}"));
    let reloaded = this.server.wait_for_event(|event| event["message"] == "reloaded");
    assert_eq!((&reloaded["changed"], &reloaded["certificates"]), (&json!(""), &json!(KEY)));
    assert_eq!(this.run(&["reload"]).stdout, "reloaded\nno changes\n");

    // The same name and expiry: the serial number differs.
    install(&this.authority, "other.example", None);
    let again = this.run(&["reload"]).stdout;
    assert_eq!(again.matches("CN=other.example, expires 4096-01-01, serial number ").count(), 2, "{again}");
    fs::copy(Authority::new().path("ca.pem"), this.authority.path("ca.pem")).unwrap();
    assert_eq!(this.reload()["certificates"], "listeners.main.tls.client_ca");
}

#[test]
fn a_certificate_without_its_key_is_an_error_of_the_dry_run() {
    let this = Installed::start(None);
    let TlsIdentity { certificate, .. } = this.authority.sign("other.example", "localhost", |_| {});
    fs::copy(certificate, this.authority.path("cert.pem")).unwrap();
    let diff = this.run(&["config", "diff"]);
    let error = "listeners.main.tls.key: the key in key.pem does not belong to the certificate in cert.pem";
    assert_eq!((diff.code(), &*diff.stdout), (Some(1), ""));
    assert!(diff.stderr.starts_with(&format!("error: {error}")), "{}", diff.stderr);
    assert!(diff.stderr.ends_with("\nthe running server would reject a reload\n"), "{}", diff.stderr);
    let diff = this.json(&["config", "diff"]);
    assert!(diff["errors"][0].as_str().unwrap().starts_with(error), "{diff}");
}

#[test]
fn an_early_expiry_is_a_warning_a_metric_and_part_of_the_status() {
    const DAY: Duration = Duration::from_secs(86_400);
    let this = Installed::start(Some(5 * DAY + DAY / 2));
    let sentence = |text: &str| text.contains(&format!("{KEY}: the certificate CN=localhost expires in 5 days (20"));
    let is_warning = |event: &Event| event["level"] == "WARN" && sentence(event["message"].as_str().unwrap());
    this.server.wait_for_event(is_warning);
    let check = this.run(&["check"]);
    assert!(check.code() == Some(0) && sentence(&check.stderr), "{}", check.stderr);
    let status = this.run(&["status"]).stdout;
    assert!(status.contains("\ncertificate of main: CN=localhost, expires in 5 days (20"), "{status}");
    let status = this.json(&["status"]);
    let certificate = &status["listeners"][0]["certificate"];
    let admin = UnixStream::connect(this.authority.path("admin.sock")).unwrap();
    let metrics = ask(admin, "GET", "/metrics", "", "");
    let gauge =
        format!("switchboard_certificate_expiry_timestamp_seconds{{listener=\"main\"}} {}\n", certificate["not_after"]);
    assert!(metrics.body.contains(&gauge), "{}", metrics.body);

    install(&this.authority, "localhost", Some(20 * DAY));
    this.reload();
    let check = this.run(&["check"]).stderr;
    assert!(!check.contains("expires"), "{check}");
    install(&this.authority, "localhost", Some(DAY / 2));
    this.reload();
    let warned = |event: &Event| event["message"].as_str().unwrap().contains(" expires within a day (20");
    this.server.wait_for_event(warned);
}
