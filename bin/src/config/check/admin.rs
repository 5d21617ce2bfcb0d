//! Checks the admin endpoint: its address and token.

use std::fs;
use std::net::IpAddr;

use switchboard::Endpoint;

use super::config::{Admin, Check};
use crate::config::sections::{AdminSettings, Token};
use crate::config::tree::path;

impl Check<'_> {
    /// An endpoint that other machines can reach requires a token.
    pub(super) fn admin(&mut self) -> Option<Admin> {
        let settings = self.file.admin.as_ref()?;
        let (listen, token) = (path("admin.listen"), path("admin.token"));
        let secret = self.token(settings);
        let has_failed = self.report.is_invalid(&token) || self.report.is_invalid(&path("admin.token_file"));
        let Some(endpoint) = settings.listen.clone() else {
            if !self.report.is_invalid_in(&path("admin")) {
                let what = "is missing; write it like \"tcp://127.0.0.1:9900\" or \"unix:/run/switchboard/admin.sock\"";
                self.report.add(&listen, what, self.merged.origin(&path("admin")));
            }
            return None;
        };
        if !matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)) {
            let what = format!("\"{endpoint}\" cannot be used for [admin]; use tcp://127.0.0.1:9900 or unix:/path");
            self.reject(&listen, what);
        } else if !is_local(&endpoint) && secret.is_none() && !has_failed {
            let what = format!(
                "\"{endpoint}\" is reachable from other machines, so set admin.token or admin.token_file; or listen on 127.0.0.1 \
                 or a Unix socket"
            );
            self.reject(&listen, what);
        }
        Some(Admin { endpoint, token: secret })
    }

    fn token(&mut self, settings: &AdminSettings) -> Option<Token> {
        let key = path("admin.token_file");
        let read = match (&settings.token, &settings.token_file) {
            (Some(_), Some(_)) => Err("cannot be set together with admin.token; remove one".to_owned()),
            (None, Some(file)) => fs::read_to_string(file)
                .map_err(|error| error.to_string())
                .and_then(|text| Ok(text.trim().parse().map(Some)?))
                .map_err(|error| format!("cannot read a token from {}: {error}", file.display())),
            (token, None) => Ok(token.clone()),
        };
        read.unwrap_or_else(|what| {
            self.reject(&key, what);
            None
        })
    }
}

fn is_local(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(at) => {
            at.host == "localhost" || at.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
        }
        Endpoint::Unix(_) => true,
        _ => false,
    }
}
