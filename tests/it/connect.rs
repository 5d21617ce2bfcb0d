//! The client `switchboard connect`: TLS, all addresses of a host, hex output, and errors that name what helps.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use harness::{Output, Program, Running, free_port, tool};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use switchboard::TlsIdentity;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::Authority;

fn connect(args: &[&str], input: &str) -> Output {
    Program::switchboard().arg("connect").args(args).args(["--wait", "1m"]).input(input).run()
}

/// The only line of standard error of a client that fails.
#[track_caller]
fn failure(args: &[&str]) -> String {
    let ended = connect(args, "hello\n");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{args:?}: {}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr
}

/// An echo server for lines over TLS, and its address by name.
pub(crate) fn tls_server(authority: &Authority, more: &[&str]) -> (Running, String) {
    let TlsIdentity { certificate, key } = authority.sign("localhost", "localhost", |_| {});
    let set = |key: &str, path: &std::path::Path| format!("listeners.main.tls.{key}={}", path.display());
    let server = Program::switchboard()
        .args(["--handler", "echo", "--framing", "lines", "--set", "listen=tls://127.0.0.1:0"])
        .args(["--set", &set("certificate", &certificate), "--set", &set("key", &key)])
        .args(more)
        .start();
    let port = server.socket("main").rsplit_once(':').unwrap().1.to_owned();
    (server, format!("tls://localhost:{port}"))
}

/// A server that completes one handshake with this certificate, also an expired one.
fn handshake_once(identity: &TlsIdentity) -> String {
    let certificate = CertificateDer::from_pem_file(&identity.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        let _ = stream.write_all(b"hi\n"); // the client may reject the certificate
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = stream.read(&mut [0; 100]);
    });
    format!("tls://localhost:{port}")
}

#[test]
fn a_tls_server_is_trusted_by_its_authority_by_itself_or_without_a_check() {
    let authority = Authority::new();
    let (_server, address) = tls_server(&authority, &[]);
    let ca = authority.path("ca.pem").display().to_string();
    let by_number = address.replace("localhost", "127.0.0.1");
    for args in [
        &[address.as_str(), "--ca", &ca][..],
        &[&by_number, "--ca", &ca, "--server-name", "localhost"],
        &[&by_number, "--insecure"],
    ] {
        let ended = connect(&[args, &["--framing", "lines"]].concat(), "one\ntwo\n");
        assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "one\ntwo\n", ""));
    }
    // The certificate of the operator's guide is marked as that of an authority.
    let Some(openssl) = tool("openssl") else { return };
    let own = TlsIdentity { certificate: authority.path("own.pem"), key: authority.path("own.key") };
    let made = Program::at(&openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(&own.key)
        .arg("-out")
        .arg(&own.certificate)
        .run();
    assert!(made.status.success(), "{}", made.stderr);
    let trusted = connect(&[&handshake_once(&own), "--ca", own.certificate.to_str().unwrap()], "");
    assert_eq!((trusted.code(), trusted.stdout.as_str()), (Some(0), "hi\n"), "{}", trusted.stderr);
    // Another certificate is trusted, or those of the system.
    let error = failure(&[&handshake_once(&own), "--ca", &ca]);
    let presented = "the server's certificate (CN=localhost) is signed by itself";
    let wanted =
        format!("{presented}; no authority in {ca} (--ca) has signed it; use --ca FILE with this certificate;");
    assert!(error.contains(&wanted), "{error}");
    let other_name = handshake_once(&own).replace("localhost", "127.0.0.1");
    let error = failure(&[&other_name, "--ca", own.certificate.to_str().unwrap()]);
    assert!(error.contains("is for localhost, not for 127.0.0.1; use --server-name NAME"), "{error}");
}

#[test]
fn a_rejected_certificate_is_described() {
    let authority = Authority::new();
    let (_server, address) = tls_server(&authority, &[]);
    let ca = authority.path("ca.pem").display().to_string();
    let error = failure(&[&address.replace("localhost", "127.0.0.1"), "--ca", &ca]);
    assert!(error.contains("is for localhost, not for 127.0.0.1; use --server-name NAME"), "{error}");
    let (other, other_ca) = (Authority::new(), "other.pem");
    fs::copy(other.path("ca.pem"), authority.path(other_ca)).unwrap();
    let other_ca = authority.path(other_ca).display().to_string();
    let error = failure(&[&address, "--ca", &other_ca]);
    let wanted = format!(
        "is signed by CN=an authority of a test; no authority in {other_ca} (--ca) has signed it; use --ca FILE"
    );
    // The other authority has the same name, so that a wrong signature is possible, too.
    assert!(error.contains(&wanted) || error.contains("certificate is not valid"), "{error}");
    let expired = authority.sign("expired", "localhost", |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 2, 3));
    });
    let error = failure(&[&handshake_once(&expired), "--ca", &ca]);
    assert!(error.contains("has expired; its own end is Feb  3 00:00:00 2002"), "{error}");
    let future = authority.sign("future", "localhost", |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    });
    let error = failure(&[&handshake_once(&future), "--ca", &ca]);
    assert!(error.contains("is not valid yet; it begins Jan  1 00:00:00 2090"), "{error}");
}

