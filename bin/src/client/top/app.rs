//! The state of the live view, and what keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::client::report::Connection;
use crate::client::top::sample::{Load, Sample, message_rates};

/// Rows of one step of Page Up and Page Down.
const PAGE: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Oldest,
    Largest,
    Busiest,
    Slowest,
}

impl Sort {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Oldest => "oldest first",
            Self::Largest => "most bytes first",
            Self::Busiest => "most messages/s first",
            Self::Slowest => "fewest messages/s first",
        }
    }
}

/// A connection and its messages per second.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) connection: Connection,
    pub(super) rate: Option<f64>,
}

/// What the caller does after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Quit,
    Kill(u64),
}

#[derive(Debug)]
pub(super) struct App {
    /// The address of the admin endpoint.
    pub(super) address: String,
    pub(super) sample: Sample,
    /// The load of each listener of the sample.
    pub(super) load: Vec<Load>,
    /// The connections of the sample, sorted.
    pub(super) rows: Vec<Row>,
    pub(super) sort: Sort,
    /// The selected row.
    pub(super) selected: usize,
    pub(super) is_paused: bool,
    /// The connection that is closed after a confirmation.
    pub(super) confirm: Option<u64>,
    /// The result of the last command.
    pub(super) message: Option<String>,
    /// Why the last request failed.
    pub(super) failure: Option<String>,
}

impl App {
    pub(super) fn new(address: String, sample: Sample) -> Self {
        let load = Load::between(None, &sample.status);
        let mut app = Self {
            address,
            sample,
            load,
            rows: Vec::new(),
            sort: Sort::Oldest,
            selected: 0,
            is_paused: false,
            confirm: None,
            message: None,
            failure: None,
        };
        app.rows = app.sample.connections.drain(..).map(|connection| Row { connection, rate: None }).collect();
        app
    }

    /// A new sample, or why there is none. The last data stay.
    pub(super) fn update(&mut self, result: Result<Sample, String>) {
        let mut sample = match result {
            Ok(sample) => sample,
            Err(error) => return self.failure = Some(error),
        };
        self.failure = None;
        if self.is_paused {
            return;
        }
        self.sample.connections = self.rows.drain(..).map(|row| row.connection).collect();
        let rates = message_rates(&self.sample, &sample);
        self.load = Load::between(Some(&self.sample.status), &sample.status);
        let selected = self.sample.connections.get(self.selected).map(|connection| connection.id);
        let row = |connection: Connection| Row { rate: rates.get(&connection.id).copied(), connection };
        self.rows = sample.connections.drain(..).map(row).collect();
        self.sample = sample;
        self.sort_rows(selected);
    }

    /// Sorts the rows. The selected connection stays selected.
    fn sort_rows(&mut self, selected: Option<u64>) {
        let bytes = |row: &Row| row.connection.bytes_in.saturating_add(row.connection.bytes_out);
        let rate = |row: &Row| row.rate.unwrap_or_default();
        // A lower id is older.
        self.rows.sort_unstable_by(|a, b| {
            let order = match self.sort {
                Sort::Oldest => std::cmp::Ordering::Equal,
                Sort::Largest => bytes(b).cmp(&bytes(a)),
                Sort::Busiest => rate(b).total_cmp(&rate(a)),
                Sort::Slowest => rate(a).total_cmp(&rate(b)),
            };
            order.then(a.connection.id.cmp(&b.connection.id))
        });
        let found = selected.and_then(|id| self.rows.iter().position(|row| row.connection.id == id));
        self.select(found.unwrap_or(self.selected));
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows.len().saturating_sub(1));
    }

    fn selected_id(&self) -> Option<u64> {
        self.rows.get(self.selected).map(|row| row.connection.id)
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Quit } else { Action::None };
        }
        self.message = None;
        if let Some(id) = self.confirm.take() {
            return if key.code == KeyCode::Char('y') { Action::Kill(id) } else { Action::None };
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('o') => self.set_sort(Sort::Oldest),
            KeyCode::Char('l') => self.set_sort(Sort::Largest),
            KeyCode::Char('b') => self.set_sort(Sort::Busiest),
            KeyCode::Char('s') => self.set_sort(Sort::Slowest),
            KeyCode::Char('k') | KeyCode::Delete => self.confirm = self.selected_id(),
            KeyCode::Up => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down => self.select(self.selected + 1),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(PAGE)),
            KeyCode::PageDown => self.select(self.selected + PAGE),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            _ => {}
        }
        Action::None
    }

    fn set_sort(&mut self, sort: Sort) {
        self.sort = sort;
        self.selected = 0;
        self.sort_rows(None);
    }
}
