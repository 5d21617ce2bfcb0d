//! The boxed error between services, and functions to read it.
//!
//! Each error type is defined next to the code that returns it.

use std::error::Error;

/// Any error, between services.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The result of handlers. `?` converts any error type.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// Finds the first error of type `E` in `error` and its sources.
///
/// ```
/// # use switchboard::error::{BoxError, find_cause};
/// let error: BoxError = Box::new(std::io::Error::other("broken"));
/// assert!(find_cause::<std::io::Error>(&*error).is_some());
/// assert!(find_cause::<std::fmt::Error>(&*error).is_none());
/// ```
pub fn find_cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Formats an error and its sources as one sentence, each source once: `outer: inner: innermost`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
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

pub(crate) use debug_as_display;
