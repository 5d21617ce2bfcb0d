//! The boxed error of every seam, and the look inside it.
//!
//! Small errors live beside the code that raises them; between services they travel as one [`BoxError`].

use std::error::Error;

/// Any error that crosses a seam.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What handlers return: any error type fits through `?`.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// The first error of type `E` in the chain of causes of `error`, itself included.
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

/// An error and its causes as one sentence, each cause once: `outer: inner: innermost`.
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
