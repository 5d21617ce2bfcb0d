//! A valid configuration, and the context of the checks that build it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;
use switchboard::framing::AnyFraming;
use switchboard::server::ListenerSpec;
use switchboard::settings::{BanSettings, DrainSettings, FleetSettings, LogSettings, RecorderSettings};
use switchboard::{Endpoint, Kind, Registry};

use crate::config::diagnostic::Report;
use crate::config::origin::Origin;
use crate::config::print::Effective;
use crate::config::sections::{ConfigFile, Token};
use crate::config::source::Merged;
use crate::config::tree::{self, Path};

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) log: LogSettings,
    pub(crate) admin: Option<Admin>,
    pub(crate) drain: DrainSettings,
    pub(crate) workers: usize,
    pub(crate) bans: BanSettings,
    pub(crate) fleet: Option<FleetSettings>,
    pub(crate) recorder: Option<RecorderSettings>,
    pub(crate) listeners: BTreeMap<String, Listener>,
    /// The handlers by the names of their sections, used or not.
    pub(crate) handlers: BTreeMap<String, Section>,
    /// The layers by the names of their sections, used or not.
    pub(crate) layers: BTreeMap<String, Section>,
    /// The same values for printing, with origins.
    pub(crate) effective: Effective,
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) spec: ListenerSpec,
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
    pub(crate) kind: String,
    /// The options, which the type accepts.
    pub(crate) options: Json,
    pub(crate) is_valid: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admin {
    /// TCP, or a Unix socket.
    pub(crate) endpoint: Endpoint,
    /// Required for every modifying request.
    pub(crate) token: Option<Token>,
}

/// What every check uses: the settings, their origins and the report.
pub(super) struct Check<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) merged: &'a Merged,
    pub(super) registry: &'a Registry,
    pub(super) report: &'a mut Report,
}

impl Check<'_> {
    pub(super) fn is_set(&self, key: &[String]) -> bool {
        tree::get(&self.merged.tree, key).is_some_and(|value| !self.merged.origin_of(key, value).is_default())
    }

    /// Reports an error of a key with the origin of its value.
    pub(super) fn reject(&mut self, key: &[String], what: impl Into<String>) {
        self.report.add(key, what, self.merged.origin(key));
    }

    /// The origin of the first of these keys that a source sets.
    pub(super) fn first_origin<const N: usize>(&self, keys: [&Path; N]) -> Option<Origin> {
        keys.into_iter().find(|key| self.is_set(key)).and_then(|key| self.merged.origin(key))
    }
}
