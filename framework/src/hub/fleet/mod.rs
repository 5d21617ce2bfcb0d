//! The task that links a hub with those of the other instances of a fleet, through channels at its server.
//!
//! A frame is lost for the members here if the connection ends, if too many messages wait, or if its instance is
//! killed. Members get a gap then: from a hole in the stamps, or because nobody knows better. A frame without a reply
//! is sent again on the next connection; its stamp shows that it is the same.

mod linked;
mod message;
mod peers;
mod receive;
mod send;

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Backoff, Fleet, LinkFailure};
use crate::hub::Hub;
use crate::hub::codec::Codec;
use crate::hub::outgoing::LinkFrame;
use linked::Linked;
use peers::Peers;
use send::SendOutcome;

/// How long the last frames may take when the handler has stopped.
const LAST_FRAMES: Duration = Duration::from_millis(800);

/// Runs until the handler has stopped. Follows the fleet of the server.
pub(super) async fn run<T: Clone + Send + Sync + 'static>(
    hub: Hub<T>,
    codec: Codec<T>,
    name: String,
    mut fleets: watch::Receiver<Option<Fleet>>,
    stop: CancellationToken,
) {
    let mut is_interrupted = false;
    while !stop.is_cancelled() {
        let fleet = fleets.borrow_and_update().clone();
        let changed = async {
            if fleets.changed().await.is_err() {
                stop.cancelled().await; // the server is gone, and stops the handler
            }
        };
        let ended = async {
            tokio::select! {
                () = changed => {}
                () = stop.cancelled() => {}
            }
        };
        let Some(fleet) = fleet else {
            ended.await;
            continue;
        };
        match Linked::new(&hub, &codec, &name, &fleet) {
            Ok(linked) => follow(&linked, &fleet, is_interrupted, ended).await,
            Err(error) => {
                let (hub, error) = (&*name, error.to_string());
                tracing::error!(target: "switchboard::fleet", hub, error, "hub not shared");
                ended.await;
            }
        }
        is_interrupted = true;
    }
}

/// Keeps a hub linked until `ended` resolves. Then sends the frames that wait.
async fn follow<T: Clone + Send + Sync + 'static>(
    linked: &Linked<'_, T>,
    fleet: &Fleet,
    is_interrupted: bool,
    ended: impl Future<Output = ()>,
) {
    let stop = CancellationToken::new();
    let mut connecting = pin!(connect(linked, fleet, is_interrupted, &stop));
    tokio::select! {
        () = &mut connecting => {}
        () = ended => {
            stop.cancel();
            let _ = timeout(LAST_FRAMES, connecting).await;
        }
    }
}

/// Connects, again and again, until all frames are sent after a stop.
async fn connect<T: Clone + Send + Sync + 'static>(
    linked: &Linked<'_, T>,
    fleet: &Fleet,
    mut is_interrupted: bool,
    stop: &CancellationToken,
) {
    let (mut bus, mut backoff, mut peers) = (fleet.bus(), Backoff::new(), Peers::default());
    let mut batch: Vec<LinkFrame<T>> = Vec::new();
    let mut logged = None;
    loop {
        let failure = match bus.connect(&linked.channel).await {
            Err(failure) => failure,
            Ok((sender, receiver)) => {
                linked.state.connected();
                backoff.reset();
                logged = None;
                tracing::info!(target: "switchboard::fleet", hub = linked.name, "hub linked");
                tokio::select! {
                    end = send::run(linked, sender, &mut batch, is_interrupted, stop) => match end {
                        SendOutcome::Sent => return,
                        SendOutcome::Failed(failure) => failure,
                    },
                    () = receive::run(linked, receiver, &mut peers) => LinkFailure::closed(fleet.settings()),
                }
            }
        };
        is_interrupted = true;
        linked.state.failed(failure.to_string());
        let (hub, error) = (linked.name, failure.to_string());
        if logged == Some(failure.class) {
            tracing::debug!(target: "switchboard::fleet", hub, error, "hub link failed");
        } else {
            tracing::warn!(target: "switchboard::fleet", hub, error, "hub link failed");
            logged = Some(failure.class);
        }
        sleep(backoff.next_pause()).await;
    }
}
