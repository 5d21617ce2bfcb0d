//! The tables of `bin/docs/performance.md`, made from the results of one run.

use crate::candidate::Kind;
use crate::metric::{Metric, Spread, grouped};
use crate::report::Outcome;
use crate::scenario::Table;

/// The tables with their headings, in the order of the document.
const TABLES: [(Table, &str); 6] = [
    (Table::SystemCalls, "System calls per message"),
    (Table::Messages, "CPU time per message"),
    (Table::KeyValue, "CPU time per operation"),
    (Table::Recorder, "CPU time per message with a flight recorder"),
    (Table::Connections, "Cost per connection"),
    (Table::Growth, "How cost grows"),
];

/// One cell, with the title of its column.
type Cell = (String, String);

/// All tables that have rows.
pub(crate) fn tables(outcomes: &[Outcome]) -> String {
    let tables = TABLES.iter().filter_map(|(table, heading)| {
        let measured = |outcome: &&Outcome| {
            outcome.scenario.table == *table && outcome.servers.iter().any(|server| !server.rounds.is_empty())
        };
        let rows: Vec<Vec<Cell>> = outcomes.iter().filter(measured).map(|outcome| row(*table, outcome)).collect();
        (!rows.is_empty()).then(|| format!("{heading}:\n\n{}", render(&rows)))
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn row(table: Table, outcome: &Outcome) -> Vec<Cell> {
    let mut row = vec![("load".to_owned(), outcome.scenario.label.clone())];
    match table {
        Table::Connections | Table::SystemCalls => values(outcome, &mut row),
        Table::Messages | Table::Recorder | Table::Growth => ratios(outcome, &mut row),
        Table::KeyValue => {
            ratios(outcome, &mut row);
            let rate = outcome.spread(0, Metric::Rate).map(|rate| grouped(rate.median as u64));
            row.push(("per second".to_owned(), rate.unwrap_or_default()));
        }
    }
    row
}

/// The value of each server.
fn values(outcome: &Outcome, row: &mut Vec<Cell>) {
    for (nth, server) in outcome.servers.iter().enumerate() {
        let value = outcome.spread(nth, outcome.primary).map(|it| outcome.primary.with_unit(it.median));
        row.push((server.name.clone(), value.unwrap_or_default()));
        if nth == 0 {
            let goal = outcome.verdict().map(|verdict| outcome.primary.with_unit(verdict.limit));
            row.push(("goal".to_owned(), goal.unwrap_or_default()));
        }
    }
}

/// The time of the server under test and its ratios to the baselines, then the ratios of the other servers to the first
/// baseline.
fn ratios(outcome: &Outcome, row: &mut Vec<Cell>) {
    let time = outcome.spread(0, outcome.primary).map(|it| format!("{:.2}", it.median / 1e3));
    row.push(("µs".to_owned(), time.unwrap_or_default()));
    let first = outcome.scenario.baselines.first().and_then(|name| outcome.position(name));
    let Some(first) = first else { return };
    let ratio = |of, to| outcome.ratio(of, to, outcome.primary);
    let base = &outcome.servers[first].name;
    row.push((format!("× {base}"), ratio(0, first).map_or(String::new(), with_range)));
    let goal = outcome.verdict().map(|verdict| format!("{:.2}", verdict.limit));
    row.push(("goal".to_owned(), goal.unwrap_or_default()));
    for (nth, server) in outcome.servers.iter().enumerate().skip(1).filter(|(nth, _)| *nth != first) {
        let title = format!("{} × {base}", server.name);
        row.push(match server.kind {
            Kind::Switchboard(_) | Kind::KeyValue(_) => (title, ratio(nth, first).map_or(String::new(), with_range)),
            Kind::Peer(_) => (title, ratio(nth, first).map_or(String::new(), |it| format!("{:.2}", it.median))),
            _ => (format!("× {}", server.name), ratio(0, nth).map_or(String::new(), with_range)),
        });
    }
}

fn with_range(ratio: Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max)
}

/// A table with the columns of all rows. A cell that a row does not have is empty.
fn render(rows: &[Vec<Cell>]) -> String {
    let mut titles: Vec<&str> = Vec::new();
    for (title, _) in rows.iter().flatten() {
        if !titles.contains(&&**title) {
            titles.push(title);
        }
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let cell = |row: &[Cell], title: &str| row.iter().find(|(it, _)| it == title).map(|(_, text)| text.clone());
    let mut text = line(titles.clone()) + &line(vec!["---"; titles.len()]);
    for row in rows {
        let cells: Vec<String> = titles.iter().map(|title| cell(row, title).unwrap_or_default()).collect();
        text += &line(cells.iter().map(String::as_str).collect());
    }
    text
}
