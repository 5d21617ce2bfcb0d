//! Removes steps of a script as long as the handler fails in the same way (delta debugging, Zeller and Hildebrandt).

use super::options::Replay;
use super::outcome::ReplayFailure;
use crate::error::Result;
use crate::registry::HandlerInstance;
use crate::script::{Action, Script, Step};

/// Maximum number of runs.
const MAX_RUNS: usize = 2_000;

impl Replay<'_> {
    /// The shortest script whose last message makes the handler fail in the same way. `handler` creates the handler of
    /// each run. `None` if the handler does not fail.
    ///
    /// Replies are not compared, because they can depend on the messages that are left out. Where a reply differs and
    /// the handler does not fail, the script ends with that reply.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), or the handler cannot be created.
    pub async fn minimise(&self, handler: impl FnMut() -> Result<HandlerInstance>) -> Result<Option<Script>> {
        minimise(self, handler).await
    }
}

async fn minimise(replay: &Replay<'_>, mut handler: impl FnMut() -> Result<HandlerInstance>) -> Result<Option<Script>> {
    let Some(failure) = replay.run(&handler()?).await?.failure else { return Ok(None) };
    let steps = &replay.script.steps;
    let end = failure.step.map_or(steps.len(), |step| step + 1).min(steps.len());
    if failure.reason.is_none() {
        return Ok(Some(Script { steps: steps[..end].to_vec(), ..replay.script.clone() }));
    }
    let closed = failure.reason.map(|reason| Step::Peer(0, Action::ExpectClosed(Some(reason))));
    let mut search = Search { replay, handler, failure, closed, runs: 0 };
    let client: Vec<Step> = steps[..end].iter().filter(|step| is_of_client(step)).cloned().collect();
    // Replies can depend on what is left out, so they are not compared. If the failure needs that the client waits for
    // them, the replies stay, and only the end is removed.
    if !search.fails(&client).await? {
        return Ok(Some(Script { steps: steps[..end].to_vec(), ..replay.script.clone() }));
    }
    let steps = search.shortest(client).await?;
    Ok(Some(search.script(&steps)))
}

fn is_of_client(step: &Step) -> bool {
    use Action::{Close, HalfClose, Open, Reset, Send};
    matches!(step, Step::Wait(_) | Step::Peer(_, Open | Send(_) | HalfClose | Close | Reset))
}

struct Search<'a, H> {
    replay: &'a Replay<'a>,
    handler: H,
    failure: ReplayFailure,
    /// The close, which ends each script: a replay then waits for it.
    closed: Option<Step>,
    runs: usize,
}

impl<H: FnMut() -> Result<HandlerInstance>> Search<'_, H> {
    fn script(&self, steps: &[Step]) -> Script {
        let steps = steps.iter().chain(&self.closed).cloned().collect();
        Script { steps, ..self.replay.script.clone() }
    }

    /// Whether the handler fails with these steps as it did with all.
    async fn fails(&mut self, steps: &[Step]) -> Result<bool> {
        self.runs += 1;
        let script = self.script(steps);
        let replay = Replay { script: &script, ..self.replay.clone() };
        let failure = replay.run(&(self.handler)()?).await?.failure;
        Ok(failure.is_some_and(|failure| {
            (failure.reason, cause(&failure.what)) == (self.failure.reason, cause(&self.failure.what))
        }))
    }

    /// Leaves out parts of the steps, first large and then small ones, until each single step is needed.
    async fn shortest(&mut self, mut steps: Vec<Step>) -> Result<Vec<Step>> {
        let mut size = steps.len().div_ceil(2);
        while size > 0 && self.runs < MAX_RUNS {
            let (mut at, before) = (0, steps.len());
            while at < steps.len() && self.runs < MAX_RUNS {
                let end = (at + size).min(steps.len());
                let rest: Vec<Step> = [&steps[..at], &steps[end..]].concat();
                if !rest.is_empty() && self.fails(&rest).await? {
                    steps = rest;
                } else {
                    at = end;
                }
            }
            if size > 1 || steps.len() == before {
                size /= 2;
            }
        }
        Ok(steps)
    }
}

/// The sentence without the number of the message, which differs in a shorter script.
fn cause(what: &str) -> &str {
    what.split_once(": ").map_or("", |(_, error)| error)
}
