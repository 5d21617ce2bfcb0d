//! The example `smtp`: swaks, smtplib and openssl send mail, also over TLS, and each bad input gets a reply.

use std::fs;
use std::process::{Command, Stdio};

use harness::{Program, Running, Signal, TEST_TIMEOUT, free_port, tool};

use super::{connect, serve, stop};
use crate::tls::Authority;

const GREETING: &str = "220 mail.example.com ESMTP\r\n";

/// The example with a certificate for localhost.
fn serve_with_tls(authority: &Authority) -> (Running, String) {
    let identity = authority.sign("localhost", "localhost", |_| {});
    let at = format!("127.0.0.1:{}", free_port());
    let example = Program::example("smtp").arg(format!("tcp://{at}"));
    (example.args([identity.certificate, identity.key]).start(), at)
}

fn port(at: &str) -> &str {
    at.rsplit(':').next().unwrap()
}

/// Runs a client of mail and returns its output. Each client has a timeout of its own.
#[track_caller]
fn output(client: Program, input: &str) -> String {
    let ended = client.input(input).run();
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.stdout + &ended.stderr
}

#[tokio::test]
async fn each_command_gets_its_reply_and_bad_input_does_not_end_the_connection() {
    let (server, at) = serve("smtp");
    let mut client = connect(&at).await;
    client.expect(GREETING).await;
    let recipients = "RCPT TO:<ada@example.com>\r\n".repeat(101);
    let accepted = "250 2.1.5 ok\r\n".repeat(100) + "452 4.5.3 too many recipients\r\n";
    for (commands, replies) in [
        ("\r\n", "500 5.5.2 unknown command\r\n"),
        ("\u{0}\u{1b}[2J \u{e4}\r\n", "500 5.5.2 unknown command\r\n"),
        ("STARTTLS\r\n", "500 5.5.2 unknown command\r\n"),
        ("EHLO\r\nHELO \r\n", "501 5.5.4 send your name\r\n501 5.5.4 send your name\r\n"),
        ("MAIL FROM:<a@b>\r\nDATA\r\n", "503 5.5.1 send EHLO first\r\n503 5.5.1 send EHLO first\r\n"),
        ("NOOP\r\nnoop\r\nrset\r\n", "250 2.0.0 ok\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n"),
        ("HELO a\r\n", "250 mail.example.com\r\n"),
        ("EHLO a\r\n", "250-mail.example.com\r\n250-PIPELINING\r\n250 SIZE 10485760\r\n"),
        ("RCPT TO:<ada@example.com>\r\n", "503 5.5.1 send MAIL first\r\n"),
        ("MAIL FROM:a@b\r\nMAIL <a@b>\r\n", "501 5.5.4 syntax: MAIL FROM:<address>\r\n".repeat(2).leak()),
        (format!("MAIL FROM:<{}>\r\n", "x".repeat(255)).leak(), "501 5.5.4 syntax: MAIL FROM:<address>\r\n"),
        ("mail from: <> SIZE=3 BODY=8BITMIME\r\n", "250 2.1.0 ok\r\n"),
        ("MAIL FROM:<a@b>\r\n", "503 5.5.1 the sender is known\r\n"),
        ("RCPT TO:<eve@example.org>\r\n", "550 5.7.1 no relaying\r\n"),
        ("RCPT TO:<eve@sub.example.com>\r\n", "550 5.7.1 no relaying\r\n"),
        ("RCPT FROM:<a@example.com>\r\n", "501 5.5.4 syntax: RCPT TO:<address>\r\n"),
        ("DATA\r\n", "503 5.5.1 send RCPT first\r\n"),
        ("RCPT TO:<Postmaster>\r\nRSET\r\nDATA\r\n", "250 2.1.5 ok\r\n250 2.0.0 ok\r\n503 5.5.1 send RCPT first\r\n"),
        ("MAIL FROM:<a@b>\r\n", "250 2.1.0 ok\r\n"),
        (&recipients, &accepted),
    ] {
        client.send(commands).await.expect(replies).await;
    }
    // A mail ends only with CR LF dot CR LF. Commands may follow it at once.
    let data = "354 end with a dot on its own line\r\n";
    client.send("DATA\r\na\n.\nb\r\n..\r\n.\r.\n\r\n.\r\nNOOP\r\n").await.expect(data).await;
    client.expect("250 2.0.0 17 bytes accepted\r\n250 2.0.0 ok\r\n").await;
    let envelope = "MAIL FROM:<a@b>\r\nRCPT TO:<ADA@EXAMPLE.COM>\r\nDATA\r\n";
    client.send(envelope).await.expect("250 2.1.0 ok\r\n250 2.1.5 ok\r\n").await.expect(data).await;
    client.send(".\r\nQUIT\r\n").await.expect("250 2.0.0 0 bytes accepted\r\n221 2.0.0 goodbye\r\n").await;
    client.expect_end().await;
    stop(server);
}

