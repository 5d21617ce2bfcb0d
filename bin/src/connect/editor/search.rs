//! Ctrl-C in a search of the history (Ctrl-R) ends only the search, as in a shell. Its default is to end the input.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, KeyEvent, RepeatCount,
};

pub(super) type LineEditor = Editor<SearchState, FileHistory>;

/// Whether a search is in progress. Its prompt is not the default prompt.
#[derive(Debug, Clone, Default)]
pub(super) struct SearchState(Arc<AtomicBool>);

/// Binds Ctrl-C.
pub(super) fn bind(editor: &mut LineEditor) {
    let state = SearchState::default();
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(state.clone())));
    editor.set_helper(Some(state));
}

impl Highlighter for SearchState {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        self.0.store(!default, Relaxed);
        Cow::Borrowed(prompt)
    }
}

impl ConditionalEventHandler for SearchState {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.load(Relaxed).then_some(Cmd::Abort)
    }
}

impl Completer for SearchState {
    type Candidate = String;
}
impl Hinter for SearchState {
    type Hint = String;
}
impl Validator for SearchState {}
impl Helper for SearchState {}
