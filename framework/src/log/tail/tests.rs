//! The tail is bounded, plain and can be read in parts.

use super::*;

#[test]
fn only_the_last_lines_are_kept() {
    let tail = LogTail::default();
    for number in 1..=LOG_TAIL + 50 {
        tail.add(format!("line {number}\n").as_bytes());
    }
    let (count, lines) = tail.after(0);
    assert_eq!((count, lines.len()), (LOG_TAIL as u64 + 50, LOG_TAIL));
    assert_eq!((&*lines[0], lines.last().map(String::as_str)), ("line 51", Some("line 250")));
    assert_eq!(tail.after(248), (250, vec!["line 249".to_owned(), "line 250".to_owned()]));
    assert_eq!(tail.after(250), (250, Vec::new()));
    assert_eq!(tail.after(u64::MAX), (250, Vec::new()));
}

#[test]
fn lines_are_short_and_without_colors_and_priorities() {
    let tail = LogTail::default();
    tail.add(b"<6>{\"level\":\"INFO\"}\n<7x\n");
    assert_eq!(tail.after(0).1, ["{\"level\":\"INFO\"}", "<7x"]);
    tail.add(b"\x1b[2m12:00\x1b[0m \x1b[32mINFO\x1b[0m listening\n");
    tail.add(format!("{}\n", "\u{e9}".repeat(MAX_LINE)).as_bytes());
    let (_, lines) = tail.after(0);
    assert_eq!(lines[2], "12:00 INFO listening");
    assert_eq!(lines[3].len(), MAX_LINE);
}
