//! Makes a server of a checked configuration and a registry: the runtime, the pipelines, the limit of open files.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use switchboard::registry::{MessageLayer, Setup};
use switchboard::server::ListenerSpec;
use switchboard::{Kind, Registry, Switchboard};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, Fault, Faults, Section};

/// Descriptors that the process has besides those of its connections: standard streams, the runtime, files of handlers.
const OWN_FILES: u64 = 64;

/// The runtime that serves.
pub(crate) fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).thread_name("worker").enable_all().build()
}

/// Every listener with its pipeline, ready to start. A handler or layer may refuse its options only now, with a sentence of
/// its own. Must be called inside a tokio runtime, since handlers may begin tasks.
pub(crate) fn assemble(config: &Config, registry: &Registry) -> Result<Switchboard, Faults> {
    let mut faults = Faults::default();
    let mut board = Switchboard::new(registry.transport_table());
    board.drain_spec(config.drain);
    for (name, listener) in &config.listeners {
        let mut spec = ListenerSpec::new(name, listener.endpoint.clone());
        (spec.limits, spec.socket) = (listener.limits, listener.socket.clone());
        let mut setup = Setup::new();
        setup.framing = listener.framing.clone();
        (setup.limits, setup.timeouts, setup.rates) = (listener.limits, listener.timeouts, listener.rates);
        setup.layers = layers(config, registry, &listener.layers, &mut faults);
        let Some(Section { kind, options }) = config.handlers.get(&listener.handler) else { continue };
        let Some(entry) = registry.handler_entry(kind) else { continue };
        match entry.build(options.clone(), setup) {
            Ok(pipeline) => {
                board.listen(spec, pipeline);
            }
            Err(error) => faults.push(refusal(config, "handlers", &listener.handler, &*error)),
        }
    }
    if faults.is_empty() { Ok(board) } else { Err(faults) }
}

/// The same where nothing runs yet: to see whether it can be done.
pub(crate) fn in_a_runtime(config: &Config, registry: &Registry) -> Result<(), Faults> {
    match runtime(1) {
        Ok(runtime) => {
            let result = runtime.block_on(async { assemble(config, registry) });
            runtime.shutdown_background();
            result.map(drop)
        }
        Err(error) => Err(Fault::general(format!("the threads cannot be started: {error}")).into()),
    }
}

fn layers(config: &Config, registry: &Registry, names: &[String], faults: &mut Faults) -> Vec<MessageLayer> {
    let mut layers = Vec::new();
    for name in names {
        let Some(Section { kind, options }) = config.layers.get(name) else { continue };
        match registry.layer_entry(kind).map(|entry| entry.build(options.clone())) {
            Some(Ok(layer)) => layers.push(layer),
            Some(Err(error)) => faults.push(refusal(config, "layers", name, &*error)),
            None => {}
        }
    }
    layers
}

fn refusal(config: &Config, section: &str, name: &str, error: &(dyn std::error::Error + 'static)) -> Fault {
    let key = [section.to_owned(), name.to_owned()];
    Fault::new(&key, switchboard::error::chain(error)).from(Some(config.effective.section_origin(&key)))
}

/// Raises the soft limit of open files to the hard one, and warns where the limits of the configuration need more.
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

fn needed_files(config: &Config) -> u64 {
    let of_listener = |kind: Kind, connections: usize| match kind {
        Kind::Stream => 1 + connections as u64,
        Kind::Datagram => 1,
    };
    let listeners = config.listeners.values();
    OWN_FILES + listeners.map(|listener| of_listener(listener.kind, listener.limits.connections)).sum::<u64>()
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
    fn a_layer_that_refuses_its_options_makes_the_configuration_faulty() {
        let config = config(&[("listeners.main.layers", "concurrency"), ("layers.concurrency.limit", "0")]);
        let faults = in_a_runtime(&config, &crate::registry()).unwrap_err().to_string();
        assert!(faults.starts_with("error: layers.concurrency: "), "{faults}");
    }

    #[test]
    fn files_are_counted_for_connections_and_not_for_datagrams() {
        let config = config(&[
            ("limits.connections", "100"),
            ("listeners.main.listen", "tcp://127.0.0.1:0"),
            ("listeners.gram.listen", "udp://127.0.0.1:0"),
        ]);
        assert_eq!(needed_files(&config), OWN_FILES + 101 + 1);
        assert!(in_a_runtime(&config, &crate::registry()).is_ok());
    }
}
