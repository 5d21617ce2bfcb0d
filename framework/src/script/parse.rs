//! Reads a script from text, line by line.

use std::ops::Range;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::script::data::Data;
use crate::script::error::{ParseError, ParseErrors, Problem};
use crate::script::header;
use crate::script::literal::{Budget, decode, is_data};
use crate::script::model::{Action, Script, Step};
use crate::script::sequence::Sequence;
use crate::script::token::{Token, TokenKind, no_more, tokens};
use crate::script::{MAX_DATA, MAX_ERRORS, MAX_LINE, MAX_TEXT};
use crate::settings::Interval;
use crate::settings::text::{quoted, suggestion};

const CLIENT: [&str; 6] = ["open", "end", "close", "reset", "pause", "resume"];
const SERVER: [&str; 4] = ["end", "reset", "closed", "nothing"];

/// Reads a script, and where each of its steps is in the text.
pub(super) fn parse(text: &str) -> Result<(Script, Vec<Range<usize>>), ParseErrors> {
    let mut parser = Parser {
        text,
        script: Script::default(),
        spans: Vec::new(),
        sequence: Sequence::default(),
        budget: Budget(MAX_DATA),
        continued: Continued::Nothing,
    };
    let mut problems = Vec::new();
    let mut offset = 0;
    for (nth, whole) in text.split_inclusive('\n').enumerate() {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let read = match nth {
            0 if text.len() > MAX_TEXT => {
                Err(Problem::new(0..0, format!("the script is larger than {} MiB", MAX_TEXT >> 20)))
            }
            0 => header::version(line),
            _ => parser.line(line, offset, nth + 1),
        };
        if let Err(problem) = read {
            problems.push(problem);
            // Nothing is known about the rest of a file that is not a script.
            if nth == 0 || problems.len() == MAX_ERRORS {
                break;
            }
        }
        offset += whole.len();
    }
    if text.is_empty() {
        problems.extend(header::version("").err());
    }
    if problems.is_empty() {
        return Ok((parser.script, parser.spans));
    }
    Err(ParseErrors(problems.into_iter().map(|problem| located(problem, text)).collect()))
}

fn located(Problem { span, message }: Problem, text: &str) -> ParseError {
    let before = text.get(..span.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    ParseError { line, column: before[start..].chars().count() + 1, span, message }
}

struct Parser<'a> {
    text: &'a str,
    script: Script,
    spans: Vec<Range<usize>>,
    sequence: Sequence,
    budget: Budget,
    continued: Continued,
}

