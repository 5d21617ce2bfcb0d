//! The admin endpoint of the running server: its address and its token, from flags or from the configuration.

use std::ffi::OsString;

use switchboard::settings::file::{read_text, reason};
use switchboard::settings::text::escape_unsafe;
use switchboard::{Endpoint, Registry};

use crate::client::options::{EndpointOptions, ServerOptions};
use crate::config::{self, Config, Inputs, Origin, Token};
use crate::failure::Failure;

/// The variables that set the token. With `--admin` nothing else of the configuration is used.
const TOKEN_VARIABLES: [&str; 2] = ["SWITCHBOARD_ADMIN__TOKEN", "SWITCHBOARD_ADMIN__TOKEN_FILE"];

/// The origin of an address that a flag names.
pub(super) const FLAG: &str = "flag --admin";

#[derive(Debug, Clone)]
pub(crate) struct AdminAddress {
    pub(super) endpoint: Endpoint,
    pub(super) token: Option<Token>,
    /// Where the address is set.
    pub(super) origin: String,
    /// What is wrong with the configuration that names the endpoint.
    pub(super) note: &'static str,
}

impl AdminAddress {
    /// The endpoint that a valid configuration names.
    fn of(config: &Config) -> Option<Self> {
        let config::Admin { endpoint, token } = config.admin.clone()?;
        let origin = format!("admin.listen, {}", config.effective.origin(&["admin", "listen"].map(str::to_owned)));
        Some(Self { endpoint, token, origin, note: "" })
    }

    /// The endpoint that the flags name, or else a valid configuration.
    pub(crate) fn for_config(config: &Config, options: &EndpointOptions) -> Result<Self, Failure> {
        let address = match &options.admin {
            Some(endpoint) => {
                check_transport(endpoint)?;
                let token = config.admin.as_ref().and_then(|admin| admin.token.clone());
                Self { endpoint: endpoint.clone(), token, origin: FLAG.to_owned(), note: "" }
            }
            None => Self::of(config).ok_or_else(|| {
                let error = "cannot ask the running server, because [admin] is not configured";
                Failure::new(format_args!(
                    "{error}; name its address: --admin ADDRESS, or compare with a file: --against FILE"
                ))
            })?,
        };
        address.with_token_of(options)
    }

    /// The endpoint that the flags name, or else the configuration.
    pub(super) fn find(
        options: &ServerOptions,
        environment: impl Iterator<Item = (OsString, OsString)>,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let address = match &options.endpoint.admin {
            Some(endpoint) => Self::of_flag(endpoint, options, environment, registry)?,
            None => Self::of_configuration(options, environment, registry)?,
        };
        address.with_token_of(&options.endpoint)
    }

    fn with_token_of(mut self, options: &EndpointOptions) -> Result<Self, Failure> {
        if let Some(file) = &options.token_file {
            let token = read_text(file).map_err(|error| reason(&error)).and_then(|text| Ok(text.trim().parse()?));
            let error = |error| Failure::unusable(format_args!("--token-file {}: {error}", file.display()));
            self.token = Some(token.map_err(error)?);
        }
        Ok(self)
    }

    fn of_flag(
        endpoint: &Endpoint,
        options: &ServerOptions,
        environment: impl Iterator<Item = (OsString, OsString)>,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        check_transport(endpoint)?;
        let is_token = |variable: &OsString| TOKEN_VARIABLES.iter().any(|name| variable == name);
        let inputs = Inputs {
            environment: match options.endpoint.token_file {
                Some(_) => Vec::new(),
                None => environment.filter(|(variable, _)| is_token(variable)).collect(),
            },
            flags: vec![("--admin".to_owned(), "admin.listen".to_owned(), endpoint.to_string())],
            ..Inputs::default()
        };
        let config = config::load(&inputs, registry).map_err(|invalid| Failure::config(invalid.diagnostics))?;
        let token = config.admin.and_then(|admin| admin.token);
        Ok(Self { endpoint: endpoint.clone(), token, origin: FLAG.to_owned(), note: "" })
    }

    /// An error in another part of the configuration is no reason to fail: the running server has an older one.
    fn of_configuration(
        options: &ServerOptions,
        environment: impl Iterator<Item = (OsString, OsString)>,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let inputs = Inputs {
            file_origin: options.config.as_ref().map(|_| Origin::new("flag --config")),
            file: options.config.clone(),
            search: config::DEFAULT_FILES.iter().map(Into::into).collect(),
            environment: environment.collect(),
            ..Inputs::default()
        };
        match config::load(&inputs, registry) {
            Ok(config) => Self::of(&config).ok_or_else(|| no_admin(&config)),
            Err(invalid) => match invalid.rest.as_ref().and_then(Self::of) {
                Some(address) => {
                    let note = "; the configuration has errors, which `switchboard check` shows";
                    Ok(Self { note, ..address })
                }
                None => {
                    let hint = "to use a running server without its configuration, name its address: --admin ADDRESS";
                    Err(Failure::config(invalid.diagnostics).with_note(hint))
                }
            },
        }
    }
}

fn check_transport(endpoint: &Endpoint) -> Result<(), Failure> {
    if matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)) {
        return Ok(());
    }
    let what = "an admin endpoint has an address such as tcp://127.0.0.1:9900 or unix:/path";
    let endpoint = escape_unsafe(&endpoint.to_string(), |_| false);
    Err(Failure::usage(format_args!("invalid value '{endpoint}' for '--admin <ADDRESS>': {what}")))
}

fn no_admin(config: &Config) -> Failure {
    let found = match &config.file {
        Some(file) => format!("{} has no [admin] section", file.display()),
        None => "no configuration file and no variable names the admin endpoint".to_owned(),
    };
    Failure::unusable(format_args!(
        "{found}; set admin.listen and restart the server, or name the address of a running server: --admin ADDRESS"
    ))
}
