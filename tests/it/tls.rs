//! TLS over every stream transport, and the errors for invalid files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use harness::{Client, Program, TEST_TIMEOUT, tool, unique};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use switchboard::prelude::*;
use switchboard::transport::memory;
use switchboard::{TlsIdentity, TlsSettings};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::{Probe, millis, secs, timeouts};

/// A certificate authority, and a directory for the certificates it signs.
pub(crate) struct Authority {
    place: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { place, issuer }
    }

    /// The directory of the files.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.place.path().join(file)
    }

    /// The files of a signed certificate.
    pub(crate) fn at(&self, name: &str) -> TlsIdentity {
        TlsIdentity { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    pub(crate) fn sign(&self, name: &str, host: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsIdentity {
        self.sign_key(&KeyPair::generate().unwrap(), name, host, change)
    }

    fn sign_key(
        &self,
        key: &KeyPair,
        name: &str,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsIdentity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let identity = self.at(name);
        fs::write(&identity.certificate, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// Settings with a certificate for localhost.
    pub(crate) fn settings(&self) -> TlsSettings {
        let TlsIdentity { certificate, key } = self.sign("localhost", "localhost", |_| {});
        TlsSettings::new(certificate, key)
    }

    /// The configuration of a client that trusts this authority, with an optional client certificate.
    pub(crate) fn client(&self, identity: Option<&TlsIdentity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(TlsIdentity { certificate, key }) => {
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                builder.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        }
    }
}

pub(crate) async fn tls_connect<T>(
    config: &Arc<ClientConfig>,
    host: &str,
    io: T,
) -> std::io::Result<Client<TlsStream<T>>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let stream = timeout(TEST_TIMEOUT, TlsConnector::from(config.clone()).connect(host, io)).await.unwrap();
    stream.map(Client)
}

/// Starts a server that answers each line with the handshake details.
pub(crate) async fn serve_facts(settings: TlsSettings) -> (Running, String) {
    let name = unique("tls");
    let handler = handler_fn(|cx: Context, _: Bytes| async move {
        let facts = cx.tls().expect("the connection uses TLS");
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let client = facts.client.as_ref().map(|client| format!("{} {}", client.subject, client.names.join("+")));
        let fields = [
            Some(facts.version.to_string()),
            facts.server_name.as_deref().map(str::to_owned),
            facts.alpn.as_deref().map(text),
            Some(facts.resumed.to_string()),
            client,
        ];
        Ok(Reply::send(fields.map(|fact| fact.unwrap_or("-".into())).join(",")))
    });
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).tls(settings);
    (server.start(handler).await.unwrap(), name)
}

pub(crate) async fn facts(name: &str, config: &Arc<ClientConfig>, host: &str) -> String {
    let io = memory::connect(name).await.unwrap();
    let mut client = tls_connect(config, host, io).await.unwrap();
    client.send("?\n").await.half_close().await;
    String::from_utf8(client.rest().await).unwrap().trim_end().to_owned()
}

pub(crate) async fn serve(settings: TlsSettings, probe: &Probe) -> (Running, String) {
    let name = unique("tls");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).tls(settings);
    (server.start(probe.clone()).await.unwrap(), name)
}

#[tokio::test]
async fn tls_works_over_every_stream_transport() {
    async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(config: &Arc<ClientConfig>, io: T) {
        let mut client = tls_connect(config, "localhost", io).await.unwrap();
        client.send("a\nb\n").await.expect("a\nb\n").await.send("big 300000\n").await;
        client.expect([vec![b'x'; 300_000], vec![b'\n']].concat()).await;
    }
    let authority = Authority::new();
    let (settings, config) = (authority.settings(), Arc::new(authority.client(None)));
    let (name, path) = (unique("tls"), authority.path("socket"));
    for endpoint in ["tls://127.0.0.1:0".to_owned(), format!("mem:{name}"), format!("unix:{}", path.display())] {
        let server = Server::bind(endpoint.clone()).framing(Lines::default()).tls(settings.clone());
        let running = server.start(Probe::default()).await.unwrap();
        let address = running.address().unwrap().to_string();
        match endpoint.split_once(':').unwrap().0 {
            "tls" => {
                let at = address.strip_prefix("tls://").unwrap();
                assert!(!at.ends_with(":0"), "{at} is the real port");
                exchange(&config, TcpStream::connect(at).await.unwrap()).await;
            }
            "mem" => exchange(&config, memory::connect(&name).await.unwrap()).await,
            _ => exchange(&config, UnixStream::connect(&path).await.unwrap()).await,
        }
        assert_eq!(running.drain().await.cut, 0, "{endpoint}");
    }
    let refused = Server::bind("udp://127.0.0.1:0").tls(settings).start(Probe::default()).await.unwrap_err();
    assert!(refused.to_string().contains("TLS needs connections"), "{refused}");
    let refused = Server::bind("tls://127.0.0.1:0").start(Probe::default()).await.unwrap_err();
    assert!(refused.to_string().contains("TLS needs a certificate and a key"), "{refused}");
}

#[tokio::test]
async fn the_handler_gets_the_handshake_details() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.alpn = vec!["two".into(), "one".into()];
    let (_running, name) = serve_facts(settings).await;
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"one".to_vec(), b"two".to_vec()];
    assert_eq!(facts(&name, &Arc::new(config.clone()), "localhost").await, "TLS 1.3,localhost,two,false,-");
    config.alpn_protocols = vec![b"three".to_vec()];
    let io = memory::connect(&name).await.unwrap();
    tls_connect(&Arc::new(config), "localhost", io).await.expect_err("nothing to agree on");
}

