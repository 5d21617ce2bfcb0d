//! Applies a new configuration to the running server, as a whole or not at all.

use std::sync::Arc;

use switchboard::server::{Changes, ReloadError};
use switchboard::{Registry, Running};

use crate::admin::Admin;
use crate::assemble::{self, Assembled};
use crate::config::{self, Config, Inputs};
use crate::handover::Executable;
use crate::log::Log;

/// Prefixes of the keys that only take effect at the next start; `*` matches any name.
const START_ONLY: [&[&str]; 2] = [&["runtime"], &["listeners", "*", "socket", "reuse_port"]];

/// What the server needs from its start to its end.
#[derive(Clone, Copy)]
pub(crate) struct ServerEnv<'e> {
    /// The sources of the configuration.
    pub(crate) inputs: &'e Inputs,
    pub(crate) registry: &'e Arc<Registry>,
    pub(crate) log: &'e Arc<Log>,
    /// The new process of an upgrade runs it.
    pub(crate) executable: &'e Executable,
}

/// The current configuration, and the sources of the next one.
pub(crate) struct Reload<'e> {
    current: Arc<Assembled>,
    /// The configuration at the start.
    initial: Arc<Config>,
    env: ServerEnv<'e>,
}

impl<'e> Reload<'e> {
    pub(crate) fn new(current: Assembled, env: ServerEnv<'e>) -> Self {
        Self { initial: current.config.clone(), current: Arc::new(current), env }
    }

    /// Reloads the configuration and logs the result. An error contains every reason why the reload was rejected.
    pub(crate) async fn reload(&mut self, running: &Running, admin: &Admin) -> Result<Changes, Vec<String>> {
        let reloaded = self.apply(running, admin).await;
        if let Err(errors) = &reloaded {
            tracing::warn!(target: "switchboard", errors = errors.len(), error = errors.join("; "), "reload rejected");
        }
        reloaded
    }

    async fn apply(&mut self, running: &Running, admin: &Admin) -> Result<Changes, Vec<String>> {
        let ServerEnv { inputs, registry, log, .. } = self.env;
        let (current, mut inputs, registry) = (self.current.clone(), inputs.clone(), registry.clone());
        // Reads files and creates handlers, which may block.
        let assembling = tokio::task::spawn_blocking(move || {
            inputs.environment = std::env::vars_os().collect();
            let config = config::load(&inputs, &registry);
            let config =
                config.map_err(|refused| assemble::all_faults(*refused, &registry, Some(&current)).sentences())?;
            assemble::assemble(config, &registry, Some(&current)).map_err(|diagnostics| diagnostics.sentences())
        });
        // The panic hook has logged the panic.
        let panicked = |_| Err(vec!["a handler or layer panicked while it was created".to_owned()]);
        let (listeners, assembled) = assembling.await.unwrap_or_else(panicked)?;
        // The admin endpoint goes first, because it can be restored if the rest is rejected.
        let changes_admin = assembled.config.admin != self.current.config.admin;
        if changes_admin {
            admin.reload(assembled.config.admin.as_ref()).await.map_err(|error| vec![error.to_string()])?;
        }
        let reloaded = running.reload(listeners).await;
        if reloaded.is_err() && changes_admin {
            let restored = admin.reload(self.current.config.admin.as_ref()).await;
            restored.map_err(|error| vec![error.to_string()])?;
        }
        let changes = reloaded.map_err(|error| match error {
            ReloadError::Start(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        })?;
        log.apply(&assembled.config.log);
        assemble::raise_open_files(&assembled.config);
        admin.set_config(&assembled.config);
        self.current = Arc::new(assembled);
        self.log_changes(&changes);
        Ok(changes)
    }

    fn log_changes(&self, changes: &Changes) {
        let config = &self.current.config;
        let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let [started, changed, stopped] =
            [&changes.started, &changes.changed, &changes.stopped].map(|names| names.join(","));
        let at_start = start_only_changes(&self.initial, config);
        tracing::info!(target: "switchboard", config = file, started, changed, stopped, at_start, "reloaded");
    }
}

/// Whether a key only takes effect at the next start.
pub(crate) fn needs_restart(key: &[String]) -> bool {
    let matches = |(part, segment): (&&str, &String)| *part == "*" || part == segment;
    START_ONLY.iter().any(|prefix| prefix.len() <= key.len() && prefix.iter().zip(key).all(matches))
}

/// The changed keys that only take effect at the next start.
fn start_only_changes(initial: &Config, current: &Config) -> String {
    let changed = initial.effective.differences(&current.effective);
    changed.iter().filter(|key| needs_restart(key)).map(|key| config::dotted(key)).collect::<Vec<_>>().join(",")
}
