//! The columns of a table in a terminal of any width: as many as fit, by their priority.

use crate::client::text::{Align, shorten};

/// A column of rows of the type `T`.
pub(super) struct ViewColumn<T> {
    heading: &'static str,
    align: Align,
    width: usize,
    cell: fn(&T) -> String,
}

/// A column. `width` is the smallest width: it keeps the columns in place from one sample to the next.
pub(super) fn column<T>(heading: &'static str, align: Align, width: usize, cell: fn(&T) -> String) -> ViewColumn<T> {
    ViewColumn { heading, align, width, cell }
}

/// The heading and the rows, each at most `width` wide. The columns have the order of their declaration, and
/// `priority` lists them from the most to the least important one. The column `flexible` gets the rest of the width.
pub(super) fn lines<T>(
    columns: &[ViewColumn<T>],
    priority: &[usize],
    flexible: usize,
    rows: &[T],
    width: usize,
) -> Vec<String> {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| (column.cell)(row)).collect()).collect();
    let needed = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|at| if at == flexible { columns[at].width } else { columns[at].width.max(needed(at)) })
        .collect();
    let (mut shown, mut used) = (Vec::new(), 0);
    for &at in priority {
        let more = widths[at] + usize::from(!shown.is_empty());
        if used + more > width && !shown.is_empty() {
            break;
        }
        shown.push(at);
        used += more;
    }
    shown.sort_unstable();
    let rest = width.saturating_sub(used);
    widths[flexible] = needed(flexible).clamp(widths[flexible], widths[flexible] + rest);
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = shown.iter().map(|&at| {
            let (cell, width) = (shorten(&cell(at), widths[at]), widths[at]);
            if columns[at].align == Align::Left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join(" ").chars().take(width).collect()
    };
    let heading = line(&|at| columns[at].heading.to_owned());
    std::iter::once(heading).chain(cells.iter().map(|row| line(&|at| row[at].clone()))).collect()
}

/// `-`, `0`, `0.5`, `123`, `12.3k`, `4.5M`
pub(super) fn count(value: Option<f64>) -> String {
    scaled(value, 1000.0, ["", "k", "M", "G"])
}

/// `-`, `0`, `123B`, `12.3K`, `4.5M`
pub(super) fn bytes(value: Option<f64>) -> String {
    scaled(value, 1024.0, ["B", "K", "M", "G"])
}

fn scaled(value: Option<f64>, step: f64, units: [&str; 4]) -> String {
    let Some(mut value) = value else { return "-".to_owned() };
    if value == 0.0 {
        return "0".to_owned();
    }
    let mut units = units.iter().peekable();
    let mut unit = units.next().unwrap_or(&"");
    while value >= step - 0.5
        && let Some(next) = units.next()
    {
        (value, unit) = (value / step, next);
    }
    // Whole bytes, and no fraction of large numbers.
    if value >= 100.0 || *unit == "B" { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

/// `-`, `850us`, `1.2ms`, `3.4s`
pub(super) fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0}us", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1}ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_important_columns_are_shown_and_no_line_is_wider() {
        let columns: [ViewColumn<(u64, &str)>; 3] = [
            column("ID", Align::Right, 4, |row| row.0.to_string()),
            column("PEER", Align::Left, 8, |row| row.1.to_owned()),
            column("AGE", Align::Right, 5, |_| "7s".to_owned()),
        ];
        let rows = [(7, "127.0.0.1:50000"), (12_345, "unix:")];
        let at = |width| lines(&columns, &[1, 0, 2], 1, &rows, width);
        let all = ["   ID PEER              AGE", "    7 127.0.0.1:50000    7s", "12345 unix:              7s"];
        assert_eq!(at(80), all);
        let narrow = ["   ID PEER       AGE", "    7 127.…000    7s", "12345 unix:       7s"];
        assert_eq!(at(20), narrow);
        let without_age = ["   ID PEER      ", "    7 127.0…0000", "12345 unix:     "];
        assert_eq!(at(16), without_age);
        assert!((1..80).flat_map(at).all(|line| !line.is_empty()));
        assert!((1..80).all(|width| at(width).iter().all(|line| line.chars().count() <= width)));
    }

    #[test]
    fn numbers_are_short() {
        let counts = [None, Some(0.0), Some(0.54), Some(99.5), Some(999.7), Some(12_345.0), Some(4.5e6)].map(count);
        assert_eq!(counts, ["-", "0", "0.5", "99.5", "1.0k", "12.3k", "4.5M"]);
        assert_eq!([Some(100.4), Some(1023.9), Some(12_600.0)].map(bytes), ["100B", "1.0K", "12.3K"]);
        assert_eq!([None, Some(0.00085), Some(0.0012), Some(3.42)].map(latency), ["-", "850us", "1.2ms", "3.4s"]);
    }
}
