//! Tables, sizes and durations as text.

use std::io::{self, IsTerminal};

use bytesize::ByteSize;
use switchboard::settings::text::escape_unsafe;

/// The smallest width of a column that is shortened.
const MIN_SHORTENED: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A column: its heading and the alignment of its cells.
pub(super) type Column = (&'static str, Align);

/// Lines with aligned columns. If they are wider than `width`, the column `shortened` is made narrower, and then the
/// space between the columns.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>], width: usize, shortened: usize) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let mut widths: Vec<usize> = columns.iter().map(|(heading, _)| heading.len()).collect();
    for row in &rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = (*most).max(cell.chars().count());
        }
    }
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    let least = widths[shortened].min(MIN_SHORTENED);
    widths[shortened] = widths[shortened].saturating_sub(total(&widths).saturating_sub(width)).max(least);
    let gap = if total(&widths) > width { " " } else { "  " };
    let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(&rows) {
        let cells = row.iter().zip(&widths).zip(columns).map(|((cell, &width), (_, align))| {
            let cell = shorten(cell, width);
            if *align == Align::Left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join(gap).trim_end();
        text.push('\n');
    }
    text
}

/// A text with its middle replaced if it is longer than `width`: the ends of addresses and paths differ.
pub(super) fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (front, back) = (kept.div_ceil(2), kept / 2);
    let front: String = text.chars().take(front).collect();
    let back: String = text.chars().skip(length - back).collect();
    format!("{front}…{back}")
}

/// Text of the server or of a peer, in one line.
pub(super) fn escape(text: &str) -> String {
    escape_unsafe(text, |_| false)
}

/// The columns of the terminal. Output into a pipe or file has no width.
pub(super) fn width() -> usize {
    if !io::stdout().is_terminal() {
        return usize::MAX;
    }
    crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
}

/// `0 B`, `1.5 MiB`
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `850ms`, `12s`, `5m 10s`, `3h 12m`, `2d 4h`
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0}ms", (seconds * 1000.0).floor());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a duration is positive and fits
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m {}s", whole % 60),
        3600..86400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_only_one_column_is_shortened() {
        let columns = [("NAME", Align::Left), ("PEER", Align::Left), ("COUNT", Align::Right)];
        let row = |name: &str, peer: &str, count: &str| [name, peer, count].map(str::to_owned).to_vec();
        let rows = [row("main", "[2001:db8::1]:50000", "7"), row("a\u{1b}b", "unix:", "1000000")];
        let whole = "NAME      PEER                   COUNT\n\
                     main      [2001:db8::1]:50000        7\n\
                     a\\u001Bb  unix:                1000000\n";
        assert_eq!(table(&columns, &rows, usize::MAX, 1), whole);
        let narrow = "NAME      PEER           COUNT\n\
                      main      [2001…50000        7\n\
                      a\\u001Bb  unix:        1000000\n";
        assert_eq!(table(&columns, &rows, 30, 1), narrow);
    }

    #[test]
    fn durations_and_sizes_are_short() {
        let shown = [0.0, 0.85, 1.0, 310.0, 11_530.0, 187_300.0].map(duration);
        assert_eq!(shown, ["0ms", "850ms", "1s", "5m 10s", "3h 12m", "2d 4h"]);
        assert_eq!([0, 1536].map(size), ["0 B", "1.5 KiB"]);
    }
}
