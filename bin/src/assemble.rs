//! Builds the server from a valid configuration: the runtime, and the listeners with their handlers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use switchboard::bans::Bans;
use switchboard::error::BoxError;
use switchboard::fleet::Fleet;
#[cfg(feature = "fleet")]
use switchboard::fleet::FleetError;
use switchboard::recorder::Recorder;
use switchboard::registry::{HandlerInstance, LayerInstance};
use switchboard::transport::tls::TlsAcceptor;
use switchboard::{ListenerSet, Registry};
use tokio::runtime::{Builder, Runtime};

use crate::certificates::Certificates;
use crate::config::{self, Config, Diagnostic, Diagnostics, Inputs, LoadError, Section};
use crate::descriptors;
use crate::failure::Failure;

/// How long a thread for blocking tasks, such as reading files, waits for another one if there is a single worker.
const BLOCKING_THREAD_KEEP_ALIVE: Duration = Duration::from_millis(100);

/// The runtime of the server. A single worker runs on the current thread, where a wake-up costs about 5% less. While
/// the process has no other thread, its system calls cost less too.
pub(crate) fn runtime(workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers {
        1 => {
            let mut builder = Builder::new_current_thread();
            builder.thread_keep_alive(BLOCKING_THREAD_KEEP_ALIVE);
            builder
        }
        workers => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.thread_name("worker").enable_all().build()
}

/// A configuration and its handlers. All listeners that name a section share its handler instance.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) config: Arc<Config>,
    handlers: BTreeMap<String, HandlerInstance>,
    /// The content of the TLS files.
    pub(crate) certificates: Certificates,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) recorder: Option<Recorder>,
}

/// Builds all listeners with their handlers, to start or to reload the server. A handler or layer can reject its
/// options here. Must be called inside a tokio runtime, because handlers may spawn tasks.
///
/// Handlers whose section has not changed since `before` are the same instances and keep their state.
pub(crate) fn assemble(
    config: Config,
    registry: &Registry,
    before: Option<&Assembled>,
) -> Result<(ListenerSet, Assembled), Diagnostics> {
    let mut assembler = Assembler::new(&config, registry, before);
    let mut listeners = ListenerSet::new(registry.transport_table());
    let bans = Bans::new(config.bans.clone());
    if before.is_none() {
        assembler.load_bans(&bans);
    }
    listeners.drain_settings(config.drain).bans(bans);
    let descriptor_limit = descriptors::limit_of_connections();
    let fleet = assembler.fleet();
    let recorder = assembler.recorder();
    let mut handlers = BTreeMap::new();
    for name in config.listeners.values().map(|listener| &listener.handler) {
        if !handlers.contains_key(name) {
            let running = before.filter(|_| assembler.is_known_handler(name));
            let running = running.and_then(|before| before.handlers.get(name)).cloned();
            handlers.extend(running.or_else(|| assembler.handler(name)).map(|handler| (name.clone(), handler)));
        }
    }
    for listener in config.listeners.values() {
        let mut spec = listener.spec.clone();
        spec.framing = listener.framing.clone();
        spec.descriptor_limit = descriptor_limit;
        spec.fleet = fleet.clone();
        spec.recorder = recorder.clone();
        spec.layers = listener.layers.iter().filter_map(|name| assembler.layer(name)).collect();
        if let Some(handler) = handlers.get(&listener.handler) {
            listeners.listen(spec, handler);
        }
    }
    let handles = |name: &str| config.listeners.values().any(|listener| listener.handler == name);
    let layers =
        |name: &str| config.listeners.values().any(|listener| listener.layers.iter().any(|layer| layer == name));
    assembler.try_others(handles, layers);
    let Assembler { diagnostics, certificates, .. } = assembler;
    if diagnostics.is_empty() {
        Ok((listeners, Assembled { config: Arc::new(config), handlers, certificates, fleet, recorder }))
    } else {
        Err(diagnostics)
    }
}

/// Builds each changed handler and layer and loads the TLS files, and returns the errors. Everything built is dropped.
pub(crate) fn build_errors(config: &Config, registry: &Registry, before: Option<&Assembled>) -> Diagnostics {
    match runtime(1) {
        Ok(runtime) => {
            let mut assembler = Assembler::new(config, registry, before);
            if before.is_none() {
                assembler.load_bans(&Bans::new(config.bans.clone()));
            }
            runtime.block_on(async { assembler.try_others(|_| false, |_| false) });
            assembler.fleet();
            runtime.shutdown_background();
            assembler.diagnostics
        }
        Err(error) => Diagnostic::general(format!("the threads cannot be started: {error}")).into(),
    }
}

/// The errors of an invalid configuration, together with those of building its valid handlers and layers.
pub(crate) fn all_errors(invalid: LoadError, registry: &Registry, before: Option<&Assembled>) -> Diagnostics {
    let LoadError { mut diagnostics, rest, .. } = invalid;
    if let Some(rest) = rest {
        diagnostics.append(build_errors(&rest, registry, before));
    }
    diagnostics
}

/// Loads a configuration. The failure has every error, including those of building its valid handlers and layers.
pub(crate) fn load(inputs: &Inputs, registry: &Registry) -> Result<Config, Failure> {
    config::load(inputs, registry).map_err(|invalid| Failure::config(all_errors(*invalid, registry, None)))
}

