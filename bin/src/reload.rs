//! Applies a new configuration to the running server, as a whole or not at all.

use std::sync::Arc;

use switchboard::server::{Changes, ReloadError};
use switchboard::{Registry, Running};

use crate::admin::Admin;
use crate::assemble::{self, Assembled};
use crate::config::{self, Config, Inputs};
use crate::log::Log;

/// The current configuration, and the sources of the next one.
pub(crate) struct Reload<'s> {
    pub(crate) inputs: &'s Inputs,
    pub(crate) registry: &'s Arc<Registry>,
    pub(crate) log: &'s Arc<Log>,
    pub(crate) initial: Arc<Config>,
    pub(crate) current: Arc<Assembled>,
}

impl Reload<'_> {
    /// Reloads the configuration. An error contains every reason why the reload was rejected.
    pub(crate) async fn reload(&mut self, running: &Running, admin: &Admin) -> Result<Changes, Vec<String>> {
        let (current, mut inputs, registry) = (self.current.clone(), self.inputs.clone(), self.registry.clone());
        // Reads files and creates handlers, which may block.
        let assembling = tokio::task::spawn_blocking(move || {
            inputs.environment = std::env::vars_os().collect();
            config::load(&inputs, &registry)
                .map_err(|invalid| assemble::all_errors(*invalid, &registry, Some(&current)))
                .and_then(|config| assemble::assemble(config, &registry, Some(&current)))
                .map_err(|diagnostics| diagnostics.sentences())
        });
        // A default file that has disappeared: without it the server would start with other listeners.
        self.check_file().map_err(|error| vec![error])?;
        // The panic hook has logged the panic.
        let panicked = |_| Err(vec!["a handler or layer panicked while it was created".to_owned()]);
        let (listeners, assembled) = assembling.await.unwrap_or_else(panicked)?;
        // The admin endpoint goes first, because it can be restored if the rest is rejected.
        let (settings, previous) = (assembled.config.admin.as_ref(), self.current.config.admin.as_ref());
        if settings != previous {
            admin.configure(settings, Vec::new()).await.map_err(|error| vec![error.to_string()])?;
        }
        let changes = match running.reload(listeners).await {
            Ok(changes) => changes,
            Err(error) => {
                let mut errors = match error {
                    ReloadError::Start(errors) => errors.iter().map(ToString::to_string).collect(),
                    other => vec![other.to_string()],
                };
                if settings != previous
                    && let Err(error) = admin.configure(previous, Vec::new()).await
                {
                    errors.push(format!("cannot restore the admin endpoint: {error}"));
                }
                return Err(errors);
            }
        };
        self.log.apply(&assembled.config.log);
        assemble::raise_open_files(&assembled.config);
        admin.set_config(&assembled.config);
        self.current = Arc::new(assembled);
        self.log_changes(&changes);
        Ok(changes)
    }

    /// Fails if the configuration file of this process no longer exists, perhaps together with the working directory.
    pub(crate) fn check_file(&self) -> Result<(), String> {
        match &self.current.config.file {
            Some(file) if !file.exists() => Err(format!(
                "the configuration file {} no longer exists; restore it, or restart the server without it",
                file.display()
            )),
            _ => Ok(()),
        }
    }

    fn log_changes(&self, changes: &Changes) {
        let config = &self.current.config;
        let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let [started, changed, stopped] =
            [&changes.started, &changes.changed, &changes.stopped].map(|names| names.join(","));
        let keys = self.initial.effective.differences(&config.effective);
        let at_start = keys.iter().filter(|key| config::needs_restart(key)).map(|key| config::dotted(key));
        let at_start = at_start.collect::<Vec<_>>().join(",");
        tracing::info!(target: "switchboard", config = file, started, changed, stopped, at_start, "reloaded");
    }
}
