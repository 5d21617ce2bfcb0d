//! Follows the prompt of the line editor. Ctrl-C in a search of the history (Ctrl-R) ends only the search, as in a
//! shell; its default is to end the input.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, KeyEvent, RepeatCount,
};

pub(super) type LineEditor = Editor<PromptState, FileHistory>;

#[derive(Debug, Clone)]
pub(super) struct PromptState {
    /// Whether a search is in progress. Its prompt is not the default prompt.
    is_search: Arc<AtomicBool>,
    /// Receives a value when the prompt is shown.
    shown: SyncSender<()>,
}

/// Binds Ctrl-C. The receiver gets a value when the first prompt is shown.
pub(super) fn bind(editor: &mut LineEditor) -> Receiver<()> {
    let (shown, is_shown) = sync_channel(1);
    let state = PromptState { is_search: Arc::default(), shown };
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(state.clone())));
    editor.set_helper(Some(state));
    is_shown
}

impl Highlighter for PromptState {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        self.is_search.store(!default, Relaxed);
        let _ = self.shown.try_send(()); // only the first one matters
        Cow::Borrowed(prompt)
    }
}

impl ConditionalEventHandler for PromptState {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.is_search.load(Relaxed).then_some(Cmd::Abort)
    }
}

impl Completer for PromptState {
    type Candidate = String;
}
impl Hinter for PromptState {
    type Hint = String;
}
impl Validator for PromptState {}
impl Helper for PromptState {}