/// Builds handlers and layers and collects the errors.
struct Assembler<'a> {
    config: &'a Config,
    registry: &'a Registry,
    before: Option<&'a Assembled>,
    diagnostics: Diagnostics,
    certificates: Certificates,
}

impl<'a> Assembler<'a> {
    fn new(config: &'a Config, registry: &'a Registry, before: Option<&'a Assembled>) -> Self {
        let (diagnostics, certificates) = (Diagnostics::default(), Certificates::new());
        Self { config, registry, before, diagnostics, certificates }
    }

    fn handler(&mut self, name: &str) -> Option<HandlerInstance> {
        let Section { kind, options, .. } = self.config.handlers.get(name)?;
        let built = self.registry.handler_entry(kind)?.build(options.clone()).map(|handler| handler.named(name));
        self.accept("handlers", name, built)
    }

    fn layer(&mut self, name: &str) -> Option<LayerInstance> {
        let Section { kind, options, .. } = self.config.layers.get(name)?;
        let built = self.registry.layer_entry(kind)?.build(options.clone());
        self.accept("layers", name, built)
    }

    /// Reads the bans of the file.
    fn load_bans(&mut self, bans: &Bans) {
        if let Err(error) = bans.load() {
            let key = ["bans", "file"].map(str::to_owned);
            let diagnostic = Diagnostic::new(&key, error.to_string());
            self.diagnostics.push(diagnostic.from(Some(self.config.effective.origin(&key))));
        }
    }

    /// The fleet, which connects when the first listener starts. With the same settings, it is the same instance.
    #[cfg(feature = "fleet")]
    fn fleet(&mut self) -> Option<Fleet> {
        let settings = self.config.fleet.as_ref()?;
        let before = self.before.filter(|before| before.config.fleet.as_ref() == Some(settings));
        before.and_then(|before| before.fleet.clone()).or_else(|| {
            let reject = |error: FleetError| {
                let key = ["fleet".to_owned(), error.setting().to_owned()];
                let diagnostic = Diagnostic::new(&key, error.to_string());
                self.diagnostics.push(diagnostic.from(Some(self.config.effective.section_origin(&key))));
            };
            Fleet::new(settings).map_err(reject).ok()
        })
    }

    #[cfg(not(feature = "fleet"))]
    fn fleet(&mut self) -> Option<Fleet> {
        None
    }

    /// The recorder. With the same settings, it is the same one, with its records.
    fn recorder(&self) -> Option<Recorder> {
        let settings = self.config.recorder.as_ref()?;
        Some(match self.before.and_then(|before| before.recorder.as_ref()) {
            Some(same) if same.settings() == settings => same.clone(),
            Some(before) => before.with_settings(settings.clone()),
            None => Recorder::new(settings.clone()),
        })
    }

    fn accept<T>(&mut self, section: &str, name: &str, built: Result<T, BoxError>) -> Option<T> {
        let reject = |error: BoxError| {
            let key = [section.to_owned(), name.to_owned()];
            let diagnostic = Diagnostic::new(&key, switchboard::error::chain(&*error));
            self.diagnostics.push(diagnostic.from(Some(self.config.effective.section_origin(&key))));
        };
        built.map_err(reject).ok()
    }

    /// Whether the section is unchanged since `before`, where it was built without an error.
    fn is_known_handler(&self, name: &str) -> bool {
        self.before.is_some_and(|before| before.config.handlers.get(name) == self.config.handlers.get(name))
    }

    /// Builds and drops the changed handlers and layers that are not built yet, and loads the TLS files.
    fn try_others(&mut self, is_built_handler: impl Fn(&str) -> bool, is_built_layer: impl Fn(&str) -> bool) {
        let Self { config, before, .. } = *self;
        for (name, section) in &config.handlers {
            if section.is_valid && !is_built_handler(name) && !self.is_known_handler(name) {
                self.handler(name);
            }
        }
        for (name, section) in &config.layers {
            let is_known = before.is_some_and(|before| before.config.layers.get(name) == Some(section));
            if section.is_valid && !is_built_layer(name) && !is_known {
                self.layer(name);
            }
        }
        for (name, listener) in &config.listeners {
            let Some(loaded) = listener.spec.tls.as_ref().map(TlsAcceptor::load) else { continue };
            let error = match loaded {
                Ok(loaded) => {
                    self.certificates.insert(name.clone(), loaded.certificates());
                    continue;
                }
                Err(error) => error,
            };
            for problem in error.problems() {
                let mut key = vec!["listeners".to_owned(), name.clone(), "tls".to_owned()];
                key.extend_from_slice(&problem.setting);
                let diagnostic = Diagnostic::new(&key, problem.to_string());
                self.diagnostics.push(diagnostic.from(Some(config.effective.origin(&key))));
            }
        }
    }
}

/// The maximum memory of all listeners together, and of each by name.
pub(crate) fn max_memory(config: &Config) -> (u64, BTreeMap<&str, u64>) {
    let each = config.listeners.iter().map(|(name, listener)| (&**name, listener.spec.max_memory(listener.kind)));
    let each: BTreeMap<_, _> = each.collect();
    (each.values().fold(0, |all, more| all.saturating_add(*more)), each)
}

mod one_listener;
#[cfg(test)]
mod tests;

pub(crate) use one_listener::OneListener;
