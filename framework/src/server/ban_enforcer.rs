//! Closes the open connections of clients whose ban begins, and removes bans that have ended.

use std::future::pending;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bans::{BanChange, WeakBans};
use crate::connection::ControlSignal;
use crate::server::listener::ListenerHandle;

/// Shortest pause between two searches for banned clients. The pause is four times the duration of the last search.
const MIN_SEARCH_PAUSE: Duration = Duration::from_millis(10);

/// Connections that are searched for banned clients before other tasks get a turn.
const SEARCHED_TOGETHER: usize = 256;

/// Runs until the server is dropped: then `listeners` returns `None`.
pub(super) async fn run(
    bans: WeakBans,
    mut changes: Receiver<BanChange>,
    listeners: impl Fn() -> Option<Vec<ListenerHandle>>,
) {
    loop {
        let Some(next_end) = bans.upgrade().map(|bans| bans.remove_ended()) else { return };
        tokio::select! {
            change = changes.recv() => match change {
                Err(RecvError::Closed) => return,
                Ok(BanChange::Removed(_)) => continue,
                _ => {}
            },
            () = wait_until(next_end) => continue,
        }
        while !matches!(changes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        let began = Instant::now();
        let Some(listeners) = listeners() else { return };
        for listener in &listeners {
            close_banned(listener).await;
        }
        drop(listeners);
        sleep((began.elapsed() * 4).max(MIN_SEARCH_PAUSE)).await;
    }
}

/// Signals the open connections of banned clients.
async fn close_banned(listener: &ListenerHandle) {
    let (table, admission) = (listener.table(), &listener.listener_context.admission);
    for ids in table.ids().chunks(SEARCHED_TOGETHER) {
        let open = ids.iter().filter_map(|id| table.get(*id));
        open.filter(|connection| admission.bans_open(connection))
            .for_each(|connection| connection.signal(ControlSignal::Ban));
        tokio::task::yield_now().await;
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
