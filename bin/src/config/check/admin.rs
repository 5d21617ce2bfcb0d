//! The endpoint for operators: what is written about it, and what it must not be.

use std::fs;
use std::net::IpAddr;

use switchboard::Endpoint;

use crate::config::check::Check;
use crate::config::raw::RawAdmin;
use crate::config::tree::path;
use crate::config::value::{FilePath, Token};

/// The endpoint for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Where it listens: TCP, or a Unix socket.
    pub(crate) endpoint: Endpoint,
    /// What a request has to bring that changes something.
    pub(crate) token: Option<Token>,
}

impl Check<'_> {
    /// The endpoint for operators. Nobody far away changes anything without a token.
    pub(super) fn admin(&mut self) -> Option<Admin> {
        let raw = self.raw.admin.as_ref()?;
        let (listen, token) = (path("admin.listen"), path("admin.token"));
        let secret = self.token(raw);
        let has_failed = self.report.is_invalid(&token) || self.report.is_invalid(&path("admin.token_file"));
        let Some(endpoint) = raw.listen.as_ref().map(|listen| listen.0.clone()) else {
            if !self.report.is_invalid_in(&path("admin")) {
                let what = "is missing; write it like \"tcp://127.0.0.1:9900\" or \"unix:/run/switchboard/admin.sock\"";
                self.report.add(&listen, what, self.merged.origin(&path("admin")));
            }
            return None;
        };
        if !matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)) {
            let what = format!("\"{endpoint}\" is not for operators; write tcp://127.0.0.1:9900 or unix:/path");
            self.report.add(&listen, what, self.merged.origin(&listen));
        } else if !is_near(&endpoint) && secret.is_none() && !has_failed {
            let what = format!(
                "\"{endpoint}\" can be reached from other machines, so admin.token (or admin.token_file) is needed; or listen on \
                 127.0.0.1 or a Unix socket"
            );
            self.report.add(&listen, what, self.merged.origin(&listen));
        }
        Some(Admin { endpoint, token: secret })
    }

    fn token(&mut self, raw: &RawAdmin) -> Option<Token> {
        let key = path("admin.token_file");
        match (&raw.token, &raw.token_file) {
            (Some(_), Some(_)) => {
                let what = "stands beside admin.token; one of them is enough";
                self.report.add(&key, what, self.merged.origin(&key));
                None
            }
            (Some(token), None) => Some(token.clone()),
            (None, Some(FilePath(file))) => {
                let read = fs::read_to_string(file).map_err(|error| error.to_string());
                match read.and_then(|text| text.trim().parse::<Token>()) {
                    Ok(token) => Some(token),
                    Err(error) => {
                        let what = format!("no token can be read from {}: {error}", file.display());
                        self.report.add(&key, what, self.merged.origin(&key));
                        None
                    }
                }
            }
            (None, None) => None,
        }
    }
}

/// Whether only this machine can connect.
fn is_near(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(at) => {
            at.host == "localhost" || at.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
        }
        Endpoint::Unix(_) => true,
        _ => false,
    }
}
