//! The example `dns`, with dig.

mod messages;

use harness::{Program, tool};

use super::{run, serve, stop};

/// The output of dig without runs of white space, or `None` if dig is not installed.
fn dig(at: &str, args: &str) -> Option<String> {
    let (host, port) = at.split_once(':').unwrap();
    // Without the options of the user, and with a time limit below the one of the harness.
    let program = Program::at(&tool("dig")?).args(["-r", &format!("@{host}"), "-p", port, "+time=20", "+tries=2"]);
    let output = run(program.arg("+norecurse").args(args.split(' ')), "");
    let lines = output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn dig_receives_the_same_answers_over_udp_and_tcp() {
    const SOA: &str = "SOA ns1.example.com. hostmaster.example.com. 2026010101 7200 3600 1209600 300";
    let negative = format!("example.com. 300 IN {SOA}");
    let alias = "www.example.com. 3600 IN CNAME example.com.\nexample.com. 3600 IN A 192.0.2.80";
    let aliases = format!("alias.example.com. 3600 IN CNAME www.example.com.\n{alias}");
    let dangling = format!("dangling.example.com. 3600 IN CNAME nowhere.example.com.\n\n{negative}");
    let (server, at) = serve("dns");
    for (question, status, flags, answer) in [
        ("example.com A", "NOERROR", "qr aa", "example.com. 3600 IN A 192.0.2.80"),
        ("EXAMPLE.com AAAA", "NOERROR", "qr aa", "EXAMPLE.com. 3600 IN AAAA 2001:db8::80"),
        ("example.com MX", "NOERROR", "qr aa", "example.com. 3600 IN MX 10 mail.example.com."),
        ("example.com TXT", "NOERROR", "qr aa", "example.com. 3600 IN TXT \"v=spf1 mx -all\""),
        ("example.com SOA", "NOERROR", "qr aa", &format!("example.com. 3600 IN {SOA}")),
        ("example.com NS +norec", "NOERROR", "qr aa", "example.com. 3600 IN NS ns1.example.com."),
        ("example.com A +recurse", "NOERROR", "qr aa rd", "example.com. 3600 IN A 192.0.2.80"),
        ("_dns._tcp.example.com SRV", "NOERROR", "qr aa", "3600 IN SRV 0 0 53 ns1.example.com."),
        ("www.example.com A", "NOERROR", "qr aa", alias),
        ("alias.example.com A", "NOERROR", "qr aa", &aliases),
        ("www.example.com CNAME", "NOERROR", "qr aa", "www.example.com. 3600 IN CNAME example.com."),
        ("www.example.com ANY +notcp", "NOERROR", "qr aa", "www.example.com. 3600 IN CNAME example.com."),
        ("elsewhere.example.com A", "NOERROR", "qr aa", "3600 IN CNAME www.example.net."),
        ("ping.example.com A", "NOERROR", "qr aa", "pong.example.com. 3600 IN CNAME ping.example.com."),
        ("dangling.example.com A", "NXDOMAIN", "qr aa", &dangling),
        ("www.example.com SRV", "NOERROR", "qr aa", &negative),
        ("mail.example.com AAAA", "NOERROR", "qr aa", &negative),
        ("_tcp.example.com A", "NOERROR", "qr aa", &negative), // there is a name below it
        ("tcp.example.com A", "NXDOMAIN", "qr aa", &negative),
        ("a.mail.example.com A", "NXDOMAIN", "qr aa", &negative),
        ("example.org A", "REFUSED", "qr", ""),
        ("notexample.com A", "REFUSED", "qr", ""),
        ("com A", "REFUSED", "qr", ""),
        (". NS", "REFUSED", "qr", ""),
        ("version.bind TXT -c CH", "REFUSED", "qr", ""),
        ("example.com TXT -c CH", "REFUSED", "qr", ""),
        ("www.example.com A +opcode=1", "NOTIMP", "qr", ""),
        ("www.example.com A +opcode=2", "NOTIMP", "qr", ""),
        ("www.example.com SOA +opcode=notify", "NOTIMP", "qr", ""),
        ("example.com SOA +opcode=update", "NOTIMP", "qr", ""),
        ("example.com A +opcode=15", "NOTIMP", "qr", ""),
        ("example.com A +edns=1 +noednsnegotiation", "BADVERS", "qr", ""),
        ("example.org A +edns=255 +noednsnegotiation", "BADVERS", "qr", ""),
        ("+header-only", "FORMERR", "qr", ""),
    ] {
        for transport in ["+notcp", "+tcp"] {
            let args = format!("{question} {transport}");
            let Some(output) = dig(&at, &args) else { return };
            assert!(output.contains(&format!("status: {status}, ")), "{args}\n{output}");
            assert!(output.contains(&format!("flags: {flags};")), "{args}\n{output}");
            let without_titles = output.replace(";; AUTHORITY SECTION:\n", "");
            assert!(without_titles.contains(&format!("{answer}\n")), "{args}\n{output}");
            let records = output.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).count();
            assert_eq!(records > 0, !answer.is_empty(), "{args}\n{output}");
        }
    }
    stop(server);
}

