//! `switchboard replay`: plays recorded conversations against the configured handler or a server.

mod as_test;
mod in_memory;
mod options;

use std::panic;

use switchboard::Registry;

use self::as_test::Tests;
use self::in_memory::InMemory;
pub(crate) use self::options::ReplayOptions;
use crate::assemble;
use crate::config::{Config, Escaped, Inputs};
use crate::dial::Server;
use crate::exit;
use crate::failure::{Failure, print_stdout};
use crate::script_test::{self, Loaded, failure, load, load_all};

pub use self::in_memory::replay_script;

/// Plays every file. The exit status is 1 if one of them failed, and 78 if one of them is invalid.
pub(crate) fn replay(options: &ReplayOptions, inputs: &Inputs, registry: &Registry) -> Result<u8, Failure> {
    let scripts = match load_all(&options.files, registry, load) {
        Ok(scripts) => scripts,
        Err(status) => return Ok(status),
    };
    match &options.to {
        Some(address) => {
            let server = Server::new(address.clone(), &options.tls)?;
            let config = options.listener.as_ref().map(|_| assemble::load(inputs, registry)).transpose()?;
            to_server(options, server, config.as_ref(), registry, &scripts)
        }
        None if options.tls.first_flag().is_some() => Err(Failure::usage("the TLS flags need --to ADDRESS")),
        None => {
            let config = assemble::load(inputs, registry)?;
            // The report has the message of a panic.
            panic::set_hook(Box::new(|_| ()));
            in_process(options, &config, registry, &scripts)
        }
    }
}

/// With a configuration, the handler of the listener normalises the replies.
fn to_server(
    options: &ReplayOptions,
    mut server: Server,
    config: Option<&Config>,
    registry: &Registry,
    scripts: &[Loaded],
) -> Result<u8, Failure> {
    let runtime = assemble::runtime(1);
    let runtime =
        runtime.map_err(|error| Failure::new(format_args!("cannot start the runtime: {}", exit::reason(&error))))?;
    runtime.block_on(async {
        server.resolve().await.map_err(Failure::new)?;
        let mut failed = 0;
        for script in scripts {
            warn_of_missing(script);
            let handler = match config {
                Some(config) => Some(InMemory::new(script, config, registry, options.listener.as_deref())?.handler()?),
                None => None,
            };
            let played = script_test::replay(script, &server, *options.timeout, handler.as_ref()).await;
            failed += usize::from(played.result.is_err());
            let name = Escaped(&script.name);
            print_stdout(match played.result {
                Ok(()) => format!("passed  {name}\n"),
                Err(_) => format!("failed  {name}\n{}", failure(script, &played)),
            })?;
        }
        summary(scripts.len(), failed)
    })
}

fn in_process(
    options: &ReplayOptions,
    config: &Config,
    registry: &Registry,
    scripts: &[Loaded],
) -> Result<u8, Failure> {
    let mut failed = 0;
    let mut tests = Tests::default();
    for script in scripts {
        warn_of_missing(script);
        let replay = InMemory::new(script, config, registry, options.listener.as_deref())?;
        if options.minimise {
            match replay.minimise()? {
                Some(shortest) => {
                    failed += 1;
                    print_stdout(match options.as_test {
                        true => tests.add(&shortest, &replay),
                        false => shortest.to_string(),
                    })?;
                }
                None => exit::print_sentence(
                    &format!("{}: the replay does not fail, so there is nothing to minimise", Escaped(&script.name)),
                    tracing::Level::INFO,
                ),
            }
            continue;
        }
        let (is_failed, report) = replay.report()?;
        failed += usize::from(is_failed);
        print_stdout(report)?;
    }
    if options.minimise {
        return Ok(if failed > 0 { exit::FAILED } else { 0 });
    }
    summary(scripts.len(), failed)
}

fn summary(files: usize, failed: usize) -> Result<u8, Failure> {
    let count = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    print_stdout(format!("{count}: {} passed, {failed} failed\n", files - failed))?;
    Ok(if failed > 0 { exit::FAILED } else { 0 })
}

/// A recording whose first messages were replaced by later ones.
fn warn_of_missing(script: &Loaded) {
    if let Some(missing) = script.info("missing") {
        let (name, missing) = (Escaped(&script.name), Escaped(missing));
        let what = format!(
            "{name}: the first {missing} messages of the connection are not in the file, and the handler begins anew"
        );
        exit::print_sentence(&what, tracing::Level::WARN);
    }
}
