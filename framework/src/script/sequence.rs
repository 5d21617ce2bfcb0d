//! Which steps are possible in which order.

use std::collections::HashMap;

use crate::script::model::Action;

/// The state of the connection of each peer.
#[derive(Debug, Default)]
pub(super) struct Sequence(HashMap<usize, State>);

/// Each field is the number of the line that caused it.
#[derive(Debug, Default)]
struct State {
    opened: Option<usize>,
    client_ended: Option<usize>,
    server_ended: Option<usize>,
    paused: Option<usize>,
    closed: Option<usize>,
    /// The close reason is known.
    has_reason: bool,
}

impl Sequence {
    /// Checks a step, and changes the state. The error is a sentence.
    pub(super) fn check(
        &mut self,
        peer: usize,
        name: Option<&str>,
        action: &Action,
        line: usize,
    ) -> Result<(), String> {
        let peer = self.0.entry(peer).or_default();
        let client = name.unwrap_or("the client");
        let is_reason = matches!(action, Action::ExpectClosed(Some(_)));
        match (peer.opened, peer.closed, action) {
            (Some(opened), None, Action::Open) => {
                return Err(format!("{client} is connected since line {opened}; close the connection first"));
            }
            (_, Some(_), Action::Open) => *peer = State::default(),
            (_, Some(_), _) if is_reason && !peer.has_reason => {
                peer.has_reason = true;
                return Ok(());
            }
            (_, Some(closed), _) => {
                return Err(format!("the connection is closed since line {closed}; > open connects again"));
            }
            _ => {}
        }
        peer.opened.get_or_insert(line);
        peer.possible(action, client)?;
        match action {
            Action::HalfClose => peer.client_ended = Some(line),
            Action::Pause => peer.paused = Some(line),
            Action::Resume => peer.paused = None,
            Action::ExpectEnd => peer.server_ended = Some(line),
            Action::Close | Action::Reset | Action::ExpectReset | Action::ExpectClosed(_) => {
                (peer.closed, peer.has_reason) = (Some(line), is_reason);
            }
            Action::Open | Action::Send(_) | Action::Expect(_) | Action::ExpectNothing(_) => {}
        }
        Ok(())
    }
}

impl State {
    /// Whether an open connection allows the step.
    fn possible(&self, action: &Action, client: &str) -> Result<(), String> {
        match (action, self) {
            (Action::Send(_) | Action::HalfClose, Self { client_ended: Some(ended), .. }) => {
                Err(format!("{client} has ended its output in line {ended} and sends nothing more"))
            }
            (
                Action::Expect(_) | Action::ExpectEnd | Action::ExpectReset | Action::ExpectNothing(_),
                Self { server_ended: Some(ended), .. },
            ) => Err(format!("the server has ended its output in line {ended} and sends nothing more")),
            (
                Action::Expect(_)
                | Action::ExpectEnd
                | Action::ExpectReset
                | Action::ExpectClosed(_)
                | Action::ExpectNothing(_)
                | Action::Pause,
                Self { paused: Some(paused), .. },
            ) => Err(format!("{client} does not read since line {paused}; > resume reads again")),
            (Action::Resume, Self { paused: None, .. }) => Err(format!("{client} reads; only > pause stops it")),
            _ => Ok(()),
        }
    }
}
