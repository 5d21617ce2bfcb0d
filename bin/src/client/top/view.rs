//! Draws the live view.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};

use crate::client::report::{Listener, Status};
use crate::client::status::summary;
use crate::client::text::{self, Align, escape, shorten};
use crate::client::top::app::{App, Row};
use crate::client::top::columns::{ViewColumn, bytes, column, count, latency, lines};
use crate::client::top::sample::{Load, MAX_CONNECTIONS};

type ListenerRow<'a> = (&'a Listener, &'a Load);

/// The widest name of a listener that is shown whole.
const MAX_NAME: usize = 16;

/// The styles. Without colour a problem is bold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    heading: Style,
    problem: Style,
    selected: Style,
}

impl Theme {
    pub(super) fn new(use_color: bool) -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Self {
            heading: bold,
            problem: if use_color { bold.fg(Color::Red) } else { bold },
            selected: Style::new().add_modifier(Modifier::REVERSED),
        }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, interval: Duration, theme: Theme) {
    let area = frame.area();
    let width = usize::from(area.width);
    let listeners = listener_lines(app, width);
    // The listeners take at most a third of the height.
    let most = usize::from(area.height / 3).max(2);
    let height = u16::try_from(listeners.len().min(most)).unwrap_or(area.height);
    let [top, below, list, title, table, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(height),
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    put(frame, top, vec![Line::styled(first_line(&app.sample.status, width), theme.heading)]);
    put(frame, below, status_lines(app, interval, theme, width));
    let mut hidden = listeners.len().saturating_sub(usize::from(height));
    let mut shown: Vec<Line<'_>> = listeners.into_iter().take(usize::from(height)).map(Line::from).collect();
    if hidden > 0 && shown.len() > 1 {
        hidden += 1;
        shown.pop();
        shown.push(Line::from(format!("… {hidden} more listeners")));
    }
    style_listeners(app, &mut shown, theme);
    put(frame, list, shown);
    let cut = if app.sample.is_cut { format!(" of the {MAX_CONNECTIONS} oldest") } else { String::new() };
    let heading = format!("{} connections{cut}, {}", app.rows.len(), app.sort.describe());
    put(frame, title, vec![Line::default(), Line::styled(heading, theme.heading)]);
    put(frame, table, connection_lines(app, usize::from(table.height), width, theme));
    put(frame, keys, vec![key_line(app, theme, width)]);
}

fn put(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Text::from(lines), area);
}

/// The server in one line, without its version if that does not fit.
fn first_line(status: &Status, width: usize) -> String {
    let whole = summary(status);
    if whole.chars().count() <= width {
        return whole;
    }
    let uptime = text::duration(status.uptime_seconds);
    shorten(&format!("process {}, {}, up {uptime}", status.pid, escape(&status.phase)), width)
}

/// The address and the state of the view, and what is wrong.
fn status_lines(app: &App, interval: Duration, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let problem = |listener: &Listener| Some(format!("{}: {}", listener.name, listener.problem.as_ref()?));
    let problem = match &app.failure {
        Some(failure) => format!("no reply, showing the last data: {failure}"),
        None => app.sample.status.listeners.iter().find_map(problem).unwrap_or_default(),
    };
    let (state, style) = match app.is_paused {
        true => ("paused".to_owned(), theme.heading),
        false => (format!("every {}", text::duration(interval.as_secs_f64())), Style::new()),
    };
    let cut = |text: &str| escape(text).chars().take(width).collect::<String>();
    vec![Line::styled(cut(&format!("{state}, {}", app.address)), style), Line::styled(cut(&problem), theme.problem)]
}

