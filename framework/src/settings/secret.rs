//! A secret option, such as a password: its schema marks it, so that no command, log or error prints it.

use std::fmt;

use serde::Deserialize;

/// A secret text: a field of the options of a handler, layer or framing.
///
/// Its schema has the mark `x-secret`. The program prints no value with this mark: not in `switchboard config`, not in
/// `GET /config` and not in an error. A secret of another type has the mark as an attribute:
///
/// ```
/// use switchboard::settings::Secret;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct LoginOptions {
///     /// Password of the database.
///     password: Secret,
///     /// Keys of the clients.
///     #[schemars(extend("x-secret" = true))]
///     keys: Vec<String>,
/// }
///
/// let options: LoginOptions = serde_json::from_str(r#"{ "password": "hunter2", "keys": ["a"] }"#)?;
/// assert_eq!(options.password.expose(), "hunter2");
/// assert_eq!(format!("{:?}", options.password), "Secret");
/// # assert_eq!(options.keys, ["a"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("x-secret" = true))]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
