//! The page for people: one document that asks nobody else for anything.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;

/// Made of `bin/page`.
const PAGE: &str = include_str!("../../page/dist/index.html");
/// What a browser may run of it: the script and the style that are in it, and nothing that somebody else brings in.
const POLICY: &str = include_str!("../../page/dist/policy");

pub(super) async fn dashboard() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE)
}
