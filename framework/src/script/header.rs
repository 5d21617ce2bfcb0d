//! The version, and the settings above the first step.

use crate::script::data::Data;
use crate::script::error::Problem;
use crate::script::literal::{Budget, decode};
use crate::script::model::Script;
use crate::script::token::{Token, TokenKind, no_more, tokens};
use crate::script::{MAX_PEERS, VERSION};
use crate::settings::text::quoted;

/// The words that begin a setting.
pub(super) const SETTINGS: [&str; 3] = ["framing", "peer", "info"];

/// The longest name of a peer or fact.
const MAX_NAME: usize = 64;

/// Checks the first line.
pub(super) fn version(line: &str) -> Result<(), Problem> {
    let missing = || {
        let what = format!("this is not a conversation script; its first line must be: switchboard script {VERSION}");
        Problem::new(0..line.len(), what)
    };
    if line.starts_with('\u{feff}') {
        return Err(Problem::new(0..3, "the file begins with a byte order mark; save it as UTF-8 without it"));
    }
    let tokens = tokens(line, 0).map_err(|_| missing())?;
    let words: Vec<&str> = tokens.iter().map(|token| &line[token.span.clone()]).collect();
    let ["switchboard", "script", found] = words[..] else { return Err(missing()) };
    let problem = |what| Problem::new(tokens[2].span.clone(), what);
    match found.parse::<u64>() {
        Ok(known) if known == u64::from(VERSION) => Ok(()),
        Ok(newer @ 1..) => Err(problem(format!(
            "the script has version {newer}, and this program reads version {VERSION}; use a newer switchboard"
        ))),
        _ => Err(problem(format!("{} is not a version; this program reads version {VERSION}", quoted(found)))),
    }
}

/// Reads a setting into the script.
pub(super) fn setting(
    script: &mut Script,
    keyword: &Token,
    rest: &[Token],
    text: &str,
    budget: &mut Budget,
) -> Result<(), Problem> {
    let word = |token: &Token| &text[token.span.clone()];
    let missing = |what| Problem::new(keyword.span.clone(), what);
    match word(keyword) {
        "framing" => {
            let (Some(first), Some(last)) = (rest.first(), rest.last()) else {
                return Err(missing("the framing is missing; write it like: framing lines"));
            };
            if script.framing.is_some() {
                return Err(missing("the script has another framing already; remove one of both lines"));
            }
            script.framing = Some(text[first.span.start..last.span.end].to_owned());
            Ok(())
        }
        "peer" => {
            let [first, more @ ..] = rest else {
                return Err(missing("the name of the peer is missing; write it like: peer alice"));
            };
            let peer = name(first, text)?;
            no_more(more, text)?;
            if script.peers.contains(&peer) {
                return Err(Problem::new(first.span.clone(), format!("the peer {peer} is declared already")));
            }
            if script.peers.len() == MAX_PEERS {
                let what = format!("a script can have at most {MAX_PEERS} peers");
                return Err(Problem::new(first.span.clone(), what));
            }
            script.peers.push(peer);
            Ok(())
        }
        _ => {
            let [first, value, more @ ..] = rest else {
                return Err(missing("info needs a name and a text; write it like: info handler \"hello\""));
            };
            let fact = name(first, text)?;
            no_more(more, text)?;
            let mut data = Data::new();
            if value.kind != TokenKind::Quoted {
                let what = format!("{} is not a text; write it in quotes", quoted(word(value)));
                return Err(Problem::new(value.span.clone(), what));
            }
            decode(value, text, &mut data, budget)?;
            let value_text = data.to_bytes().and_then(|bytes| String::from_utf8(bytes).ok());
            let value_text = value_text.ok_or_else(|| Problem::new(value.span.clone(), "the text is not UTF-8"))?;
            script.info.push((fact, value_text));
            Ok(())
        }
    }
}

fn name(token: &Token, text: &str) -> Result<String, Problem> {
    let name = &text[token.span.clone()];
    let is_valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if is_valid {
        return Ok(name.to_owned());
    }
    let what = format!(
        "{} is not a name; it begins with a letter a to z, and has at most {MAX_NAME} letters, digits, _ and -",
        quoted(name)
    );
    Err(Problem::new(token.span.clone(), what))
}
