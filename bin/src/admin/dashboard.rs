//! The dashboard: one HTML document that loads nothing from other hosts.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;

/// Built from `bin/page`.
const HTML: &str = include_str!("../../page/dist/index.html");
/// Allows only the script and the style of this document.
const POLICY: &str = include_str!("../../page/dist/policy");

pub(super) async fn dashboard() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, HTML)
}
