//! Tests of `script`.

use std::time::Duration;

use super::*;
use crate::close_reason::CloseReason;

fn read(body: &str) -> Script {
    let text = format!("switchboard script 1\n{body}");
    text.parse().unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// The printed script must be the same script, and the same text when it is printed again.
fn round_trip(script: &Script) -> String {
    let text = script.to_string();
    let read: Script = text.parse().unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
    assert_eq!(&read, script, "{text}");
    assert_eq!(read.to_string(), text);
    text
}

fn sends(data: impl Into<Data>) -> Script {
    Script { steps: vec![Step::Peer(0, Action::Send(data.into()))], ..Script::default() }
}

/// The first error of a script with this body.
fn error(body: &str) -> String {
    let text = format!("switchboard script 1\n{body}");
    let errors = text.parse::<Script>().expect_err(&text);
    errors.iter().next().unwrap().to_string()
}

#[test]
fn every_sequence_of_bytes_survives_a_round_trip() {
    round_trip(&sends(b""));
    for one in 0..=255 {
        round_trip(&sends([one]));
        round_trip(&sends([one; 100]));
        let pairs = (0..=255).flat_map(|two| [vec![one, two], vec![b'a', b'b', b'c', one, two, b'"', b'#']]);
        let steps = pairs.map(|bytes| Step::Peer(0, Action::Send(bytes.into()))).collect();
        round_trip(&Script { steps, ..Script::default() });
    }
    // A linear congruential generator (Knuth, MMIX), so that each run tests the same bytes.
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    for alphabet in [2, 16, 256] {
        for _ in 0..300 {
            let mut data = Data::new();
            for _ in 0..next() % 5 {
                let bytes: Vec<u8> = (0..next() % 200).map(|_| (next() % alphabet + 100) as u8).collect();
                data.push(&bytes);
                data.push_unknown((next() % 3) as usize);
                data.push("Grüße, 世界\r\n".as_bytes());
            }
            round_trip(&sends(data));
        }
    }
}

#[test]
fn printed_data_are_readable() {
    let lines = |data: Data| round_trip(&sends(data)).lines().skip(1).collect::<Vec<_>>().join("|");
    assert_eq!(lines(b"a".into()), r#"> "a""#);
    assert_eq!(lines(b"say \"hi\"\t\\".into()), r#"> "say \"hi\"\t\\""#);
    assert_eq!(lines("Grüße".into()), r#"> "Grüße""#);
    assert_eq!(lines(b"\x00\x05hello".into()), r#"> 0005 "hello""#);
    assert_eq!(lines(b"\x00ab\xff".into()), "> 006162ff");
    assert_eq!(lines("a\u{202e}b\u{301}".into()), "> 61e280ae62cc81");
    assert_eq!(lines(b"GET / HTTP/1.0\r\n\r\n".into()), r#"> "GET / HTTP/1.0\r\n"|  "\r\n""#);
    assert_eq!(lines([&[b'a'; 40][..], &[0; 70_000]].concat().into()), r#"> "a"*40 00*70000"#);
    let mut data = Data::from(b"id=");
    data.push_unknown(4);
    data.push_unknown(4);
    data.push(b"\n.");
    assert_eq!(lines(data), r#"> "id=" *8 "\n"|  ".""#);
    let long = lines("word ".repeat(40).into());
    assert!(long.split('|').all(|line| line.len() <= 84) && long.contains('|'), "{long}");
}

#[test]
fn every_step_and_setting_survives_a_round_trip() {
    let text = r##"switchboard script 1
framing { type = "delimited", delimiter = "#" }
info handler "he\"llo\n\xc2\x85"
peer alice
peer b-2
alice > open
alice < "welcome!"
wait 1500ms
timeout 90s
b-2 > "two"
b-2 < nothing 250us
alice > pause
alice > resume
alice > end
alice < end
alice < closed peer_closed
alice > open
alice > reset
b-2 < closed
"##;
    let script: Script = text.parse().unwrap();
    assert_eq!(round_trip(&script), text);
    assert_eq!(script.framing.as_deref(), Some("{ type = \"delimited\", delimiter = \"#\" }"));
    assert_eq!(script.info, [("handler".to_owned(), "he\"llo\n\u{85}".to_owned())]);
    assert_eq!(script.peers, ["alice", "b-2"]);
    assert_eq!(script.steps[2], Step::Wait(Duration::from_millis(1500)));
    let reason = Action::ExpectClosed(Some(CloseReason::PeerClosed));
    assert!(script.steps.contains(&Step::Peer(0, reason)));
}

#[test]
fn data_can_be_written_in_several_ways() {
    let forms = [
        "> \"hello\"",
        ">\"hello\"   # comment",
        "> 68656c6c6f",
        "> 68 65 \"l\"*2 6F\r",
        "> \"\\x68e\"\n  \"llo\"",
        "> \"he\"\n# comment\n\n\t6c\n  \"lo\"  # end",
    ];
    for form in forms {
        assert_eq!(read(form), read("> \"hello\"\n"), "{form}");
    }
    assert_eq!(read("> \"#\" # \"").steps, sends(b"#").steps);
    assert_eq!(read("> \"\u{e9}\\xff\"").steps, sends(b"\xc3\xa9\xff").steps);
    assert_eq!(read("wait 1m 30s").steps, [Step::Wait(Duration::from_secs(90))]);
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    for (body, expected) in [
        ("> hello", "2:3: \"hello\" is not a step of a client"),
        ("> clsoe", "did you mean \"close\"?"),
        ("< clsed idle", "did you mean \"closed\"?"),
        ("< closed idel", "2:10: \"idel\" is not a close reason; did you mean \"idle\"?"),
        ("> \"a", "2:3: the text has no closing quote"),
        ("> \"a\\d\"", "2:5: \\d is not an escape"),
        ("> \"\\x1\"", "2:4: \\x needs two hexadecimal digits"),
        ("> \"\\x+1\"", "2:4: \\x needs two hexadecimal digits"),
        ("> 123", "2:3: \"123\" has an odd number of digits"),
        ("> 12 zz", "2:6: \"zz\" is not data"),
        ("> 0g", "2:3: \"0g\" is not hexadecimal"),
        ("> \"a\"*0", "2:7: \"0\" is not a number from 1 on"),
        ("> \"a\"*", "is not a number from 1 on"),
        ("> *99999999", "one item can have at most 16 MiB"),
        ("> \"a\"*99999999", "the data of the script are larger than 64 MiB"),
        ("> \"a\"*99999999999999999999999", "is not a number from 1 on"),
        (">", "2:1: there is no data"),
        ("\"hello\"", "2:1: a step begins with >"),
        ("sleep 1s", "2:1: \"sleep\" is unknown"),
        ("tiemout 1s", "did you mean \"timeout\"?"),
        ("wait", "2:1: the duration is missing"),
        ("wait soon", "2:6: \"soon\" is not a duration"),
        ("> end now", "2:7: \"now\" is not expected at the end of this line"),
        ("> end\n  \"a\"", "3:3: an indented line continues data"),
        ("  \"a\"", "2:3: an indented line continues data"),
        ("> \"a\"\nframing lines", "3:1: framing stands below a step"),
        ("framing lines\nframing raw", "3:1: the script has another framing"),
        ("peer Alice", "\"Alice\" is not a name"),
        ("peer a\npeer a", "the peer a is declared already"),
        ("alice > \"a\"", "2:1: \"alice\" is not a peer of the script; declare it"),
        ("peer alice\nalcie > \"a\"", "did you mean \"alice\"?"),
        ("peer alice\npeer bob\n> \"a\"", "4:1: the step names no peer; begin it with one of alice, bob"),
        ("info handler hello", "\"hello\" is not a text"),
        ("info handler \"\\xff\"", "the text is not UTF-8"),
        (
            "> \"a\u{202e}\"",
            "2:5: the control character U+202E is invisible; write it as an escape, such as \\xe2\\x80\\xae",
        ),
        ("> \"a\tb\"", "such as \\t"),
        ("# a\u{1b}[2J", "2:4: the comment has the control character U+001B"),
    ] {
        let error = error(body);
        assert!(error.contains(expected), "{body:?}: {error}");
    }
}

#[test]
fn the_first_line_is_checked_alone() {
    let error = |text: &str| {
        let errors = text.parse::<Script>().unwrap_err();
        assert_eq!(errors.iter().count(), 1, "{errors}");
        errors.to_string()
    };
    for text in ["", "\n", "GET / HTTP/1.1\nHost: x", "switchboard script", "switchboard script 1 2", "\"", "\u{1b}"] {
        assert!(error(text).contains("1:1: this is not a conversation script"), "{text:?}");
    }
    assert!(error("switchboard script 2\nnew").contains("1:20: the script has version 2, and this program reads"));
    assert!(error("switchboard script one\n").contains("\"one\" is not a version"));
    assert!(error("switchboard script 0\n").contains("\"0\" is not a version"));
    assert!(error("\u{feff}switchboard script 1\n").contains("byte order mark"));
    assert_eq!("switchboard script 1".parse(), Ok(Script::default()));
    assert_eq!("switchboard script 1 # c\r\n".parse(), Ok(Script::default()));
}

#[test]
fn an_impossible_order_of_steps_is_an_error() {
    for (body, expected) in [
        ("> end\n> \"a\"", "3:1: the client has ended its output in line 2"),
        ("> \"a\"\n> open", "the client is connected since line 2"),
        ("> close\n> \"a\"", "the connection is closed since line 2; > open connects again"),
        ("> close\n< closed", "the connection is closed since line 2"),
        ("> close\n< closed idle\n< closed idle", "4:1: the connection is closed since line 2"),
        ("< end\n< \"a\"", "the server has ended its output in line 2"),
        ("< reset\n< end", "the connection is closed since line 2"),
        ("> pause\n< \"a\"", "the client does not read since line 2"),
        ("> resume", "the client reads"),
        ("peer alice\nalice > end\nalice > \"a\"", "4:1: alice has ended its output in line 3"),
    ] {
        let error = error(body);
        assert!(error.contains(expected), "{body:?}: {error}");
    }
    for body in
        ["> end\n< \"a\"\n< end\n< closed idle", "> reset\n< closed io_error\n> open\n> \"a\"", "> close\n> open"]
    {
        read(body);
    }
}

#[test]
fn several_errors_are_reported_and_their_number_is_limited() {
    let errors = |body: &str| format!("switchboard script 1\n{body}").parse::<Script>().unwrap_err();
    let places: Vec<_> = errors("> a\n  \"b\"\n  x\nwait\n> \"c\"\n  0\n").iter().map(|e| (e.line, e.column)).collect();
    assert_eq!(places, [(2, 3), (4, 3), (5, 1), (7, 3)]);
    assert_eq!(errors(&"x\n".repeat(1000)).iter().count(), MAX_ERRORS);
    let peers: String = (0..=MAX_PEERS).map(|nth| format!("peer p{nth}\n")).collect();
    assert!(errors(&peers).to_string().contains("102:6: a script can have at most 100 peers"));
    assert!(errors(&format!("> \"{}\"\n", "a".repeat(MAX_LINE))).to_string().contains("longer than 64 KiB"));
    let large = format!("switchboard script 1\n{}", "#\n".repeat(MAX_TEXT / 2));
    assert!(large.parse::<Script>().unwrap_err().to_string().contains("larger than 16 MiB"));
}

#[test]
fn every_byte_has_a_place() {
    let text = "switchboard script 1\nwait 1s\n> \"a\\n\u{e9}\" 00ff  # c\r\n\n  \"xy\"*2 *3\n< end\n";
    let file = ScriptFile::parse(text).unwrap();
    let written = |byte| &text[file.byte_span(1, byte)];
    let expected = ["a", "\\n", "\u{e9}", "\u{e9}", "00", "ff", "x", "y", "x", "y", "*3", "*3", "*3", "", ""];
    assert_eq!(std::array::from_fn(written), expected);
    assert_eq!(&text[file.step_span(0)], "wait 1s");
    assert!(text[file.step_span(1)].ends_with("\"xy\"*2 *3"));
    assert_eq!(&text[file.step_span(2)], "< end");
    assert_eq!(file.byte_span(2, 0).start, file.step_span(2).end);
    let Step::Peer(0, Action::Send(data)) = &file.script().steps[1] else { panic!("{:?}", file.script()) };
    assert_eq!(data.len(), 13);
}

#[test]
fn received_bytes_are_compared_in_any_cut() {
    let mut data = Data::from(b"abc");
    data.push_unknown(2);
    data.push(b"def");
    let received = b"abc..dxf";
    for cut in 0..=received.len() {
        let (first, second) = received.split_at(cut);
        let found = data.first_difference(0, first).or_else(|| data.first_difference(cut, second));
        assert_eq!(found, Some(6), "{cut}");
    }
    assert_eq!(data.first_difference(0, b"abc??def and more"), None);
    assert_eq!(data.first_difference(8, b"more"), None);
    assert_eq!((data.to_bytes(), data.bytes().flatten().count()), (None, 6));
    assert_eq!((data.first_unknown(), Data::from(b"abc").first_unknown()), (Some(3), None));
}
