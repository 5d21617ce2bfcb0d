//! Where a value is set: `switchboard.toml, line 3`, `environment variable X`, `flag --listen`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::source_text::{Mark, SourceText};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    File,
    Variable,
    Flag,
    Default,
}

/// Where a value is set.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    layer: Layer,
    /// The name of the file, or the name of the variable or flag with its kind.
    name: String,
    place: Option<Box<(Arc<SourceText>, Mark)>>,
}

impl Origin {
    pub(crate) const DEFAULT: &str = "default";

    /// A variable or a flag, or the default.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let layer = match &*name {
            Self::DEFAULT => Layer::Default,
            flag if flag.starts_with("flag ") => Layer::Flag,
            _ => Layer::Variable,
        };
        Self { layer, name, place: None }
    }

    pub(crate) fn file(name: &str) -> Self {
        Self { layer: Layer::File, name: name.to_owned(), place: None }
    }

    /// The same origin with the place of the key and of the value in the text of the source.
    pub(crate) fn at(mut self, text: &Arc<SourceText>, mark: Mark) -> Self {
        self.place = Some(Box::new((text.clone(), mark)));
        self
    }

    /// The line of the key in a file.
    fn line(&self) -> Option<usize> {
        let (text, mark) = self.place.as_deref().filter(|_| self.is_file())?;
        Some(text.position(mark.key.start).0)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.layer == Layer::File
    }

    pub(crate) fn is_flag(&self) -> bool {
        self.layer == Layer::Flag
    }

    pub(crate) fn is_default(&self) -> bool {
        self.layer == Layer::Default
    }

    /// The position in a list of errors: the layer, and the place in the file.
    pub(crate) fn order(&self) -> (u8, usize) {
        let place = self.place.as_deref().filter(|_| self.is_file());
        (self.layer as u8, place.map_or(0, |(_, mark)| mark.key.start))
    }

    /// The name of the file.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.is_file().then_some(&*self.name)
    }

    /// The text of the source, and the part that an error message marks: the key, or the value.
    pub(crate) fn part(&self, is_about_key: bool) -> Option<(&SourceText, Range<usize>)> {
        let (text, mark) = self.place.as_deref()?;
        let value = mark.value.clone().filter(|_| !is_about_key);
        Some((text, value.unwrap_or_else(|| mark.key.clone())))
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.layer, &self.name, self.line()) == (other.layer, &other.name, other.line())
    }
}

impl Eq for Origin {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            Some(line) => write!(f, "{}, line {line}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