#[tokio::test]
async fn a_reconnecting_client_resumes_its_session() {
    let authority = Authority::new();
    let (_running, name) = serve_facts(authority.settings()).await;
    let config = Arc::new(authority.client(None));
    assert_eq!(facts(&name, &config, "localhost").await, "TLS 1.3,localhost,-,false,-");
    assert_eq!(facts(&name, &config, "localhost").await, "TLS 1.3,localhost,-,true,-");
    let stranger = Arc::new(authority.client(None));
    assert_eq!(facts(&name, &stranger, "localhost").await, "TLS 1.3,localhost,-,false,-");
}

#[tokio::test]
async fn the_requested_host_name_selects_the_certificate() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    for (file, host) in [("one", "one.example"), ("any", "*.many.example")] {
        settings.sni.insert(host.to_owned(), authority.sign(file, host, |_| {}));
    }
    let (_running, name) = serve(settings, &Probe::default()).await;
    let config = Arc::new(authority.client(None));
    for host in ["localhost", "one.example", "ONE.example", "a.many.example"] {
        let io = memory::connect(&name).await.unwrap();
        tls_connect(&config, host, io).await.unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for host in ["two.example", "a.b.many.example"] {
        let io = memory::connect(&name).await.unwrap();
        tls_connect(&config, host, io).await.expect_err("the certificate is another's");
    }
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_ca_are_accepted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    let (_running, name) = serve_facts(settings.clone()).await;
    let alice = authority.sign("alice", "alice.example", |_| {});
    let facts = facts(&name, &Arc::new(authority.client(Some(&alice))), "localhost").await;
    assert_eq!(facts, "TLS 1.3,localhost,-,false,CN=alice alice.example");
    let probe = Probe::default();
    let (running, name) = serve(settings, &probe).await;
    let mallory = other.sign("mallory", "alice.example", |_| {});
    for wrong in [None, Some(&mallory)] {
        let config = Arc::new(authority.client(wrong));
        // With TLS 1.3 the client completes before the server verifies its certificate. The first read gets the alert.
        if let Ok(mut client) = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await {
            let _ = client.0.write_all(b"hi\n").await;
            let mut got = Vec::new();
            assert!(client.0.read_to_end(&mut got).await.is_err() && got.is_empty(), "{got:?}");
        }
    }
    running.drain().await;
    assert_eq!(probe.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_delays_no_other_client_and_is_closed_at_the_timeout() {
    let (authority, probe) = (Authority::new(), Probe::default());
    for (handshake, closed) in [(None, 10), (Some(secs(3)), 3)] {
        let name = unique("tls");
        let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).tls(authority.settings());
        let server = server.timeouts(timeouts(|t| t.handshake = handshake.unwrap_or(t.handshake)));
        let running = server.start(probe.clone()).await.unwrap();
        let begun = Instant::now();
        let mut silent = Client(memory::connect(&name).await.unwrap());
        let config = Arc::new(authority.client(None));
        let mut client = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await.unwrap();
        client.send("hi\n").await.expect("hi\n").await;
        assert!(begun.elapsed() < millis(100));
        silent.expect_end().await;
        assert_eq!(begun.elapsed().as_secs(), closed);
        client.send("hi\n").await.expect("hi\n").await;
        running.drain().await;
    }
    assert!(!probe.calls().iter().any(|call| call.contains("handshake")), "{:?}", probe.calls());
}

#[tokio::test]
async fn a_half_closed_client_gets_the_last_reply_and_close_notify() {
    let (authority, probe) = (Authority::new(), Probe::default());
    let (_running, name) = serve(authority.settings(), &probe).await;
    let config = Arc::new(authority.client(None));
    let mut client = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await.unwrap();
    client.send("a\nlast\n").await.half_close().await;
    let mut got = Vec::new();
    // The read fails if the server omits close_notify.
    timeout(TEST_TIMEOUT, client.0.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, b"a\nlast\n");
    let mut client = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await.unwrap();
    got.clear();
    client.send("finish bye\n").await;
    timeout(TEST_TIMEOUT, client.0.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, b"bye\n");
    assert_eq!(probe.reasons(2).await, ["peer_closed", "handler_closed"]);
}

#[tokio::test]
async fn a_missing_close_notify_is_a_normal_close_unless_a_message_is_truncated() {
    let (authority, probe) = (Authority::new(), Probe::default());
    let (_running, name) = serve(authority.settings(), &probe).await;
    let config = Arc::new(authority.client(None));
    for (nth, (message, reason)) in [("whole\n", "peer_closed"), ("whole\nbeg", "io_error")].into_iter().enumerate() {
        let mut client = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await.unwrap();
        client.send(message).await.expect("whole\n").await;
        drop(client); // no close_notify
        assert_eq!(probe.reasons(nth + 1).await[nth], reason);
    }
    assert!(!probe.calls().contains(&"message beg".to_owned()), "{:?}", probe.calls());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_closes_with_write_stalled_and_uses_little_memory() {
    let (authority, probe) = (Authority::new(), Probe::default());
    let name = unique("tls");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).tls(authority.settings());
    let _running = server.timeouts(timeouts(|t| t.write = secs(5))).start(probe.clone()).await.unwrap();
    let config = Arc::new(authority.client(None));
    let mut client = tls_connect(&config, "localhost", memory::connect(&name).await.unwrap()).await.unwrap();
    let begun = Instant::now();
    client.send("endless\n").await;
    assert_eq!(probe.reason().await, "write_stalled");
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert!(probe.connection(0).bytes_out() < 1024 * 1024, "{}", probe.connection(0).bytes_out());
}

#[tokio::test]
async fn invalid_files_are_reported_by_name() {
    let authority = Authority::new();
    let good = authority.settings();
    let other = authority.sign("other", "other.example", |_| {});
    let old = authority.sign("old", "localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (missing, empty) = (authority.path("missing.pem"), authority.path("empty.pem"));
    fs::write(&empty, "nothing\n").unwrap();
    let with = |change: &dyn Fn(&mut TlsSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        settings
    };
    let shown = |path: &Path| path.display().to_string();
    let cases = [
        (with(&|s| s.certificate.clone_from(&missing)), shown(&missing), "cannot be read: No such file"),
        (with(&|s| s.certificate.clone_from(&empty)), shown(&empty), "there is no certificate in"),
        (with(&|s| s.key.clone_from(&missing)), shown(&missing), "cannot be read: No such file"),
        (with(&|s| s.key.clone_from(&empty)), shown(&empty), "there is no private key in"),
        (with(&|s| s.key.clone_from(&other.key)), shown(&other.key), "does not belong to the certificate in"),
        (
            with(&|s| (s.certificate, s.key) = (old.certificate.clone(), old.key.clone())),
            shown(&old.certificate),
            "has expired",
        ),
        (with(&|s| s.client_ca = Some(empty.clone())), shown(&empty), "there is no certificate in"),
        (
            with(&|s| drop(s.sni.insert("one.example".into(), other.clone()))),
            shown(&other.certificate),
            "is not for one.example",
        ),
        (with(&|s| drop(s.sni.insert("1.2.3.4".into(), other.clone()))), "1.2.3.4".into(), "is not a host"),
    ];
    for (settings, file, part) in cases {
        let name = unique("tls");
        let started = Server::bind(format!("mem:{name}")).tls(settings).start(Probe::default()).await;
        let error = started.unwrap_err().to_string();
        assert!(error.contains(&file) && error.contains(part), "{error} has {file} and {part}");
        assert!(memory::connect(&name).await.is_err(), "the listener is not started");
    }
}

/// Writes a configuration file: handler hello with framing lines over TLS.
pub(crate) fn configured(authority: &Authority, more: &str) -> PathBuf {
    authority.settings(); // writes the certificate files
    let text = format!(
        "[listeners.main]\nlisten = 'tls://127.0.0.1:0'\nframing = 'lines'\n\
         [listeners.main.tls]\ncertificate = 'localhost.pem'\nkey = 'localhost.key'\n{more}"
    );
    let path = authority.path("tls.toml");
    fs::write(&path, text).unwrap();
    path
}

pub(crate) fn program(authority: &Authority, command: &[&str]) -> Program {
    Program::switchboard().args(command).args(["-c", "tls.toml"]).current_dir(authority.place.path())
}

#[test]
fn a_python_client_completes_a_tls_session_with_the_program() {
    let Some(python) = tool("python3") else { return };
    let authority = Authority::new();
    configured(&authority, "alpn = ['hello']\nclient_ca = 'ca.pem'\n[timeouts]\nhandshake = '5s'\n");
    authority.sign("alice", "alice.example", |_| {});
    let server = program(&authority, &["serve"]).start();
    assert!(server.address("main").starts_with("tls://127.0.0.1:"));
    let script = "
import socket, ssl, sys
context = ssl.create_default_context(cafile='ca.pem')
context.set_alpn_protocols(['hello'])
context.load_cert_chain('alice.pem', 'alice.key')
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname='localhost', suppress_ragged_eofs=False) as client:
        reader = client.makefile('r')
        print(client.version(), client.selected_alpn_protocol(), reader.readline().strip())
        client.sendall(b'Ada\\nexit\\n')
        print(reader.read().strip())
";
    let port = server.socket("main").rsplit_once(':').unwrap().1.to_owned();
    let ran = Command::new(python).args(["-c", script, &port]).current_dir(authority.place.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(out, "TLSv1.3 hello welcome!\nhello, Ada!\n", "{err}");
    let opened = server.wait_for_event(|event| event["message"] == "connection opened");
    assert_eq!(opened["client"], "CN=alice", "the verified client: {opened}");
    let closed = server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!(
        (&closed["reason"], &closed["bytes_in"]),
        (&"handler_closed".into(), &9.into()),
        "without TLS: {closed}"
    );
}

#[test]
fn openssl_connects_with_tls_1_2_and_1_3() {
    let Some(openssl) = tool("openssl") else { return };
    let authority = Authority::new();
    configured(&authority, "");
    let server = program(&authority, &["serve"]).start();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new(&openssl)
            .args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "ca.pem", "-servername", "localhost"])
            .args([version, "-connect", &server.socket("main")])
            .current_dir(authority.place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(client.stdin.as_mut().unwrap(), b"Ada\nexit\n").unwrap();
        let ran = client.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "welcome!\nhello, Ada!\n", "{version}: {err}");
        assert!(ran.status.success(), "{version}: {err}");
    }
}

