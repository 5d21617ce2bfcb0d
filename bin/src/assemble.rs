//! Builds the server from a valid configuration: the runtime, the listeners with their handlers, the limit of open
//! files.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use switchboard::registry::{HandlerInstance, LayerInstance};
use switchboard::transport::tls::TlsAcceptor;
use switchboard::{Kind, ListenerSet, Registry};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, Diagnostic, Diagnostics, InvalidConfigLoad, Section};

/// File descriptors that do not belong to listeners: standard streams, the runtime, files of handlers.
const OWN_FILES: u64 = 64;

/// File descriptors per listener: the socket, and its duplicate for reload and upgrade.
const OF_LISTENER: u64 = 2;

/// The runtime of the server. A single worker runs on the current thread, where a wake-up costs about 5% less.
pub(crate) fn runtime(workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
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
    let mut diagnostics = Diagnostics::default();
    let mut listeners = ListenerSet::new(registry.transport_table());
    listeners.drain_settings(config.drain);
    let handlers = handlers(&config, registry, before, &mut diagnostics);
    for listener in config.listeners.values() {
        let mut spec = listener.spec.clone();
        spec.framing = listener.framing.clone();
        spec.layers = layers(&config, registry, &listener.layers, &mut diagnostics);
        if let Some(handler) = handlers.get(&listener.handler) {
            listeners.listen(spec, handler);
        }
    }
    let used = |name: &String| config.listeners.values().any(|listener| listener.handler == *name);
    let listed = |name: &String| config.listeners.values().any(|listener| listener.layers.contains(name));
    let tried = |name: &String| !used(name) && !is_known("handlers", name, &config, before);
    let tried_too = |name: &String| !listed(name) && !is_known("layers", name, &config, before);
    try_sections(&config, registry, tried, tried_too, &mut diagnostics);
    try_tls(&config, &mut diagnostics);
    if diagnostics.is_empty() {
        Ok((listeners, Assembled { config: Arc::new(config), handlers }))
    } else {
        Err(diagnostics)
    }
}

/// Whether a section is unchanged since `before`, where it was built without an error.
fn is_known(kind: &str, name: &str, config: &Config, before: Option<&Assembled>) -> bool {
    let section = |config: &Config| {
        let sections = if kind == "handlers" { &config.handlers } else { &config.layers };
        sections.get(name).cloned()
    };
    before.is_some_and(|before| section(&before.config) == section(config))
}