#[test]
fn dig_receives_an_opt_record_if_it_sends_one() {
    const OPT: &str = "; EDNS: version: 0, flags:; udp: 1232";
    let (server, at) = serve("dns");
    for (args, expected) in [
        ("example.com A", Some(OPT)),
        ("example.com A +dnssec", Some("; EDNS: version: 0, flags: do; udp: 1232")),
        ("example.com A +bufsize=0", Some(OPT)),
        ("example.com A +nsid +subnet=192.0.2.0/24 +ednsopt=65001:ff", Some(OPT)),
        ("example.org A", Some(OPT)),
        ("nothing.example.com A", Some(OPT)),
        ("many.example.com A +ignore", Some(OPT)),
        ("example.com A +opcode=2", Some(OPT)),
        ("example.com A +edns=1 +noednsnegotiation", Some(OPT)),
        ("example.com A +noedns", None),
        ("many.example.com A +ignore +noedns", None),
    ] {
        let Some(output) = dig(&at, args) else { return };
        assert_eq!(output.lines().find(|line| line.contains("EDNS:")), expected, "{args}\n{output}");
    }
    let output = dig(&at, "example.com A +edns=1").unwrap();
    assert!(output.contains(";; BADVERS, retrying with EDNS version 0.") && output.contains("NOERROR"), "{output}");
    stop(server);
}

#[test]
fn dig_repeats_a_truncated_question_over_tcp() {
    const RETRY: &str = ";; Truncated, retrying in TCP mode.";
    let (server, at) = serve("dns");
    for (args, retries, is_truncated, answers) in [
        ("many.example.com", true, false, 100),
        ("many.example.com +noedns", true, false, 100),
        ("many.example.com +tcp", false, false, 100),
        ("many.example.com +ignore", false, true, 0),
        ("many.example.com +ignore +noedns", false, true, 0),
        ("many.example.com +ignore +bufsize=4096 +padding=512", false, true, 0),
        ("several.example.com", true, false, 50),
        ("several.example.com +bufsize=1232", true, false, 50),
        ("several.example.com +bufsize=1232 +padding=400", false, false, 50),
        ("several.example.com +bufsize=512 +padding=400", true, false, 50),
        ("several.example.com +bufsize=512 +padding=400 +ignore", false, true, 0),
    ] {
        let Some(output) = dig(&at, args) else { return };
        let flags = if is_truncated { ";; flags: qr aa tc; " } else { ";; flags: qr aa; " };
        assert!(output.contains(flags), "{args}\n{output}");
        assert_eq!(output.contains(RETRY), retries, "{args}\n{output}");
        assert_eq!(output.matches(" IN A 198.51.100.").count(), answers, "{args}\n{output}");
    }
    let questions = ["many.example.com A", "example.org A", "www.example.com A"].repeat(20).join(" ");
    let output = dig(&at, &format!("+tcp +keepopen {questions}")).unwrap();
    let counts = [" IN A 198.51.100.", "status: REFUSED", " IN A 192.0.2.80"].map(|text| output.matches(text).count());
    assert_eq!(counts, [2000, 20, 20], "{output}");
    stop(server);
}
