//! The boxed error of handlers, layers and transports, and functions that read its causes.

use std::any::Any;
use std::error::Error;
use std::iter::successors;

/// Any error of a handler, layer, framing or transport.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The result of a handler: `?` accepts any error type.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// A call panicked. Displays the panic's message.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

impl Panicked {
    pub(crate) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Self(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned())
    }
}

/// The first error of type `E` among `error` and its causes.
///
/// ```
/// # use switchboard::error::{BoxError, find_cause};
/// let error: BoxError = Box::new(std::io::Error::other("broken"));
/// assert!(find_cause::<std::io::Error>(&*error).is_some());
/// assert!(find_cause::<std::fmt::Error>(&*error).is_none());
/// ```
pub fn find_cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// An error and its causes as one sentence, each cause once: `outer: inner: innermost`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Implements `Debug` as `Display`, so that `fn main() -> Result<()>` prints a sentence.
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

/// Implements `Debug` of a generic type as its name, without bounds on its parameters.
macro_rules! debug_as_name {
    ($name:ident<$($generic:ident),+> $(where $($bounds:tt)+)?) => {
        impl<$($generic),+> std::fmt::Debug for $name<$($generic),+> $(where $($bounds)+)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

pub(crate) use {debug_as_display, debug_as_name};
