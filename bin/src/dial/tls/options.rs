//! The flags for TLS.

use std::path::PathBuf;

use clap::{Args, ValueHint};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "TLS options")]
pub(crate) struct TlsOptions {
    /// Trust the certificates in this file (PEM) instead of those of the system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "insecure")]
    pub(super) ca: Option<PathBuf>,
    /// Certificate of the client (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Private key of the client's certificate (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Accept any certificate of the server, also an expired one or that of an attacker
    #[arg(long)]
    pub(super) insecure: bool,
    /// Name that the certificate of the server must have; default: the host of the address
    #[arg(long, value_name = "NAME")]
    pub(super) server_name: Option<String>,
    /// Offer this protocol (ALPN); can be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) alpn: Vec<String>,
}

impl TlsOptions {
    /// A flag that is set.
    pub(crate) fn first_flag(&self) -> Option<&'static str> {
        let flags = [
            (self.ca.is_some(), "--ca"),
            (self.cert.is_some(), "--cert"),
            (self.insecure, "--insecure"),
            (self.server_name.is_some(), "--server-name"),
            (!self.alpn.is_empty(), "--alpn"),
        ];
        flags.into_iter().find_map(|(is_set, flag)| is_set.then_some(flag))
    }
}