#[test]
fn a_request_to_renegotiate_is_rejected_at_once() {
    let Some(openssl) = tool("openssl") else { return };
    let authority = Authority::new();
    configured(&authority, "");
    let server = program(&authority, &["serve"]).start();
    // openssl requests a renegotiation for this line, and waits for the answer.
    let client = Program::at(&openssl).args(["s_client", "-tls1_2", "-connect", &server.socket("main")]);
    let ended = client.input("R\n").run();
    assert_eq!(ended.code(), Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("RENEGOTIATING"), "{}", ended.stderr);
}

#[test]
fn openssl_and_python_need_a_client_certificate() {
    const PYTHON: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile='ca.pem')
if sys.argv[2:]: context.load_cert_chain(*sys.argv[2:])
try:
    with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname='localhost') as client:
            print(client.makefile('r').readline().strip() or 'nothing')
except OSError as error: print('refused')
";
    let (Some(openssl), Some(python)) = (tool("openssl"), tool("python3")) else { return };
    let (authority, other) = (Authority::new(), Authority::new());
    configured(&authority, "client_ca = 'ca.pem'\n");
    let right = authority.sign("alice", "alice.example", |_| {});
    let wrong = other.sign("mallory", "alice.example", |_| {});
    let server = program(&authority, &["serve"]).start();
    let at = server.socket("main");
    for (identity, is_right) in [(Some(&right), true), (Some(&wrong), false), (None, false)] {
        for version in ["-tls1_2", "-tls1_3"] {
            let mut client = Command::new(&openssl);
            client.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "ca.pem", version, "-connect", &at]);
            if let Some(TlsIdentity { certificate, key }) = identity {
                client.arg("-cert").arg(certificate).arg("-key").arg(key);
            }
            client.current_dir(authority.place.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut client = client.stderr(Stdio::piped()).spawn().unwrap();
            if is_right {
                std::io::Write::write_all(client.stdin.as_mut().unwrap(), b"Ada\nexit\n").unwrap();
            }
            // Other clients send nothing: unread data would turn the close into a reset and lose the alert.
            let ran = client.wait_with_output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            assert_eq!(out, if is_right { "welcome!\nhello, Ada!\n" } else { "" }, "{version}: {err}");
            assert_eq!(!err.contains("alert"), is_right, "{version}: {err}");
        }
        let mut client = Command::new(&python);
        client.args(["-c", PYTHON, at.rsplit_once(':').unwrap().1]).current_dir(authority.place.path());
        if let Some(TlsIdentity { certificate, key }) = identity {
            client.arg(certificate).arg(key);
        }
        let ran = client.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(out.trim_end(), if is_right { "welcome!" } else { "refused" }, "{err}");
    }
}

