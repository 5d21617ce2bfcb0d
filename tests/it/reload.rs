//! Certificate reload: new connections get the new certificates, and a rejected reload changes nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use harness::{Client, Running as Program, Signal, TEST_TIMEOUT, tool, unique};
use rcgen::date_time_ymd;
use switchboard::address::Endpoint;
use switchboard::prelude::*;
use switchboard::server::ListenerSpec;
use switchboard::transport::{Transports, memory};
use switchboard::{TlsIdentity, TlsSettings};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::support::{Probe, Spy, serve_spied};
use crate::tls::{Authority, configured, facts, program, serve, serve_facts, tls_connect};

fn certificate(identity: &TlsIdentity) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&identity.certificate).unwrap()
}

/// A new certificate for localhost, in files with this name.
fn new_certificate(authority: &Authority, name: &str) -> TlsSettings {
    let TlsIdentity { certificate, key } = authority.sign(name, "localhost", |_| {});
    TlsSettings::new(certificate, key)
}

async fn connect(name: &str, config: &Arc<ClientConfig>) -> Client<TlsStream<DuplexStream>> {
    tls_connect(config, "localhost", memory::connect(name).await.unwrap()).await.unwrap()
}

fn peer_certificate(client: &Client<TlsStream<DuplexStream>>) -> CertificateDer<'static> {
    client.0.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// The certificate that a client without a session ticket receives.
