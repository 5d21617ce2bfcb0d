//! Tests of `config/source_text.rs`.

use super::*;

fn excerpt(text: &str, part: Range<usize>) -> (String, String) {
    let Excerpt { text, marked, .. } = SourceText::file(text.to_owned(), Vec::new()).excerpt(&part);
    (text.clone(), text[marked].to_owned())
}

#[test]
fn a_position_counts_lines_and_characters_from_one() {
    let text = SourceText::file("a\näö = 1\n".into(), Vec::new());
    assert_eq!([0, 2, 4, 6, 9].map(|at| text.position(at)), [(1, 1), (2, 1), (2, 2), (2, 3), (2, 6)]);
}

#[test]
fn a_part_is_shown_with_its_line() {
    assert_eq!(excerpt("a = 1\nb = 22\nc = 3\n", 10..12), ("b = 22".into(), "22".into()));
    assert_eq!(excerpt("b = 22\r\n", 4..6), ("b = 22".into(), "22".into()));
    // A part of several lines ends at the first one. An empty part at the end of a line marks its end.
    assert_eq!(excerpt("b = [\n 1\n]", 4..9), ("b = [".into(), "[".into()));
    assert_eq!(excerpt("b =\n", 3..3), ("b =".into(), "".into()));
    assert_eq!(excerpt("", 0..0), ("".into(), "".into()));
}

#[test]
fn control_characters_are_escaped() {
    let (line, marked) = excerpt("a = \"\u{1b}[31m\tx\u{202e}\"", 4..16);
    assert_eq!(line, "a = \"\\u{1b}[31m    x\\u{202e}\"");
    assert_eq!(marked, "\"\\u{1b}[31m    x\\u{202e}\"");
}

#[test]
fn a_long_line_is_cut_around_the_part() {
    let text = format!("{}\"x\"{}", "ä".repeat(1000), "b".repeat(1 << 20));
    let (line, marked) = excerpt(&text, 2000..2003);
    assert_eq!(marked, "\"x\"");
    assert!(line.starts_with("…ä") && line.ends_with("b…") && line.len() < 140, "{line}");
    let (line, marked) = excerpt(&text, 2000..1 << 20);
    assert!(line.ends_with("b…") && marked.starts_with("\"x\"b") && marked.len() < 80, "{marked}");
}

#[test]
fn a_hidden_part_is_never_shown_and_does_not_show_its_length() {
    for secret in ["s", "secret\nsecret", "ä-secret with blanks"] {
        let text = format!("token = {secret} # x\nb = 1");
        let range = 8..8 + secret.len();
        let shown = SourceText::file(text, vec![range.clone()]).excerpt(&range);
        assert!(shown.text.starts_with("token = ***") && !shown.text.contains("secret"), "{shown:?}");
        assert_eq!(&shown.text[shown.marked], "***");
    }
}

#[test]
fn a_variable_has_no_line_number_and_is_one_line() {
    let (text, mark) = SourceText::assignment("A", "=", "b\nc", false);
    let shown = text.excerpt(&mark.value.unwrap());
    assert_eq!((&*shown.text, &shown.text[shown.marked.clone()], shown.line), ("A=b\\nc", "b\\nc", None));
    let (text, mark) = SourceText::assignment("A", "=", "secret", true);
    assert_eq!(text.excerpt(&mark.key).text, "A=***");
    assert!(!format!("{text:?}").contains("secret"));
}
