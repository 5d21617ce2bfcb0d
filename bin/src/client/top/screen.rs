//! The terminal of the live view, and its loop.

use std::io::{self, IsTerminal};
use std::time::Duration;
use std::{env, future};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::client::address::AdminAddress;
use crate::client::commands::{kill, line};
use crate::client::top::app::{Action, App};
use crate::client::top::sample::{self, Sample};
use crate::client::top::view::{Theme, draw};
use crate::failure::Failure;

/// Samples and results that wait to be shown.
const QUEUE: usize = 4;

/// What the tasks report.
enum Update {
    Sample(Result<Sample, String>),
    Message(String),
}

/// The terminal in raw mode and with the alternate screen. It is restored on drop, and by a hook on a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = ratatui::try_restore(); // the terminal may be closed
    }
}

/// Whether the live view can be shown.
pub(super) fn is_usable() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Shows the live view until the user quits.
pub(super) async fn run(server: &AdminAddress, interval: Duration, first: Sample) -> Result<u8, Failure> {
    let failed =
        |error: io::Error| Failure::new(format_args!("cannot use the terminal: {}", crate::exit::reason(&error)));
    let has_color = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let theme = Theme::new(has_color);
    let mut app = App::new(server.endpoint.to_string(), first);
    let (updates, mut received) = mpsc::channel(QUEUE);
    let mut polling = tokio::spawn(poll(server.clone(), interval, updates.clone()));
    let mut ends =
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    let mut screen = Screen::open().map_err(failed)?;
    let mut events = EventStream::new();
    loop {
        screen.0.draw(|frame| draw(frame, &app, interval, theme)).map_err(failed)?;
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => match app.key(key) {
                    Action::None => {}
                    Action::Quit => return Ok(0),
                    Action::Kill(id) => drop(tokio::spawn(close(server.clone(), id, updates.clone()))),
                },
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(error)),
                None => return Ok(0),
            },
            update = received.recv() => match update {
                Some(Update::Sample(result)) => app.update(result),
                Some(Update::Message(text)) => app.message = Some(text),
                None => return Ok(0),
            },
            () = any(&mut ends) => return Ok(0),
            // It ends only by a panic, whose hook has printed the reason.
            _ = &mut polling => return Err(Failure::new("top has ended because of a defect in switchboard")),
        }
    }
}

/// Waits for one of the signals.
async fn any(signals: &mut [Option<Signal>; 3]) {
    let waits = signals.iter_mut().map(|signal| {
        Box::pin(async move {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => future::pending().await,
            }
        })
    });
    futures_util::future::select_all(waits).await;
}

/// Takes samples until the view is closed.
async fn poll(server: AdminAddress, interval: Duration, updates: mpsc::Sender<Update>) {
    let mut ticks = interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = sample::take(&server).await.map_err(|error| error.to_string());
        if updates.send(Update::Sample(result)).await.is_err() {
            return;
        }
    }
}

async fn close(server: AdminAddress, id: u64, updates: mpsc::Sender<Update>) {
    let text = match kill(&server, id).await {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => line(&error.describe(&server)).trim_end().to_owned(),
    };
    let _ = updates.send(Update::Message(text)).await; // the view may be closed
}
