//! A reload: everything is read and checked again, compared with what runs, and applied as a whole or not at all.
//!
//! It does not know who asks.

use std::ffi::OsString;
use std::sync::Arc;

use switchboard::server::{Changes, ReloadError};
use switchboard::{Registry, Running};

use crate::admin::Admin;
use crate::assemble::{self, Assembled};
use crate::config::{self, Config, Inputs};
use crate::handover::Program;
use crate::log::Log;

/// What takes effect at the next start, as the beginning of a path; `*` stands for any name. Everything else changes at once.
const AT_START: [&[&str]; 2] = [&["runtime"], &["listeners", "*", "socket", "reuse_port"]];

/// What runs, and where to look for what should.
pub(crate) struct Reload<'h> {
    current: Arc<Assembled>,
    /// What the process was started with.
    first: Arc<Config>,
    env: ServerEnv<'h>,
}

/// What a server lives in from beginning to end.
#[derive(Clone, Copy)]
pub(crate) struct ServerEnv<'h> {
    /// Where the configuration is read from.
    pub(crate) inputs: &'h Inputs,
    pub(crate) registry: &'h Arc<Registry>,
    pub(crate) log: &'h Arc<Log>,
    /// What the next process is made of.
    pub(crate) program: &'h Program,
}

impl<'h> Reload<'h> {
    /// What runs.
    pub(crate) fn new(current: Assembled, env: ServerEnv<'h>) -> Self {
        Self { first: current.config.clone(), current: Arc::new(current), env }
    }

    /// Reloads the server, and says in the log what came of it; if it is refused, all the sentences that say why. The server goes
    /// on meanwhile.
    pub(crate) async fn reload(&mut self, running: &Running, admin: &Admin) -> Result<(), Vec<String>> {
        let reloaded = self.apply(running, admin).await;
        if let Err(refusals) = &reloaded {
            tracing::warn!(target: "switchboard", errors = refusals.len(), error = refusals.join("; "), "reload refused");
        }
        reloaded
    }

    async fn apply(&mut self, running: &Running, admin: &Admin) -> Result<(), Vec<String>> {
        let ServerEnv { inputs, registry, log, .. } = self.env;
        let (current, mut inputs, registry) = (self.current.clone(), inputs.clone(), registry.clone());
        // Files are read, handlers are made to hear what they say: nothing for a thread that serves.
        let made = tokio::task::spawn_blocking(move || {
            inputs.environment = environment();
            let config = config::load(&inputs, &registry);
            let config =
                config.map_err(|refused| assemble::all_faults(*refused, &registry, Some(&current)).sentences())?;
            assemble::assemble(config, &registry, Some(&current)).map_err(|diagnostics| diagnostics.sentences())
        });
        // A handler of somebody else may panic when it is made; the panic itself has been logged.
        let (board, assembled) = made.await.unwrap_or_else(|_| Err(vec!["it panicked".to_owned()]))?;
        // First the endpoint for operators, since it goes back to where it was if anything else is refused.
        let changes_admin = assembled.config.admin != self.current.config.admin;
        if changes_admin {
            admin.follow(assembled.config.admin.as_ref()).await.map_err(|error| vec![error.to_string()])?;
        }
        let reloaded = running.reload(board).await;
        if reloaded.is_err() && changes_admin {
            let back = admin.follow(self.current.config.admin.as_ref()).await;
            back.map_err(|error| vec![error.to_string()])?;
        }
        let Changes { started, changed, stopped, .. } = reloaded.map_err(|refused| match refused {
            ReloadError::Start(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        })?;
        log.follow(&assembled.config.log);
        assemble::raise_open_files(&assembled.config);
        let at_start = at_start(&self.first, &assembled.config);
        admin.show(&assembled.config);
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

/// Whether a key takes effect at the next start.
pub(crate) fn waits_for_the_start(key: &[String]) -> bool {
    let is_part = |(part, segment): (&&str, &String)| *part == "*" || part == segment;
    AT_START.iter().any(|begin| begin.len() <= key.len() && begin.iter().zip(key).all(is_part))
}

/// The keys that wait for the next start.
fn at_start(first: &Config, now: &Config) -> String {
    let differ = first.effective.differences(&now.effective);
    differ.iter().filter(|key| waits_for_the_start(key)).map(|key| config::dotted(key)).collect::<Vec<_>>().join(",")
}