fn listener_lines(app: &App, width: usize) -> Vec<String> {
    let columns: [ViewColumn<ListenerRow<'_>>; 13] = [
        column("LISTENER", Align::Left, 8, |(listener, _)| shorten(&escape(&listener.name), MAX_NAME)),
        column("STATE", Align::Left, 9, |(listener, _)| escape(&listener.state)),
        column("OPEN", Align::Right, 5, |(listener, _)| listener.clients().to_string()),
        column("ACC/S", Align::Right, 5, |(_, load)| count(load.accepted_per_second)),
        column("REJ/S", Align::Right, 5, |(_, load)| count(load.rejected_per_second)),
        column("ERR/S", Align::Right, 5, |(_, load)| count(load.errors_per_second)),
        column("MSG/S", Align::Right, 6, |(_, load)| count(load.messages_per_second)),
        column("FAIL/S", Align::Right, 6, |(_, load)| count(load.failed_per_second)),
        column("P50", Align::Right, 6, |(_, load)| latency(load.p50_seconds)),
        column("P99", Align::Right, 6, |(_, load)| latency(load.p99_seconds)),
        column("IN/S", Align::Right, 6, |(_, load)| bytes(load.bytes_in_per_second)),
        column("OUT/S", Align::Right, 6, |(_, load)| bytes(load.bytes_out_per_second)),
        column("ADDRESS", Align::Left, 21, |(listener, _)| escape(&listener.address)),
    ];
    let rows: Vec<ListenerRow<'_>> = app.sample.status.listeners.iter().zip(&app.load).collect();
    lines(&columns, &[0, 2, 6, 7, 9, 5, 8, 3, 4, 10, 11, 1, 12], 12, &rows, width)
}

/// The heading is bold, and a listener with a problem is red.
fn style_listeners(app: &App, lines: &mut [Line<'_>], theme: Theme) {
    for (at, line) in lines.iter_mut().enumerate() {
        let listener = at.checked_sub(1).and_then(|at| app.sample.status.listeners.get(at));
        match listener {
            None => line.style = theme.heading,
            Some(listener) if listener.problem.is_some() => line.style = theme.problem,
            Some(_) => {}
        }
    }
}

/// As many rows as fit, with the selected one among them.
fn connection_lines(app: &App, height: usize, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let columns: [ViewColumn<&Row>; 9] = [
        column("ID", Align::Right, 6, |row| row.connection.id.to_string()),
        column("LISTENER", Align::Left, 8, |row| shorten(&escape(&row.connection.listener), MAX_NAME)),
        column("PEER", Align::Left, 15, |row| escape(&row.connection.peer)),
        column("AGE", Align::Right, 7, |row| text::duration(row.connection.age_seconds)),
        column("MESSAGES", Align::Right, 8, |row| row.connection.messages.to_string()),
        column("MSG/S", Align::Right, 6, |row| count(row.rate)),
        column("IN", Align::Right, 6, |row| bytes(Some(as_float(row.connection.bytes_in)))),
        column("OUT", Align::Right, 6, |row| bytes(Some(as_float(row.connection.bytes_out)))),
        column("STATE", Align::Left, 8, |row| escape(&row.connection.state)),
    ];
    let shown = height.saturating_sub(1);
    // The selected row is in the middle, unless the list begins or ends before.
    let first = app.selected.saturating_sub(shown / 2).min(app.rows.len().saturating_sub(shown));
    let rows: Vec<&Row> = app.rows.iter().skip(first).take(shown).collect();
    let lines = lines(&columns, &[0, 2, 3, 5, 6, 7, 1, 4, 8], 2, &rows, width);
    let styled = lines.into_iter().enumerate().map(|(at, line)| match at.checked_sub(1) {
        None => Line::styled(line, theme.heading),
        Some(at) if first + at == app.selected => Line::styled(format!("{line:width$}"), theme.selected),
        Some(_) => Line::from(line),
    });
    styled.collect()
}

#[allow(clippy::cast_precision_loss)] // a size is rounded when it is shown
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

fn key_line(app: &App, theme: Theme, width: usize) -> Line<'static> {
    if let Some(id) = app.confirm {
        let peer = app.rows.iter().find(|row| row.connection.id == id).map(|row| escape(&row.connection.peer));
        let question = format!("close connection {id} of {}? y/n", peer.unwrap_or_default());
        return Line::styled(shorten(&question, width), theme.problem);
    }
    match &app.message {
        Some(message) => Line::styled(shorten(&escape(message), width), theme.heading),
        None if width >= 70 => Line::from("q quit  p pause  o oldest  l largest  b busiest  s slowest  k close"),
        None => Line::from("q quit  p pause  o l b s sort  k close"),
    }
}