#[tokio::test]
async fn a_line_or_a_mail_that_is_too_large_and_a_shutdown_are_answered_before_the_close() {
    let (server, at) = serve("smtp");
    let mut client = connect(&at).await;
    client.expect(GREETING).await.send("x".repeat(2000)).await.expect("500 5.5.2 the line is too long\r\n").await;
    client.expect_end().await;

    let mut client = connect(&at).await;
    client.expect(GREETING).await.send("HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n").await;
    client.expect("250 mail.example.com\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 ").await;
    client.expect("end with a dot on its own line\r\n").await;
    let (mut read, mut write) = client.0.into_split();
    let send = async {
        // Ends with an error when the server has closed the connection.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut write, &vec![b'x'; 12 << 20]).await;
    };
    let expected = "552 5.3.4 the mail is too large\r\n";
    let mut reply = vec![0; expected.len()];
    let receive = tokio::io::AsyncReadExt::read_exact(&mut read, &mut reply);
    let (_, received) = tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(send, receive) }).await.unwrap();
    received.unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), expected);

    let mut client = connect(&at).await;
    client.expect(GREETING).await;
    server.signal(Signal::SIGTERM);
    client.expect("421 4.3.2 closing\r\n").await.expect_end().await;
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test]
async fn a_command_behind_starttls_is_never_handled_wherever_the_bytes_are_cut() {
    let authority = Authority::new();
    let (server, at) = serve_with_tls(&authority);
    let sent = "STARTTLS\r\nEHLO injected\r\n";
    for cut in 0..=sent.len() {
        let mut client = connect(&at).await;
        client.0.set_nodelay(true).unwrap();
        client.expect(GREETING).await.send(&sent[..cut]).await;
        // The server may have closed the connection.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, &sent.as_bytes()[cut..]).await;
        let rest = client.rest().await;
        let rest = rest.escape_ascii().to_string();
        assert!(!rest.contains("250") && !rest.contains("injected"), "{cut}: {rest}");
    }
    stop(server);
}

const SMTPLIB: &str = r"
import smtplib, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca) if ca else None
with smtplib.SMTP('localhost', port, timeout=60) as server:
    if context:
        server.starttls(context=context)
        server.ehlo()
        assert not server.has_extn('starttls') and server.has_extn('size')
    for text in ['', 'hello', '.\r\n..\r\n.a', 'x\r\n' * 300_000]:
        assert server.sendmail('bob@example.org', ['ada@example.com', 'postmaster'], text) == {}
    refused = server.sendmail('bob@example.org', ['ada@example.com', 'eve@example.org'], 'hello')
    assert refused == {'eve@example.org': (550, b'5.7.1 no relaying')}, refused
    assert server.docmd('STARTTLS')[0] == 500
print('done')
";

