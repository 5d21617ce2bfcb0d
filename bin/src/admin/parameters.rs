//! The query parameters of a request. A parameter that the route does not know is rejected.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use switchboard::settings::text::escape_unsafe;

/// The parameters of a request. `T` must reject unknown fields.
pub(super) struct Parameters<T>(pub(super) T);

/// The parameters of a route that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => {
                let text = error.body_text(); // begins with what the library did
                let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err((StatusCode::UNPROCESSABLE_ENTITY, format!("invalid query: {}\n", escape_unsafe(why, |_| false))))
            }
        }
    }
}