#[test]
fn the_text_of_a_certificate_cannot_control_the_terminal() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "a\u{1b}[31m\nb");
    let key = KeyPair::generate().unwrap();
    let identity = authority.at("own");
    fs::write(&identity.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&identity.key, key.serialize_pem()).unwrap();
    let error = failure(&[&handshake_once(&identity), "--ca", authority.path("ca.pem").to_str().unwrap()]);
    assert!(error.contains("a\\u001B[31m") && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn a_server_can_require_a_certificate_and_a_protocol() {
    let authority = Authority::new();
    let set = |key: &str, value: &str| format!("listeners.main.tls.{key}={value}");
    let ca = authority.path("ca.pem").display().to_string();
    let (client_ca, alpn) = (set("client_ca", &ca), set("alpn", "echo/1"));
    let (_server, address) = tls_server(&authority, &["--set", &client_ca, "--set", &alpn]);
    let client = authority.sign("client", "client", |_| {});
    let [cert, key] = [&client.certificate, &client.key].map(|path| path.to_str().unwrap());
    let args = [&address, "--framing", "lines", "--ca", &ca];
    let ended = connect(&[&args[..], &["--cert", cert, "--key", key, "--alpn", "echo/1"]].concat(), "hi\n");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), "hi\n"), "{}", ended.stderr);
    let error = failure(&args);
    assert!(error.contains("requires a certificate of the client; use --cert FILE and --key FILE"), "{error}");
    let error = failure(&[&args[..], &["--cert", cert, "--key", key, "--alpn", "echo/2", "--alpn", "x"]].concat());
    assert!(error.contains("supports none of the protocols of --alpn: echo/2, x"), "{error}");
    let own_key = authority.at("localhost").key;
    let error = failure(&[&args[..], &["--cert", cert, "--key", own_key.to_str().unwrap()]].concat());
    assert!(error.contains("--key: the key in ") && error.contains("does not belong to the certificate"), "{error}");
    let error = failure(&[&args[..], &["--cert", key, "--key", key]].concat());
    assert!(error.contains("--cert: there is no certificate in ") && error.contains("only PRIVATE KEY"), "{error}");
}

#[test]
fn tls_and_no_tls_are_distinguished() {
    let authority = Authority::new();
    let (_server, address) = tls_server(&authority, &[]);
    let error = failure(&[&address.replace("tls://localhost", "tcp://127.0.0.1")]);
    assert!(error.contains("expects TLS; use tls://127.0.0.1:"), "{error}");
    let plain = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let error = failure(&[&plain.address("main").replace("tcp:", "tls:"), "--insecure"]);
    assert!(error.contains("the answer of the server is not TLS") && error.contains("tcp://"), "{error}");
    let wrong = connect(&[&plain.address("main"), "--insecure"], "");
    assert_eq!(wrong.code(), Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("--insecure needs a tls:// address"), "{}", wrong.stderr);
}

#[test]
fn every_address_of_a_host_is_tried() {
    // The name has the addresses ::1 and 127.0.0.1 on most machines. Only one of them has a server.
    let tcp = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let address = tcp.address("main").replace("127.0.0.1", "localhost");
    let ended = connect(&[&address], "Ada\nexit\n");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), "welcome!\nhello, Ada!\n"), "{}", ended.stderr);
    let udp = Program::switchboard().args(["--listen", "udp://127.0.0.1:0"]).start();
    let address = udp.address("main").replace("127.0.0.1", "localhost");
    let ended = Program::switchboard().args(["connect", &address, "--wait", "5s"]).input("Ada\nBob\nCem\n").run();
    let wanted = "hello, Ada!\nhello, Bob!\nhello, Cem!\n";
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), wanted), "{}", ended.stderr);
    let nobody = free_port();
    let error = failure(&[&format!("udp://localhost:{nobody}")]);
    assert_eq!(error, format!("error: nothing is listening on udp://localhost:{nobody}\n"));
    let error = failure(&[&format!("tcp://127.0.0.1:{nobody}")]);
    let wanted =
        format!("cannot connect to tcp://127.0.0.1:{nobody}: Connection refused (no server is listening there)");
    assert!(error.contains(&wanted), "{error}");
}

#[test]
fn replies_can_be_printed_as_hex_dumps() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            socket.send_to(b"\x00\xffab", peer).unwrap();
        }
    });
    let talk = |args: &[&str]| {
        let client = Program::switchboard().args(["connect", &address, "--wait", "2s"]).args(args).input("x\n");
        client.run().stdout
    };
    assert_eq!(talk(&["--hex"]), format!("0000:   00 ff 61 62{}   ..ab\n", " ".repeat(39)));
    // The bytes in a pipe are unchanged; the test harness reads them as UTF-8.
    assert_eq!(talk(&[]), "\0\u{fffd}ab\n");
}

#[test]
fn a_pipe_without_line_ends_has_a_hint_if_the_server_sends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        // The connections stay open.
        let clients = [listener.accept().unwrap().0, listener.accept().unwrap().0];
        clients.map(|mut client| {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            (client, text)
        })
    });
    let ask = |more: &[&str]| {
        let connect = Program::switchboard().args(["connect", &address, "--wait", "50ms"]).args(more);
        connect.input("hello\n").run().stderr
    };
    let hint = "note: the server sent nothing; the framing raw sends no line ends, so for a server that reads lines use \
                --framing lines\n";
    assert_eq!((&*ask(&[]), &*ask(&["--framing", "lines"])), (hint, ""));
    let texts = server.join().unwrap().map(|(_, text)| text);
    assert_eq!(texts, ["hello", "hello\n"]);
}