/// Builds the handlers of all listeners.
fn handlers(
    config: &Config,
    registry: &Registry,
    before: Option<&Assembled>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, HandlerInstance> {
    let mut handlers = BTreeMap::new();
    for name in config.listeners.values().map(|listener| &listener.handler) {
        let Some(section) = config.handlers.get(name).filter(|_| !handlers.contains_key(name)) else { continue };
        let same = before.filter(|before| before.config.handlers.get(name) == Some(section));
        if let Some(handler) = same.and_then(|before| before.handlers.get(name)) {
            handlers.insert(name.clone(), handler.clone());
            continue;
        }
        match registry.handler_entry(&section.kind).map(|entry| entry.build(section.options.clone())) {
            Some(Ok(handler)) => drop(handlers.insert(name.clone(), handler)),
            Some(Err(error)) => diagnostics.push(refusal(config, "handlers", name, &*error)),
            None => {}
        }
    }
    handlers
}

/// Builds each changed handler and layer and loads the TLS files, and returns the errors. Everything built is dropped.
pub(crate) fn refusals(config: &Config, registry: &Registry, before: Option<&Assembled>) -> Diagnostics {
    match runtime(1) {
        Ok(runtime) => {
            let mut diagnostics = Diagnostics::default();
            let handlers = |name: &String| !is_known("handlers", name, config, before);
            let layers = |name: &String| !is_known("layers", name, config, before);
            runtime.block_on(async { try_sections(config, registry, handlers, layers, &mut diagnostics) });
            try_tls(config, &mut diagnostics);
            runtime.shutdown_background();
            diagnostics
        }
        Err(error) => Diagnostic::general(format!("the threads cannot be started: {error}")).into(),
    }
}

/// The errors of an invalid configuration, together with those of building its valid handlers and layers.
pub(crate) fn all_faults(refused: InvalidConfigLoad, registry: &Registry, before: Option<&Assembled>) -> Diagnostics {
    let InvalidConfigLoad { mut diagnostics, rest } = refused;
    if let Some(rest) = rest {
        diagnostics.append(refusals(&rest, registry, before));
    }
    diagnostics
}

fn try_sections(
    config: &Config,
    registry: &Registry,
    handlers: impl Fn(&String) -> bool,
    layers: impl Fn(&String) -> bool,
    diagnostics: &mut Diagnostics,
) {
    for (name, Section { kind, options, .. }) in sound(&config.handlers).filter(|(name, _)| handlers(name)) {
        let built = registry.handler_entry(kind).map(|entry| entry.build(options.clone()).map(drop));
        if let Some(Err(error)) = built {
            diagnostics.push(refusal(config, "handlers", name, &*error));
        }
    }
    for (name, Section { kind, options, .. }) in sound(&config.layers).filter(|(name, _)| layers(name)) {
        if let Some(Err(error)) = registry.layer_entry(kind).map(|entry| entry.build(options.clone())) {
            diagnostics.push(refusal(config, "layers", name, &*error));
        }
    }
}

/// Loads the TLS files of all listeners and reports the errors.
fn try_tls(config: &Config, diagnostics: &mut Diagnostics) {
    for (name, settings) in
        config.listeners.iter().filter_map(|(name, listener)| Some((name, listener.spec.tls.as_ref()?)))
    {
        if let Err(error) = TlsAcceptor::load(settings) {
            let mut key = vec!["listeners".to_owned(), name.clone(), "tls".to_owned()];
            key.extend_from_slice(error.setting());
            diagnostics.push(Diagnostic::new(&key, error.to_string()).from(Some(config.effective.origin(&key))));
        }
    }
}

fn sound(sections: &BTreeMap<String, Section>) -> impl Iterator<Item = (&String, &Section)> {
    sections.iter().filter(|(_, section)| section.is_sound)
}

fn layers(config: &Config, registry: &Registry, names: &[String], diagnostics: &mut Diagnostics) -> Vec<LayerInstance> {
    let mut layers = Vec::new();
    for name in names {
        let Some(Section { kind, options, .. }) = config.layers.get(name) else { continue };
        match registry.layer_entry(kind).map(|entry| entry.build(options.clone())) {
            Some(Ok(layer)) => layers.push(layer),
            Some(Err(error)) => diagnostics.push(refusal(config, "layers", name, &*error)),
            None => {}
        }
    }
    layers
}

fn refusal(config: &Config, section: &str, name: &str, error: &(dyn std::error::Error + 'static)) -> Diagnostic {
    let key = [section.to_owned(), name.to_owned()];
    Diagnostic::new(&key, switchboard::error::chain(error)).from(Some(config.effective.section_origin(&key)))
}

/// Raises the soft limit of open files to the hard limit, and warns if the configuration needs more.
pub(crate) fn raise_open_files(config: &Config) {
    let needed = needed_files(config);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(allowed) if allowed < needed => tracing::warn!(
            target: "switchboard",
            needed,
            allowed,
            "the limits need more open files than this process may have; raise the limit (ulimit -n, LimitNOFILE=) or lower limits.connections"
        ),
        Ok(_) => {}
        Err(error) => {
            let error = error.desc();
            tracing::warn!(target: "switchboard", needed, error, "the limit of open files cannot be raised");
        }
    }
}

/// The maximum memory of all listeners together, and of each by name.
pub(crate) fn max_memory(config: &Config) -> (u64, BTreeMap<&str, u64>) {
    let each = config.listeners.iter().map(|(name, listener)| (&**name, listener.spec.max_memory(listener.kind)));
    let each: BTreeMap<_, _> = each.collect();
    (each.values().fold(0, |all, more| all.saturating_add(*more)), each)
}

fn needed_files(config: &Config) -> u64 {
    let of_listener = |kind: Kind, connections: usize| match kind {
        Kind::Stream => OF_LISTENER + connections as u64,
        Kind::Datagram => OF_LISTENER,
    };
    let listeners = config.listeners.values();
    OWN_FILES + listeners.map(|listener| of_listener(listener.kind, listener.spec.limits.connections)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    fn config(flags: &[(&str, &str)]) -> Config {
        let flags = flags.iter().map(|(key, value)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned()));
        let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
        config::load(&inputs, &crate::registry()).unwrap()
    }

    #[test]
    fn a_layer_that_refuses_its_options_makes_the_configuration_faulty_used_or_not() {
        for listed in [&[("listeners.main.layers", "busy")][..], &[]] {
            let flags = [&[("layers.busy.type", "concurrency"), ("layers.busy.limit", "0")], listed].concat();
            let config = config(&flags);
            let refused = refusals(&config, &crate::registry(), None).to_string();
            assert!(refused.starts_with("error: layers.busy: "), "{refused}");
            let runtime = runtime(1).unwrap();
            let refused =
                runtime.block_on(async { assemble(config, &crate::registry(), None) }).unwrap_err().to_string();
            assert!(refused.starts_with("error: layers.busy: "), "{refused}");
        }
    }

    #[test]
    fn it_is_told_with_all_other_faults() {
        let flags = [("layers.busy.type", "concurrency"), ("layers.busy.limit", "0"), ("drain.deadline", "soon")];
        let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
        let inputs = Inputs { flags: flags.to_vec(), ..Inputs::default() };
        let refused = config::load(&inputs, &crate::registry()).unwrap_err();
        let told = all_faults(*refused, &crate::registry(), None).to_string();
        assert!(told.contains("error: drain.deadline: ") && told.contains("error: layers.busy: "), "{told}");
    }

    #[test]
    fn files_are_counted_for_connections_and_not_for_datagrams() {
        let config = config(&[
            ("limits.connections", "100"),
            ("listeners.main.listen", "tcp://127.0.0.1:0"),
            ("listeners.gram.listen", "udp://127.0.0.1:0"),
        ]);
        assert_eq!(needed_files(&config), OWN_FILES + 102 + 2);
        assert!(refusals(&config, &crate::registry(), None).is_empty());
    }
}