async fn served_certificate(name: &str, authority: &Authority) -> CertificateDer<'static> {
    peer_certificate(&connect(name, &Arc::new(authority.client(None))).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_during_certificate_reloads_and_open_connections_stay_open() {
    const CLIENTS: usize = 8;
    let authority = Arc::new(Authority::new());
    let settings = [authority.settings(), new_certificate(&authority, "renewed")];
    let known = settings.each_ref().map(|settings| certificate(&settings.identity()));
    let (running, name) = serve(settings[0].clone(), &Probe::default()).await;
    let mut open = connect(&name, &Arc::new(authority.client(None))).await;
    let done = Arc::new(AtomicBool::new(false));
    let (handshakes, mut seen) = watch::channel(0);
    let handshakes = Arc::new(handshakes);
    let clients = (0..CLIENTS).map(|_| {
        let (authority, name, known) = (authority.clone(), name.clone(), known.clone());
        let (done, handshakes) = (done.clone(), handshakes.clone());
        tokio::spawn(async move {
            let config = Arc::new(authority.client(None)); // resumes sessions where possible
            while !done.load(SeqCst) {
                let mut client = connect(&name, &config).await;
                assert!(known.contains(&peer_certificate(&client)));
                client.send("hi\n").await.expect("hi\n").await;
                handshakes.send_modify(|count| *count += 1);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for round in 1..=10 {
        running.reload_tls([("main", &settings[round % 2])]).unwrap();
        assert_eq!(served_certificate(&name, &authority).await, known[round % 2]);
        open.send("still here\n").await.expect("still here\n").await;
        let enough = *seen.borrow_and_update() + CLIENTS;
        timeout(TEST_TIMEOUT, seen.wait_for(|count| *count >= enough))
            .await
            .expect("clients connect in the meantime")
            .unwrap();
    }
    done.store(true, SeqCst);
    for client in clients {
        client.await.expect("no handshake failed");
    }
}

#[tokio::test]
async fn old_sessions_are_not_resumed_after_a_change_of_the_client_ca() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut settings = authority.settings();
    let (running, name) = serve_facts(settings.clone()).await;
    let config = Arc::new(authority.client(None));
    for resumed in ["false", "true"] {
        assert_eq!(facts(&name, &config, "localhost").await, format!("TLS 1.3,localhost,-,{resumed},-"));
    }
    running.reload_tls([("main", &settings)]).unwrap();
    for resumed in ["false", "true"] {
        assert_eq!(facts(&name, &config, "localhost").await, format!("TLS 1.3,localhost,-,{resumed},-"));
    }
    settings.client_ca = Some(other.path("ca.pem"));
    running.reload_tls([("main", &settings)]).unwrap();
    let io = memory::connect(&name).await.unwrap();
    if let Ok(mut client) = tls_connect(&config, "localhost", io).await {
        let mut got = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut client.0, &mut got);
        assert!(timeout(TEST_TIMEOUT, read).await.unwrap().is_err() && got.is_empty(), "{got:?}");
    }
    let bob = other.sign("bob", "bob.example", |_| {});
    let facts = facts(&name, &Arc::new(authority.client(Some(&bob))), "localhost").await;
    assert_eq!(facts, "TLS 1.3,localhost,-,false,CN=bob bob.example");
}

#[tokio::test]
async fn an_invalid_file_is_named_and_the_old_certificate_stays() {
    let authority = Authority::new();
    let good = authority.settings();
    let (running, name) = serve(good.clone(), &Probe::default()).await;
    let first = certificate(&good.identity());
    let renewed = new_certificate(&authority, "renewed").identity();
    let expired = authority.sign("expired", "localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let early = authority.sign("early", "localhost", |params| {
        params.not_before = date_time_ymd(3001, 1, 1);
        params.not_after = date_time_ymd(3002, 1, 1);
    });
    let text = authority.path("text.pem");
    fs::write(&text, "no certificate\n").unwrap();
    let with = |certificate, key| TlsSettings::new(certificate, key);
    let cases = [
        (with(authority.path("gone.pem"), renewed.key.clone()), "gone.pem cannot be read: No such file"),
        (with(text, renewed.key.clone()), "there is no certificate in"),
        (with(renewed.certificate.clone(), good.key.clone()), "does not belong to the certificate in"),
        (with(expired.certificate, expired.key), "expired.pem has expired (Jan  1 00:00:00 2002"),
        (with(early.certificate, early.key), "early.pem is not valid yet (from Jan  1 00:00:00 3001"),
    ];
    for (settings, part) in &cases {
        let error = running.reload_tls([("main", settings)]).unwrap_err().to_string();
        assert!(error.starts_with("listener main: ") && error.contains(part), "{error}: expected {part}");
        assert_eq!(served_certificate(&name, &authority).await, first, "{error}");
    }
    // Certificates that cannot be reloaded also prevent a start.
    let started = Server::bind(format!("mem:{}", unique("tls"))).tls(cases[4].0.clone()).start(Probe::default()).await;
    assert!(started.unwrap_err().to_string().contains(cases[4].1));
}

#[tokio::test]
async fn all_listeners_get_their_new_certificates_or_none() {
    let authority = Authority::new();
    let good = authority.settings();
    let names = [unique("tls"), unique("tls"), unique("plain")];
    let mut registry = Registry::new();
    registry.handler("probe", |_: NoOptions| Ok(Probe::default()));
    let mut listeners = ListenerSet::new(Transports::default());
    for (listener, name) in ["one", "two", "plain"].into_iter().zip(&names) {
        let mut spec = ListenerSpec::new(listener, Endpoint::Memory(name.clone()));
        spec.tls = (listener != "plain").then(|| good.clone());
        let handler = registry.handler_entry("probe").unwrap().build(serde_json::json!({})).unwrap();
        listeners.listen(spec, &handler);
    }
    let running = listeners.start().await.unwrap();
    let first = certificate(&good.identity());
    let renewed = new_certificate(&authority, "renewed");
    let bad = TlsSettings::new(authority.path("gone.pem"), authority.path("gone.key"));
    for (second, settings, part) in [
        ("two", &bad, "listener two: "),
        ("plain", &renewed, "listener plain has no TLS"),
        ("three", &renewed, "there is no listener three"),
    ] {
        let error = running.reload_tls([("one", &renewed), (second, settings)]).unwrap_err().to_string();
        assert!(error.starts_with(part), "{error}");
        for name in &names[..2] {
            assert_eq!(served_certificate(name, &authority).await, first, "{error}");
        }
    }
    running.reload_tls([("one", &renewed), ("two", &renewed)]).unwrap();
    for name in &names[..2] {
        assert_eq!(served_certificate(name, &authority).await, certificate(&renewed.identity()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_listener_uses_the_current_certificates() {
    let authority = Authority::new();
    let (first, renewed) = (authority.settings(), new_certificate(&authority, "renewed"));
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server.tls(first)).await;
    served.running.reload_tls([("main", &renewed)]).unwrap();
    spy.accept_errors.lock().unwrap().push(9); // EBADF
    drop(memory::connect(&served.name).await.unwrap());
    let comes_back = async {
        while spy.binds.load(SeqCst) < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(TEST_TIMEOUT, comes_back).await.unwrap();
    assert_eq!(served_certificate(&served.name, &authority).await, certificate(&renewed.identity()));
}

/// Waits for the nth event with this message.
fn wait_for_nth(server: &Program, message: &str, nth: usize) -> serde_json::Value {
    let seen = std::cell::Cell::new(0);
    server.wait_for_event(|event| {
        // Each check scans the log from its beginning.
        if event["message"] == "starting" {
            seen.set(0);
        }
        seen.set(seen.get() + usize::from(event["message"] == message));
        seen.get() == nth && event["message"] == message
    })
}

#[test]
fn a_hangup_reloads_certificates_during_continuous_handshakes_from_python() {
    const CLIENT: &str = "
import socket, ssl, sys, threading
port, failed, seen, stop = int(sys.argv[1]), [], [], threading.Event()
def connect():
    context = ssl.create_default_context(cafile='ca.pem')
    plain = socket.create_connection(('127.0.0.1', port), timeout=20)
    client = context.wrap_socket(plain, server_hostname='localhost')
    return client, client.getpeercert()['serialNumber'], client.makefile('r')
def loop():
    while not stop.is_set():
        try:
            with connect()[0] as client: pass
        except Exception as error: failed.append(repr(error))
old, first, lines = connect()
assert lines.readline() == 'welcome!\\n'
threads = [threading.Thread(target=loop) for _ in range(4)]
for thread in threads: thread.start()
for line in sys.stdin:
    client, serial, _ = connect()
    client.close()
    print('new' if serial != first else 'old', flush=True)
stop.set()
for thread in threads: thread.join()
old.sendall(b'Ada\\n')
print(lines.readline().strip(), failed, flush=True)
";
    let Some(python) = tool("python3") else { return };
    let authority = Authority::new();
    configured(&authority, "");
    let server = program(&authority, &["serve"]).start();
    let port = server.socket("main").rsplit_once(':').unwrap().1.to_owned();
    let mut client = Command::new(python)
        .args(["-c", CLIENT, &port])
        .current_dir(authority.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, answers) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut answers = BufReader::new(answers).lines().map(|line| line.unwrap());
    ask.write_all(b"?\n").unwrap();
    assert_eq!(answers.next().unwrap(), "old");
    for round in 1..=5 {
        authority.settings(); // overwrites the files with a new certificate
        server.signal(Signal::SIGHUP);
        wait_for_nth(&server, "reloaded", round);
        ask.write_all(b"?\n").unwrap();
        assert_eq!(answers.next().unwrap(), "new");
    }
    drop(ask);
    assert_eq!(answers.next().unwrap(), "hello, Ada! []");
    assert!(client.wait().unwrap().success());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_reload_on_hangup_changes_nothing_and_logs_all_errors() {
    let authority = Authority::new();
    let config = configured(&authority, "");
    let good = fs::read_to_string(&config).unwrap();
    let server = program(&authority, &["serve"]).start();
    let first = certificate(&authority.at("localhost"));
    let peer_certificate = async || {
        let io = tokio::net::TcpStream::connect(server.socket("main")).await.unwrap();
        let client = tls_connect(&Arc::new(authority.client(None)), "localhost", io).await.unwrap();
        client.0.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let refused = |round| {
        server.signal(Signal::SIGHUP);
        let event = wait_for_nth(&server, "reload rejected", round);
        (event["error"].as_str().unwrap().to_owned(), event["errors"].as_u64().unwrap())
    };
    authority.sign("localhost", "localhost", |_| {});
    fs::write(&config, good.replace("'lines'", "'lnies'") + "\n[drain]\ndeadline = 'soon'\n[log]\ncolour = true\n")
        .unwrap();
    let (error, errors) = refused(1);
    assert_eq!(errors, 3, "{error}");
    for part in ["listeners.main.framing: \"lnies\"", "drain.deadline: \"soon\"", "log.colour: ", "(tls.toml, line "] {
        assert!(error.contains(part), "{error}: expected {part}");
    }
    assert_eq!(peer_certificate().await, first);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let more = format!(
        "\n[listeners.more]\nlisten = 'tcp://127.0.0.1:{port}'\n[listeners.most]\nlisten = 'unix:/no/such/place'\n"
    );
    fs::write(&config, good.clone() + &more).unwrap();
    let (error, errors) = refused(2);
    assert_eq!(errors, 2, "{error}");
    let wanted = format!("listener more cannot listen on tcp://127.0.0.1:{port}: Address already in use");
    assert!(
        error.starts_with(&wanted) && error.contains("; listener most cannot listen on unix:/no/such/place: "),
        "{error}"
    );
    assert_eq!(peer_certificate().await, first);
    fs::write(&config, &good).unwrap();
    authority.sign("localhost", "localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (error, _) = refused(3);
    let wanted = "listeners.main.tls.certificate: the certificate in localhost.pem has expired (Jan  1 00:00:00 2002";
    assert!(error.starts_with(wanted) && error.ends_with("(tls.toml, line 5)"), "{error}");
    assert_eq!(peer_certificate().await, first);
    // New files and a new SNI name: the reload applies the whole [tls] section.
    let renewed = authority.sign("renewed", "localhost", |_| {});
    fs::write(&config, good.replace("localhost.", "renewed.") + "alpn = ['hello']\n").unwrap();
    server.signal(Signal::SIGHUP);
    let event = wait_for_nth(&server, "reloaded", 1);
    assert_eq!((&event["level"], &event["config"]), (&"INFO".into(), &"tls.toml".into()));
    assert_eq!(peer_certificate().await, certificate(&renewed));
}
