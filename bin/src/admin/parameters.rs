//! The query parameters of a request. A parameter that the route does not know is rejected.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The parameters of a request. `T` must reject unknown fields.
pub(super) struct Parameters<T>(pub(super) T);

/// What a query may contain.
pub(super) trait Accepted {
    /// The end of the sentence "this path takes".
    const ACCEPTED: &str;
}

impl Accepted for NoParameters {
    const ACCEPTED: &str = "no parameters";
}

/// The parameters of a route that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

impl<T: Accepted + DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(_) => Err((StatusCode::UNPROCESSABLE_ENTITY, invalid_query::<T>(&parts.uri))),
        }
    }
}

/// The error of a query. The text of the deserializer names Rust types, so it is not used.
pub(super) fn invalid_query<T: Accepted>(uri: &Uri) -> String {
    let query: String = uri.query().unwrap_or_default().chars().take(100).collect();
    format!("invalid query {query:?}: this path takes {}\n", T::ACCEPTED)
}
