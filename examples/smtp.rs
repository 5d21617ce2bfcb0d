//! SMTP with pipelining and STARTTLS. It accepts mail for `example.com` and discards it; a mail is one message.
//! Try it: `swaks --server 127.0.0.1:9999 --to ada@example.com`. For STARTTLS, start it with a certificate and a key:
//! `cargo run --example smtp -- tcp://127.0.0.1:9999 cert.pem key.pem`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use switchboard::framing::Delimited;
use switchboard::prelude::*;
use switchboard::settings::{TlsSettings, TlsStart};
use switchboard::tokio_util::codec::{Decoder, Encoder};

struct Smtp {
    has_tls: bool,
}

/// What the client has sent since the connection, or TLS on it, began.
#[derive(Default)]
struct Session {
    hello: bool,
    sender: Option<String>,
    recipients: Vec<String>,
    sends_mail: bool,
}

/// The text of a mail, up to a line with one dot (RFC 5321, section 4.1.1.4); replies are lines. The number is that of
/// the bytes that have been searched.
struct MailText(usize);

impl Decoder for MailText {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, io::Error> {
        let found = buffer[self.0..].windows(5).position(|window| window == b"\r\n.\r\n");
        let length = if buffer.starts_with(b".\r\n") { Some(0) } else { found.map(|at| self.0 + at + 2) };
        self.0 = buffer.len().saturating_sub(4);
        Ok(length.map(|length| buffer.split_to(length + 3).split_to(length).freeze()))
    }
}

impl Encoder<Bytes> for MailText {
    type Error = io::Error;

    fn encode(&mut self, reply: Bytes, buffer: &mut BytesMut) -> Result<(), io::Error> {
        buffer.extend_from_slice(&[&reply, &b"\r\n"[..]].concat());
        Ok(())
    }
}

fn lines() -> Result<Delimited> {
    Ok(Delimited::new("\r\n")?.max(1000))
}

/// The address in `FROM:<Ada@example.com> SIZE=10`, in lower case.
fn address(argument: &str, keyword: &str) -> Option<String> {
    let (found, rest) = argument.split_once(':')?;
    let (address, _) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    (found.eq_ignore_ascii_case(keyword) && address.len() <= 254).then(|| address.to_ascii_lowercase())
}

impl Handler for Smtp {
    const NEEDS: Needs = Needs::Stream;
    type State = Session;

    async fn open(&self, _: &mut Context<Session>) -> Result<Reply> {
        Ok(Reply::send("220 mail.example.com ESMTP"))
    }

    async fn message(&self, cx: &mut Context<Session>, message: Bytes) -> Result<Reply> {
        let offers_tls = self.has_tls && cx.tls().is_none();
        if cx.state.sends_mail {
            cx.state = Session { hello: true, ..Session::default() };
            cx.set_frame_timeout(Duration::from_secs(30));
            return Ok(Reply::send(format!("250 2.0.0 {} bytes accepted", message.len())).then_framing(lines()?));
        }
        let line = String::from_utf8_lossy(&message);
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let session = &mut cx.state;
        Ok(Reply::send(match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if argument.is_empty() => "501 5.5.4 send your name",
            verb @ ("EHLO" | "HELO") => {
                *session = Session { hello: true, ..Session::default() };
                match (verb, offers_tls) {
                    ("HELO", _) => "250 mail.example.com",
                    (_, true) => "250-mail.example.com\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 SIZE 10485760",
                    (_, false) => "250-mail.example.com\r\n250-PIPELINING\r\n250 SIZE 10485760",
                }
            }
            "STARTTLS" if offers_tls => return Ok(Reply::send("220 2.0.0 ready for TLS").then_tls()),
            "NOOP" => "250 2.0.0 ok",
            "RSET" => {
                *session = Session { hello: session.hello, ..Session::default() };
                "250 2.0.0 ok"
            }
            "QUIT" => return Ok(Reply::send("221 2.0.0 goodbye").then_finish()),
            "MAIL" | "RCPT" | "DATA" if !session.hello => "503 5.5.1 send EHLO first",
            "MAIL" if session.sender.is_some() => "503 5.5.1 the sender is known",
            "MAIL" => {
                session.sender = address(argument, "FROM");
                session.sender.as_ref().map_or("501 5.5.4 syntax: MAIL FROM:<address>", |_| "250 2.1.0 ok")
            }
            "RCPT" if session.sender.is_none() => "503 5.5.1 send MAIL first",
            "RCPT" if session.recipients.len() >= 100 => "452 4.5.3 too many recipients",
            "RCPT" => match address(argument, "TO") {
                None => "501 5.5.4 syntax: RCPT TO:<address>",
                Some(to) if to != "postmaster" && !to.ends_with("@example.com") => "550 5.7.1 no relaying",
                Some(recipient) => {
                    session.recipients.push(recipient);
                    "250 2.1.5 ok"
                }
            },
            "DATA" if session.recipients.is_empty() => "503 5.5.1 send RCPT first",
            "DATA" => {
                session.sends_mail = true;
                cx.set_frame_timeout(Duration::from_secs(600)); // a mail can take longer than a command
                let text = framing::custom(|_| MailText(0)).max(10 << 20);
                return Ok(Reply::send("354 end with a dot on its own line").then_framing(text));
            }
            _ => "500 5.5.2 unknown command",
        }))
    }

    fn closing(&self, cx: &mut Context<Session>, reason: CloseReason) -> Option<Bytes> {
        Some(Bytes::from_static(match reason {
            CloseReason::FrameTooLarge if cx.state.sends_mail => b"552 5.3.4 the mail is too large",
            CloseReason::FrameTooLarge => b"500 5.5.2 the line is too long",
            CloseReason::Idle | CloseReason::FrameTimeout => b"421 4.4.2 timeout",
            _ => b"421 4.3.2 closing",
        }))
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let server = Server::bind(args.first().map_or("tcp://127.0.0.1:9999", |arg| arg)).framing(lines()?);
    let Some([certificate, key]) = args.get(1..3) else { return Ok(server.run(Smtp { has_tls: false }).await) };
    let tls = TlsSettings::new(certificate, key).start(TlsStart::OnRequest);
    Ok(server.tls(tls).run(Smtp { has_tls: true }).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::{Random, conformance};

    const COMMANDS: [&str; 6] = [
        "EHLO me\r\n",
        "MAIL FROM:<ada@example.com>\r\n",
        "RCPT TO:<bob@example.com>\r\n",
        "DATA\r\n",
        "Subject: hi\r\n\r\nhello\r\n.\r\n",
        "QUIT\r\n",
    ];

    #[test]
    fn smtp_keeps_the_laws() {
        let framing = lines().unwrap_or_else(|error| panic!("{error}"));
        // Commands in another order would read the mail as commands.
        let begin =
            |random: &mut Random| COMMANDS[..=random.below(COMMANDS.len())].iter().map(|one| (*one).into()).collect();
        conformance(|| Smtp { has_tls: false }).framing(framing).encoded(COMMANDS).generate(begin).cases(60).check();
    }
}