#[test]
fn smtplib_sends_mail_with_and_without_starttls() {
    let Some(python) = tool("python3") else { return };
    let authority = Authority::new();
    let (server, at) = serve("smtp");
    assert_eq!(output(Program::at(&python).args(["-c", SMTPLIB, port(&at), ""]), ""), "done\n");
    stop(server);
    let (server, at) = serve_with_tls(&authority);
    let script = Program::at(&python).args(["-c", SMTPLIB, port(&at)]);
    assert_eq!(output(script.arg(authority.path("ca.pem")), ""), "done\n");
    stop(server);
}

#[test]
fn swaks_sends_mail_with_pipelining_and_starttls() {
    let Some(swaks) = tool("swaks") else { return };
    let authority = Authority::new();
    let (server, at) = serve_with_tls(&authority);
    for options in [&[][..], &["--pipeline"], &["--tls"], &["--tls", "--pipeline", "--tls-verify"]] {
        let client =
            Program::at(&swaks).args(["--server", &at, "--to", "ada@example.com", "--from", "bob@example.org"]);
        let client = client.args(["--helo", "localhost", "--timeout", "60", "--tls-ca-path"]);
        let log = output(client.arg(authority.path("ca.pem")).args(options), "");
        assert!(log.contains("bytes accepted") && log.contains("221 2.0.0 goodbye"), "{options:?}: {log}");
        assert_eq!(log.contains("=== TLS started"), options.contains(&"--tls"), "{log}");
    }
    let client = Program::at(&swaks).args(["--server", &at, "--to", "eve@example.org", "--timeout", "60"]);
    let refused = client.args(["--helo", "localhost", "--from", "bob@example.org"]).run();
    assert_eq!(refused.code(), Some(24), "{}", refused.stdout);
    assert!(refused.stdout.contains("550 5.7.1 no relaying"), "{}", refused.stdout);
    stop(server);
}

#[test]
fn openssl_starts_tls_and_sends_commands() {
    let Some(openssl) = tool("openssl") else { return };
    let authority = Authority::new();
    let (server, at) = serve_with_tls(&authority);
    for version in ["-tls1_2", "-tls1_3"] {
        let client = Program::at(&openssl).args(["s_client", "-starttls", "smtp", "-crlf", "-quiet", version]);
        let client = client.args(["-verify_return_error", "-servername", "localhost", "-connect", &at, "-CAfile"]);
        // The server closes the connection after QUIT, so openssl ends.
        let printed = output(client.arg(authority.path("ca.pem")), "EHLO a\nMAIL FROM:<b@c>\nNOOP\nQUIT\n");
        let expected = "250-mail.example.com\r\n250-PIPELINING\r\n250 SIZE 10485760\r\n\
             250 2.1.0 ok\r\n250 2.0.0 ok\r\n221 2.0.0 goodbye\r\n";
        assert!(printed.contains(expected), "{printed}");
    }
    stop(server);
}

#[test]
fn testssl_finds_no_starttls_injection() {
    let (Some(testssl), Some(_)) = (tool("testssl"), tool("socat")) else { return };
    let help = Command::new(&testssl).arg("--help").output().unwrap();
    if !String::from_utf8_lossy(&help.stdout).contains("--starttls-injection") {
        eprintln!("skipped: this version of testssl.sh has no test of STARTTLS injection");
        return;
    }
    let authority = Authority::new();
    let (server, at) = serve_with_tls(&authority);
    let ran = Command::new(&testssl)
        .args(["--starttls-injection", "--starttls", "smtp", "--ip", "127.0.0.1", "--nodns", "none"])
        .args(["--warnings", "off", "--color", "0", "--jsonfile", "report.json", &format!("localhost:{}", port(&at))])
        .current_dir(authority.place())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = fs::read_to_string(authority.path("report.json")).unwrap_or_default();
    let report: Vec<serde_json::Value> = serde_json::from_str(&report).unwrap_or_default();
    let found = report.iter().find(|entry| entry["id"] == "starttls_injection");
    let found = found.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&ran.stdout)));
    assert_eq!((&found["severity"], &found["finding"]), (&"OK".into(), &"not vulnerable".into()), "{found}");
    stop(server);
}