#[tokio::test]
async fn clients_that_never_send_a_client_hello_do_not_block_others() {
    let authority = Authority::new();
    configured(&authority, "[timeouts]\nhandshake = '1h'\n");
    let server = program(&authority, &["serve"]).start();
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(TcpStream::connect(server.socket("main")).await.unwrap());
    }
    let config = Arc::new(authority.client(None));
    for _ in 0..3 {
        let connect = async {
            let io = TcpStream::connect(server.socket("main")).await.unwrap();
            tls_connect(&config, "localhost", io).await.unwrap().expect("welcome!\n").await.send("exit\n").await;
        };
        timeout(TEST_TIMEOUT, connect).await.expect("silent clients delay no other client");
    }
}

#[test]
fn testssl_reports_no_problem_for_a_default_listener() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (Some(testssl), Some(openssl)) = (tool("testssl"), tool("openssl")) else { return };
    let authority = Authority::new();
    let change = |params: &mut CertificateParams| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + 90 * DAY).into();
        // testssl expects a CRL address but does not fetch it.
        let uris = vec!["http://localhost/none.crl".to_owned()];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    };
    let rsa = Command::new(openssl).args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    let rsa = KeyPair::from_pem(&String::from_utf8(rsa.unwrap().stdout).unwrap()).unwrap();
    configured(&authority, "");
    // Some attack checks would try every cipher again; --standard tries each cipher once.
    let attacks = [
        "--standard",
        "--heartbleed",
        "--ccs",
        "--ticketbleed",
        "--robot",
        "--renegotiation",
        "--crime",
        "--tls-fallback",
    ];
    thread::scope(|scope| {
        for (key, kind, checks) in [(rsa, "RSA", &attacks[..]), (KeyPair::generate().unwrap(), "EC", &[])] {
            authority.sign_key(&key, "localhost", "localhost", change);
            let server = program(&authority, &["serve"]).start();
            let (testssl, authority) = (&testssl, &authority);
            scope.spawn(move || audit(testssl, authority.place.path(), kind, checks, &server));
        }
    });
}

