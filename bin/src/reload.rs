//! Applies a new configuration to the running server, as a whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use switchboard::deadline_timer::timeout_at;
use switchboard::log::Log;
use switchboard::server::{Changes, ReloadError};
use switchboard::{ListenerSet, Registry, Running};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::admin::{Admin, Difference, ReloadMode, Reloaded};
use crate::assemble::{self, Assembled};
use crate::certificates;
use crate::config::{self, Config, Inputs};
use crate::config_diff;
use crate::descriptors;
use crate::warnings;

/// How long a whole reload may take.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Reloads whose files are being read, the current one included. A read of a FIFO or of a network file system can block
/// forever, and nothing can cancel it.
const MAX_READERS: usize = 4;

/// The current configuration, and the sources of the next one.
pub(crate) struct Reload<'s> {
    pub(crate) inputs: &'s Inputs,
    pub(crate) registry: &'s Arc<Registry>,
    pub(crate) log: &'s Option<Arc<Log>>,
    pub(crate) initial: Arc<Config>,
    pub(crate) current: Arc<Assembled>,
    pub(crate) readers: Readers,
}

impl Reload<'_> {
    /// Reloads the configuration. An error contains every reason why the reload was rejected.
    pub(crate) async fn reload(
        &mut self,
        running: &Running,
        admin: &Admin,
        mode: ReloadMode,
    ) -> Result<Reloaded, Vec<String>> {
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        let (mut listeners, assembled) = tokio::select! {
            biased;
            () = running.stopping() => return Err(vec![ReloadError::Draining.to_string()]),
            assembled = self.assemble(deadline) => assembled?,
        };
        // A default file that has disappeared: without it the server would have other listeners.
        self.check_file().map_err(|error| vec![error])?;
        if !mode.is_forced && !listeners.keeps_any_of(running) {
            return Err(vec![removes_every_listener(running)]);
        }
        let running_values = config::running(&self.initial, &self.current.config);
        let mut differences = config_diff::differences(&running_values, &assembled.config);
        let certificates = running.certificates();
        if mode.is_dry_run {
            differences.extend(certificates::differences(&certificates, &assembled.certificates));
            return Ok(Reloaded { changes: None, differences });
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        listeners.prepare_timeout(timeout);
        // The admin endpoint goes first, because it can be restored if the rest is rejected.
        let (settings, previous) = (assembled.config.admin.as_ref(), self.current.config.admin.as_ref());
        if settings != previous {
            admin.configure(settings, Vec::new(), timeout).await.map_err(|error| vec![error.to_string()])?;
        }
        let changes = match running.reload(listeners).await {
            Ok(changes) => changes,
            Err(error) => {
                let mut errors = match error {
                    ReloadError::Start(errors) => errors.iter().map(ToString::to_string).collect(),
                    other => vec![other.to_string()],
                };
                if settings != previous
                    && let Err(error) = admin.configure(previous, Vec::new(), RELOAD_TIMEOUT).await
                {
                    errors.push(format!("cannot restore the admin endpoint: {error}"));
                }
                return Err(errors);
            }
        };
        if let Some(log) = self.log {
            let _ = log.apply(&assembled.config.log); // the configuration is valid
        }
        // Those that are in use now: a file can have changed since it was read.
        let loaded = running.certificates();
        let changed = certificates::differences(&certificates, &loaded);
        warnings::log(&assembled.config, &loaded);
        warnings::check_recorder(assembled.recorder.as_ref());
        descriptors::provide(&assembled.config);
        admin.set_config(&assembled.config);
        self.current = Arc::new(assembled);
        self.log_changes(&changes, &changed);
        differences.extend(changed);
        Ok(Reloaded { changes: Some(changes), differences })
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

    /// Reads the files and creates the handlers.
    async fn assemble(&self, deadline: Instant) -> Result<(ListenerSet, Assembled), Vec<String>> {
        let (current, mut inputs, registry) = (self.current.clone(), self.inputs.clone(), self.registry.clone());
        let assembling = self.readers.read(deadline, move || {
            inputs.environment = std::env::vars_os().collect();
            config::load(&inputs, &registry)
                .map_err(|invalid| assemble::all_errors(*invalid, &registry, Some(&current)))
                .and_then(|config| assemble::assemble(config, &registry, Some(&current)))
                .map_err(|diagnostics| diagnostics.sentences())
        });
        assembling.await.map_err(|error| vec![error])?
    }

    fn log_changes(&self, changes: &Changes, certificates: &[Difference]) {
        let config = &self.current.config;
        let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let [started, changed, stopped] =
            [&changes.started, &changes.changed, &changes.stopped].map(|names| names.join(","));
        let keys = self.initial.effective.differences(&config.effective);
        let at_start = keys.iter().filter(|key| config::needs_restart(key)).map(|key| config::dotted(key));
        let at_start = at_start.collect::<Vec<_>>().join(",");
        let certificates = certificates.iter().map(|change| &*change.key).collect::<Vec<_>>().join(",");
        tracing::info!(
            target: "switchboard",
            config = file, started, changed, stopped, certificates, at_start,
            "reloaded"
        );
    }
}

fn removes_every_listener(running: &Running) -> String {
    let current = running.addresses().into_iter().map(|(name, address)| format!("{name} at {address}"));
    let current = current.collect::<Vec<_>>().join(", ");
    format!(
        "the configuration keeps none of the current listeners ({current}); keep one of them, or force the reload with \
         `switchboard reload --force` (POST /reload?force=true at the admin endpoint)"
    )
}

/// Threads that read the files of a reload.
pub(crate) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READERS)))
    }
}

impl Readers {
    /// Runs `read` on a thread that may block. At the deadline the thread is left alone, and its result is dropped.
    async fn read<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let permit = self.0.clone().try_acquire_owned().map_err(|_| {
            format!("{MAX_READERS} earlier reloads still wait for a file; check for FIFOs and network file systems")
        })?;
        let reading = tokio::task::spawn_blocking(move || {
            let result = read();
            drop(permit);
            result
        });
        match timeout_at(deadline, reading).await {
            Ok(Ok(result)) => Ok(result),
            // The panic hook has logged the panic.
            Ok(Err(_)) => Err("a handler or layer panicked while it was created".to_owned()),
            Err(_) => Err(format!(
                "the configuration and its files were not read within {} s; a file may be a FIFO, or its file system does \
                 not respond",
                RELOAD_TIMEOUT.as_secs()
            )),
        }
    }
}

#[cfg(test)]
mod tests;
