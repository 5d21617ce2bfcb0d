//! The task that exchanges the bans of a server with those of the other instances of a fleet.
//!
//! The server of the fleet has the bans with their remaining time by its own clock, and a version for each change.
//! Each instance asks several times a second for the changes behind the version that it has, and sends its own. A
//! removed ban is remembered for a day, so that an instance that was not connected learns of it. If the data of the
//! server are lost, each instance sends all its bans.

mod script;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::bans::ban::Ban;
use crate::bans::handle::{Bans, WeakBans};
use crate::bans::receive::Outcome;
use crate::fleet::{Backoff, FailureClass, Fleet, Link, LinkFailure, LinkState, unexpected};
use crate::settings::{FleetSettings, Network};
use script::{Exchange, MAX_CHANGES, Position, Received, Reply};

/// Time between two calls, if there is nothing to send.
const POLL: Duration = Duration::from_millis(250);

/// Runs until the server is dropped. Follows its fleet.
pub(crate) async fn run(bans: WeakBans, mut fleets: watch::Receiver<Option<Fleet>>) {
    loop {
        let fleet = fleets.borrow_and_update().clone().filter(|fleet| fleet.settings().bans);
        let Some(fleet) = fleet else {
            if fleets.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Some(all) = bans.upgrade() else { return };
        all.outgoing().share(true);
        drop(all);
        tokio::select! {
            () = follow(&bans, &fleet) => return,
            changed = fleets.changed() => {
                bans.upgrade().inspect(|bans| bans.outgoing().share(false));
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn follow(bans: &WeakBans, fleet: &Fleet) {
    let mut sync = Sync {
        link: fleet.script_link(),
        state: fleet.add_link("bans"),
        exchange: Exchange::new(&fleet.settings().name),
        position: Position::default(),
        logged: None,
    };
    let mut backoff = Backoff::new();
    while let Some(all) = bans.upgrade() {
        let pause = match sync.exchange(&all, fleet.settings()).await {
            Ok(has_more) => {
                backoff.reset();
                if has_more { Duration::ZERO } else { backoff.jittered(POLL) }
            }
            Err(failure) => {
                sync.failed(&failure);
                backoff.next_pause()
            }
        };
        let changed = all.outgoing().changed.clone();
        drop(all);
        tokio::select! {
            () = sleep(pause) => {}
            () = changed.notified(), if sync.logged.is_none() => {}
        }
    }
}

struct Sync {
    link: Link,
    state: LinkState,
    exchange: Exchange,
    position: Position,
    /// The class of the last failure, until a call succeeds.
    logged: Option<FailureClass>,
}

impl Sync {
    /// One call. Returns whether another one must follow at once.
    async fn exchange(&mut self, bans: &Bans, settings: &FleetSettings) -> Result<bool, LinkFailure> {
        let outgoing = bans.outgoing();
        if outgoing.is_overrun() {
            outgoing.add_known(bans.networks().into_iter());
        }
        let sent = outgoing.first(MAX_CHANGES);
        let found: Vec<Option<Ban>> = sent.iter().map(|(network, ..)| bans.get(network)).collect();
        let changes = sent.iter().zip(&found).map(|((network, change, _), ban)| (*network, *change, ban.as_ref()));
        let call = self.exchange.call(&self.position, bans.settings().entries, changes);
        let reply: Vec<String> = self.link.call(&call).await?;
        let reply = Reply::read(&reply).ok_or_else(|| unexpected(settings))?;
        outgoing.sent(&sent);
        self.succeeded(sent.len(), &reply);
        if reply.is_all {
            let not_sent = |network: &Network| !sent.iter().any(|(known, ..)| known == network);
            outgoing.add_known(bans.networks().into_iter().filter(not_sent));
        }
        for change in reply.changes {
            let outcome = match change {
                Received::Ban(ban) => bans.receive(&ban),
                Received::Removed(network) => bans.receive_removal(network),
            };
            match outcome {
                Outcome::Changed => self.state.received(1),
                Outcome::Full => self.state.lost(1),
                Outcome::Unchanged => {}
            }
        }
        self.position = reply.position;
        Ok(reply.has_more || outgoing.len() > 0)
    }

    fn succeeded(&mut self, sent: usize, reply: &Reply) {
        self.state.connected();
        self.state.sent(sent - reply.refused.min(sent));
        self.state.lost(reply.refused as u64);
        let is_first = self.position == Position::default();
        if self.logged.take().is_some() || is_first {
            tracing::info!(target: "switchboard::fleet", "bans shared");
        }
    }

    fn failed(&mut self, failure: &LinkFailure) {
        let error = failure.to_string();
        if self.logged == Some(failure.class) {
            tracing::debug!(target: "switchboard::fleet", error, "sharing the bans failed");
        } else {
            tracing::warn!(target: "switchboard::fleet", error, "sharing the bans failed; bans hold on this instance only");
        }
        self.logged = Some(failure.class);
        self.state.failed(error);
    }
}