fn audit(testssl: &Path, place: &Path, kind: &str, checks: &[&str], server: &harness::Running) {
    let port = server.socket("main").rsplit_once(':').unwrap().1.to_owned();
    let file = format!("{kind}.json");
    let ran = Command::new(testssl)
        .args(["--protocols", "--server-preference", "--server-defaults"])
        .args(checks)
        .args(["--add-ca", "ca.pem", "--ip", "127.0.0.1", "--nodns", "none", "--warnings", "off", "--color", "0"])
        .args(["--jsonfile", &file, &format!("localhost:{port}")])
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = fs::read_to_string(place.join(&file)).unwrap_or_default();
    let report: Vec<serde_json::Value> = serde_json::from_str(&report)
        .unwrap_or_else(|error| panic!("{error}: {report}{}", String::from_utf8_lossy(&ran.stdout)));
    // Other severities are harmless, or report missing features of testssl's OpenSSL.
    let is_bad = |entry: &&serde_json::Value| {
        ["LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"].iter().any(|severity| entry["severity"] == *severity)
    };
    let bad: Vec<_> = report.iter().filter(is_bad).collect();
    assert!(bad.is_empty(), "{kind}: {bad:#?}");
    for (id, finding) in [
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered"),
        ("cipher_order", "server"),
        ("cert_chain_of_trust", "passed"),
    ] {
        let entry = report.iter().find(|entry| entry["id"] == id).unwrap_or_else(|| panic!("{kind}: no finding {id}"));
        assert!(entry["finding"].as_str().is_some_and(|found| found.starts_with(finding)), "{kind}: {entry:#}");
    }
}

