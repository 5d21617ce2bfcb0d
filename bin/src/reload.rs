//! A reload: everything is read and checked again, compared with what runs, and applied as a whole or not at all.
//!
//! It does not know who asks.

use std::ffi::OsString;
use std::sync::Arc;

use switchboard::server::{Changes, ReloadError};
use switchboard::{Registry, Running};

use crate::assemble::{self, Assembled};
use crate::config::{self, Config, Inputs};
use crate::log::Log;

/// What takes effect at the next start, as the beginning of a path; `*` stands for any name. Everything else changes at once.
const AT_START: [&[&str]; 2] = [&["runtime"], &["listeners", "*", "socket", "reuse_port"]];

/// What runs, and where to look for what should.
pub(crate) struct Reload {
    current: Arc<Assembled>,
    /// What the process was started with.
    first: Arc<Config>,
    inputs: Inputs,
    registry: Arc<Registry>,
    log: Arc<Log>,
}

impl Reload {
    /// What runs, and where its configuration was read from.
    pub(crate) fn new(current: Assembled, inputs: Inputs, registry: Arc<Registry>, log: Arc<Log>) -> Self {
        Self { first: current.config.clone(), current: Arc::new(current), inputs, registry, log }
    }

    /// Reloads the server, and says in the log what came of it; if it is refused, all the sentences that say why. The server goes
    /// on meanwhile.
    pub(crate) async fn reload(&mut self, running: &Running) -> Result<(), Vec<String>> {
        let reloaded = self.apply(running).await;
        if let Err(refusals) = &reloaded {
            tracing::warn!(target: "switchboard", errors = refusals.len(), error = refusals.join("; "), "reload refused");
        }
        reloaded
    }

    async fn apply(&mut self, running: &Running) -> Result<(), Vec<String>> {
        let (current, mut inputs, registry) = (self.current.clone(), self.inputs.clone(), self.registry.clone());
        // Files are read, handlers are made to hear what they say: nothing for a thread that serves.
        let made = tokio::task::spawn_blocking(move || {
            inputs.environment = environment();
            let config = config::load(&inputs, &registry);
            let config =
                config.map_err(|refused| assemble::all_faults(*refused, &registry, Some(&current)).sentences())?;
            assemble::assemble(config, &registry, Some(&current)).map_err(|faults| faults.sentences())
        });
        // A handler of somebody else may panic when it is made; the panic itself has been logged.
        let (board, assembled) = made.await.unwrap_or_else(|_| Err(vec!["it panicked".to_owned()]))?;
        let Changes { started, changed, stopped, .. } =
            running.reload(board).await.map_err(|refused| match refused {
                ReloadError::Start(errors) => errors.iter().map(ToString::to_string).collect(),
                other => vec![other.to_string()],
            })?;
        self.log.follow(&assembled.config.log);
        assemble::raise_open_files(&assembled.config);
        let at_start = at_start(&self.first, &assembled.config);
        self.current = Arc::new(assembled);
        let file = self.current.config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let [started, changed, stopped] = [started, changed, stopped].map(|names| names.join(","));
        tracing::info!(target: "switchboard", config = file, started, changed, stopped, at_start, "reloaded");
        Ok(())
    }
}

fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// The keys that wait for the next start.
fn at_start(first: &Config, now: &Config) -> String {
    let waits = |key: &config::Path| {
        let is_part = |(part, segment): (&&str, &String)| *part == "*" || part == segment;
        AT_START.iter().any(|begin| begin.len() <= key.len() && begin.iter().zip(key).all(is_part))
    };
    let differ = first.effective.differences(&now.effective);
    differ.iter().filter(|key| waits(key)).map(|key| config::dotted(key)).collect::<Vec<_>>().join(",")
}