/// What an indented line continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continued {
    Nothing,
    LastStep,
    /// The data of a step that is invalid.
    InvalidStep,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: &str, offset: usize, number: usize) -> Result<(), Problem> {
        let is_indented = line.starts_with([' ', '\t']);
        if line.len() > MAX_LINE {
            self.continued = Continued::InvalidStep;
            let what = format!("the line is longer than {} KiB; continue data in an indented line", MAX_LINE >> 10);
            return Err(Problem::new(offset..offset, what));
        }
        let tokens = tokens(line, offset).inspect_err(|_| self.continued = Continued::InvalidStep)?;
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Ok(()) };
        let span = first.span.start..last.span.end;
        if is_indented {
            return self.continuation(&tokens, span);
        }
        self.continued = Continued::InvalidStep;
        let step = self.unindented(&tokens, number)?;
        self.continued = Continued::Nothing;
        if let Some(step) = step {
            if matches!(step, Step::Peer(_, Action::Send(_) | Action::Expect(_))) {
                self.continued = Continued::LastStep;
            }
            self.script.steps.push(step);
            self.spans.push(span);
        }
        Ok(())
    }

    /// More data of the last step.
    fn continuation(&mut self, tokens: &[Token], span: Range<usize>) -> Result<(), Problem> {
        let mut ignored = Data::new();
        let data = match (self.continued, self.script.steps.last_mut()) {
            (Continued::InvalidStep, _) => &mut ignored,
            (Continued::LastStep, Some(Step::Peer(_, Action::Send(data) | Action::Expect(data)))) => data,
            _ => {
                let what = "an indented line continues data, and the line above has none; a step begins in the first \
                            column";
                return Err(Problem::new(span, what));
            }
        };
        for token in tokens {
            decode(token, self.text, data, &mut self.budget)?;
        }
        if let (Continued::LastStep, Some(last)) = (self.continued, self.spans.last_mut()) {
            last.end = span.end;
        }
        Ok(())
    }

    /// A setting, or a step.
    fn unindented(&mut self, tokens: &[Token], number: usize) -> Result<Option<Step>, Problem> {
        let has_peer = matches!(tokens, [Token { kind: TokenKind::Word, .. }, second, ..] if second.is_direction());
        let (name, step) = if has_peer { (Some(&tokens[0]), &tokens[1..]) } else { (None, tokens) };
        let (first, rest) = (&step[0], &step[1..]);
        let action = match first.kind {
            TokenKind::Client => self.client(first, rest)?,
            TokenKind::Server => self.server(first, rest)?,
            TokenKind::Word | TokenKind::Quoted => return self.other(first, rest),
        };
        let peer = self.peer(name, first)?;
        let peer_name = name.map(|token| self.word(token));
        let checked = self.sequence.check(peer, peer_name, &action, number);
        checked.map_err(|message| Problem::new(tokens[0].span.start..tokens[tokens.len() - 1].span.end, message))?;
        Ok(Some(Step::Peer(peer, action)))
    }

    /// The index of a peer.
    fn peer(&self, name: Option<&Token>, direction: &Token) -> Result<usize, Problem> {
        let peers = &self.script.peers;
        let Some(token) = name else {
            if peers.is_empty() {
                return Ok(0);
            }
            let names = peers.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
            let what = format!("the step names no peer; begin it with one of {names}");
            return Err(Problem::new(direction.span.clone(), what));
        };
        let name = self.word(token);
        peers.iter().position(|peer| peer == name).ok_or_else(|| {
            let near = suggestion(name, peers.iter().map(String::as_str));
            let advice = if near.is_empty() { "; declare it above the first step: peer NAME" } else { &near };
            Problem::new(token.span.clone(), format!("{} is not a peer of the script{advice}", quoted(name)))
        })
    }

    fn client(&mut self, direction: &Token, rest: &[Token]) -> Result<Action, Problem> {
        if let Some(data) = self.data(direction, rest, "a step of a client", &CLIENT)? {
            return Ok(Action::Send(data));
        }
        let action = match self.word(&rest[0]) {
            "open" => Action::Open,
            "end" => Action::HalfClose,
            "close" => Action::Close,
            "reset" => Action::Reset,
            "pause" => Action::Pause,
            _ => Action::Resume,
        };
        no_more(&rest[1..], self.text).map(|()| action)
    }

    fn server(&mut self, direction: &Token, rest: &[Token]) -> Result<Action, Problem> {
        if let Some(data) = self.data(direction, rest, "a step of the server", &SERVER)? {
            return Ok(Action::Expect(data));
        }
        match (self.word(&rest[0]), &rest[1..]) {
            ("nothing", duration) => self.duration(&rest[0], duration).map(Action::ExpectNothing),
            ("closed", [reason, more @ ..]) => {
                let reason = self.reason(reason)?;
                no_more(more, self.text).map(|()| Action::ExpectClosed(Some(reason)))
            }
            (word, more) => no_more(more, self.text).map(|()| match word {
                "end" => Action::ExpectEnd,
                "reset" => Action::ExpectReset,
                _ => Action::ExpectClosed(None),
            }),
        }
    }

    /// The data behind `>` or `<`; `None` if there is one of the known words instead.
    fn data(&mut self, at: &Token, rest: &[Token], what: &str, known: &[&str]) -> Result<Option<Data>, Problem> {
        let Some(first) = rest.first() else {
            let what = format!("there is no data; write text in quotes, hexadecimal, or one of {}", known.join(", "));
            return Err(Problem::new(at.span.clone(), what));
        };
        let word = self.word(first);
        if first.kind == TokenKind::Word && !is_data(word) {
            if known.contains(&word) {
                return Ok(None);
            }
            let near = suggestion(word, known.iter().copied());
            let advice = if near.is_empty() { "; write text in quotes" } else { &near };
            let what = format!("{} is not {what}{advice}", quoted(word));
            return Err(Problem::new(first.span.clone(), what));
        }
        let mut data = Data::new();
        for token in rest {
            decode(token, self.text, &mut data, &mut self.budget)?;
        }
        Ok(Some(data))
    }

    /// A line without a direction.
    fn other(&mut self, first: &Token, rest: &[Token]) -> Result<Option<Step>, Problem> {
        match self.word(first) {
            "wait" => Ok(Some(Step::Wait(self.duration(first, rest)?))),
            "timeout" => Ok(Some(Step::Timeout(self.duration(first, rest)?))),
            word if header::SETTINGS.contains(&word) => {
                if !self.script.steps.is_empty() {
                    let what = format!("{word} stands below a step; move it above the first step");
                    return Err(Problem::new(first.span.clone(), what));
                }
                header::setting(&mut self.script, first, rest, self.text, &mut self.budget).map(|()| None)
            }
            _ if first.kind == TokenKind::Quoted || is_data(self.word(first)) => {
                let what = "a step begins with > (the client sends) or < (the server sends)";
                Err(Problem::new(first.span.clone(), what))
            }
            word => {
                let near = suggestion(word, ["wait", "timeout"].into_iter().chain(header::SETTINGS));
                let advice = "; a line begins with >, <, wait, timeout, framing, peer or info";
                let advice = if near.is_empty() { advice } else { &near };
                Err(Problem::new(first.span.clone(), format!("{} is unknown{advice}", quoted(word))))
            }
        }
    }

    fn duration(&self, keyword: &Token, rest: &[Token]) -> Result<Duration, Problem> {
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else {
            return Err(Problem::new(keyword.span.clone(), "the duration is missing; write it like 500ms or 30s"));
        };
        let span = first.span.start..last.span.end;
        let duration = self.text[span.clone()].parse::<Interval>();
        duration.map(|duration| *duration).map_err(|error| Problem::new(span, error.to_string()))
    }

    fn reason(&self, token: &Token) -> Result<CloseReason, Problem> {
        let name = self.word(token);
        CloseReason::ALL.into_iter().find(|reason| reason.as_str() == name).ok_or_else(|| {
            let near = suggestion(name, CloseReason::ALL.into_iter().map(CloseReason::as_str));
            Problem::new(token.span.clone(), format!("{} is not a close reason{near}", quoted(name)))
        })
    }

    fn word(&self, token: &Token) -> &'a str {
        &self.text[token.span.clone()]
    }
}