#[test]
fn plain_text_reaches_no_handler_and_is_logged_as_handshake() {
    let authority = Authority::new();
    configured(&authority, "");
    let server = program(&authority, &["serve"]).start();
    let mut plain = std::net::TcpStream::connect(server.socket("main")).unwrap();
    std::io::Write::write_all(&mut plain, b"Ada\nis not here\n").unwrap();
    let mut got = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut got);
    assert!(!got.escape_ascii().to_string().contains("welcome"), "{got:?}");
    let closed = server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!((&closed["reason"], &closed["messages"]), (&"handshake".into(), &0.into()), "{closed}");
    assert!(closed["error"].as_str().unwrap().starts_with("the TLS handshake failed: the peer sent"), "{closed}");
}

#[test]
fn the_program_reports_the_key_and_path_of_an_invalid_file() {
    let authority = Authority::new();
    authority.sign("other", "other.example", |_| {});
    configured(&authority, "[listeners.main.tls.sni.'other.example']\ncertificate = 'other.pem'\nkey = 'other.key'\n");
    let checked = program(&authority, &["check"]).run();
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let printed = program(&authority, &["config"]).run().stdout;
    assert!(printed.contains("key = \"localhost.key\"") && !printed.contains("BEGIN"), "{printed}");
    fs::write(authority.path("other.key"), "").unwrap();
    for command in ["check", "serve"] {
        let refused = program(&authority, &[command]).args(["--log-format", "text"]).run();
        assert_eq!(refused.code(), Some(78), "{command}: {}", refused.stderr);
        let wanted = "there is no private key in other.key: the file is empty\n";
        assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
        assert!(refused.stderr.contains("error: listeners.main.tls.sni."), "{}", refused.stderr);
    }
    configured(&authority, "");
    authority.sign("other", "other.example", |_| {});
    fs::copy(authority.path("other.key"), authority.path("localhost.key")).unwrap();
    let refused = program(&authority, &["check"]).run();
    let wanted = "error: listeners.main.tls.key: the key in localhost.key does not belong to the certificate in \
                  localhost.pem\n";
    let is_at = refused.stderr.starts_with("tls.toml:6:") && refused.stderr.contains(wanted);
    assert!(is_at && refused.stderr.contains("\n6 | key"), "{}", refused.stderr);
}
