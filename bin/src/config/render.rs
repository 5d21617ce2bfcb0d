//! Errors of a configuration as text with the line of the source, as compilers print them, and as JSON.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics, Escaped};
use super::source_text::{Excerpt, SourceText};
use super::tree;

/// Columns that are never reached: the lines are cut already.
const WIDTH: usize = 1000;

/// An error as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) key: Option<String>,
    pub(crate) message: String,
    pub(crate) origin: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
}

impl Record {
    /// An error without a key.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self { key: None, message: message.into(), origin: None, file: None, line: None, column: None }
    }
}

/// The errors in the order of layers and lines.
pub(crate) fn records(diagnostics: &Diagnostics) -> Vec<Record> {
    let record = |diagnostic: &Diagnostic| {
        let origin = diagnostic.origin();
        let file = origin.and_then(|origin| origin.file_name());
        let position = file.and(place(diagnostic)).map(|(text, part)| text.position(part.start));
        Record {
            key: Some(tree::dotted(diagnostic.key())).filter(|key| !key.is_empty()),
            message: diagnostic.message(),
            origin: origin.map(ToString::to_string),
            file: file.map(str::to_owned),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
        }
    };
    diagnostics.sorted().into_iter().map(record).collect()
}

/// The errors, each with the line of its source, and a last line with their number.
pub(crate) fn rendered(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = renderer(color);
    let mut text = String::new();
    for diagnostic in diagnostics.sorted() {
        text += &renderer.render(&[group(diagnostic)]);
        text.push('\n');
    }
    text + &diagnostics.summary() + "\n"
}

/// An error of another file, with its line.
pub(crate) fn located(file: &str, text: &SourceText, part: &Range<usize>, message: &str, color: bool) -> String {
    let (line, column) = text.position(part.start);
    let name = format!("{}:{line}:{column}: error", Escaped(file));
    let excerpt = text.excerpt(part);
    let group = Level::ERROR.with_name(name).primary_title(Escaped(message).to_string()).element(snippet(excerpt));
    renderer(color).render(&[group]) + "\n"
}

/// The part of the source that the error marks.
fn place(diagnostic: &Diagnostic) -> Option<(&SourceText, Range<usize>)> {
    diagnostic.origin()?.part(diagnostic.is_about_key())
}

fn group(diagnostic: &Diagnostic) -> annotate_snippets::Group<'static> {
    let place = place(diagnostic);
    let (file, excerpt) = (
        diagnostic.unnamed_origin().and_then(|origin| origin.file_name()),
        place.as_ref().map(|(text, part)| text.excerpt(part)),
    );
    let position = place.as_ref().map(|(text, part)| text.position(part.start));
    // The position is part of the name, because editors and terminals expect `file:line:column: error:`.
    let (name, title) = match (file, position) {
        (Some(file), Some((line, column))) => {
            (format!("{}:{line}:{column}: error", Escaped(file)), diagnostic.subject())
        }
        _ => ("error".to_owned(), diagnostic.to_string()),
    };
    let group = Level::ERROR.with_name(name).primary_title(title);
    match excerpt {
        Some(excerpt) => group.element(snippet(excerpt)),
        None => annotate_snippets::Group::with_title(group),
    }
}

fn renderer(color: bool) -> Renderer {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH)
}

/// The line of a source with a mark.
fn snippet(Excerpt { text, marked, line }: Excerpt) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    let snippet = Snippet::source(text).line_start(line.unwrap_or(1)).line_numbering(line.is_some());
    snippet.annotation(AnnotationKind::Primary.span(marked))
}
