//! A reload: everything is read and checked again, compared with what runs, and applied as a whole or not at all.
//!
//! What can be applied to a server that runs is the table [`APPLIED`]. It does not know who asks.

use std::ffi::OsString;
use std::sync::Arc;

use switchboard::{Registry, Running};

use crate::assemble;
use crate::config::{self, Config, Inputs};

/// What a reload can change, as the beginning of a path; `*` stands for any name. Certificates are read again even where no key
/// has changed.
const APPLIED: [&[&str]; 1] = [&["listeners", "*", "tls"]];

/// What runs, and where to look for what should.
#[derive(Debug)]
pub(crate) struct Reload {
    current: Arc<Config>,
    inputs: Inputs,
    registry: Arc<Registry>,
}

impl Reload {
    /// A configuration that runs, and where it was read from.
    pub(crate) fn new(current: Config, inputs: Inputs, registry: Arc<Registry>) -> Self {
        Self { current: Arc::new(current), inputs, registry }
    }

    /// Reloads the server, and says in the log what came of it. The server goes on meanwhile.
    pub(crate) async fn reload(&mut self, running: &Arc<Running>) {
        let (current, running) = (self.current.clone(), running.clone());
        let (mut inputs, registry) = (self.inputs.clone(), self.registry.clone());
        // Files are read, handlers are made to hear what they say: nothing for a thread that serves.
        let applied = tokio::task::spawn_blocking(move || {
            inputs.environment = environment();
            apply(&current, &inputs, &registry, &running)
        });
        match applied.await {
            Ok(Ok(config)) => {
                let file = config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
                self.current = Arc::new(config);
                tracing::info!(target: "switchboard", config = file, "reloaded");
            }
            Ok(Err(refusals)) => {
                tracing::warn!(target: "switchboard", errors = refusals.len(), error = refusals.join("; "), "reload refused");
            }
            // A handler of somebody else may panic when it is made; the panic itself has been logged.
            Err(_) => tracing::warn!(target: "switchboard", errors = 1, error = "it panicked", "reload refused"),
        }
    }
}

fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Reads, checks, compares, applies. Answers with what runs now, or with all that is wrong.
fn apply(current: &Config, inputs: &Inputs, registry: &Registry, running: &Running) -> Result<Config, Vec<String>> {
    let config =
        config::load(inputs, registry).map_err(|refused| assemble::all_faults(*refused, registry).sentences())?;
    let faults = assemble::refusals(&config, registry);
    if !faults.is_empty() {
        return Err(faults.sentences());
    }
    let other = current.effective.differences(&config.effective);
    let other: Vec<String> = other.iter().filter(|key| !is_applied(key)).map(|key| config::dotted(key)).collect();
    if !other.is_empty() {
        return Err(vec![format!(
            "this build applies new certificates only, and these keys differ from what runs: {}; put them back, or restart",
            other.join(", ")
        )]);
    }
    let settings = config.listeners.iter().filter_map(|(name, listener)| Some((&**name, listener.spec.tls.as_ref()?)));
    running.reload_tls(settings).map_err(|error| vec![error.to_string()])?;
    Ok(config)
}

fn is_applied(key: &[String]) -> bool {
    APPLIED.iter().any(|applied| {
        let is_part = |(part, segment): (&&str, &String)| *part == "*" || part == segment;
        applied.len() <= key.len() && applied.iter().zip(key).all(is_part)
    })
}
