//! A valid configuration: what the program runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;
use switchboard::Kind;
use switchboard::framing::AnyFraming;
use switchboard::server::ListenerSpec;
use switchboard::settings::DrainSettings;

use super::admin::Admin;
use crate::config::print::Effective;
use crate::config::sections::Log;

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// Logging.
    pub(crate) log: Log,
    /// The admin endpoint, if it is enabled.
    pub(crate) admin: Option<Admin>,
    pub(crate) drain: DrainSettings,
    /// Worker threads.
    pub(crate) workers: usize,
    /// The listeners, by name.
    pub(crate) listeners: BTreeMap<String, Listener>,
    /// The handlers by the names of their sections, used or not.
    pub(crate) handlers: BTreeMap<String, Section>,
    /// The layers by the names of their sections, used or not.
    pub(crate) layers: BTreeMap<String, Section>,
    /// The same values for printing, with origins.
    pub(crate) effective: Effective,
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Address and settings.
    pub(crate) spec: ListenerSpec,
    /// The kind of its transport.
    pub(crate) kind: Kind,
    /// The name of the section of its handler.
    pub(crate) handler: String,
    pub(crate) framing: AnyFraming,
    /// The names of the sections of its layers, the outermost first.
    pub(crate) layers: Vec<String>,
}

/// A section of a handler or layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// The registered type.
    pub(crate) kind: String,
    /// The options, which the type accepts.
    pub(crate) options: Json,
    /// Whether the section has no errors.
    pub(crate) is_sound: bool,
}
