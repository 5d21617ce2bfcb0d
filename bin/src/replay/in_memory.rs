//! Plays a recording against the configured handler, in this process and in paused time.

use switchboard::error::{BoxError, chain};
use switchboard::registry::HandlerInstance;
use switchboard::replay::{Replay, Replayed};
use switchboard::script::Script;
use switchboard::server::ListenerSpec;
use switchboard::settings::text::escape_unsafe;
use switchboard::{Kind, Registry};
use tokio::runtime::{Builder, Runtime};

use crate::assemble::{self, OneListener};
use crate::config::{self, Config, Escaped, Inputs};
use crate::exit;
use crate::failure::Failure;
use crate::script_test::{Loaded, loaded};

/// A recording and the listener that serves it.
pub(super) struct InMemory<'a> {
    script: &'a Loaded,
    config: &'a Config,
    registry: &'a Registry,
    pub(super) listener: &'a str,
}

/// The listener of the flag, the one that recorded the script, or the only one.
fn find_listener<'a>(script: &Loaded, config: &'a Config, flag: Option<&str>) -> Result<&'a str, Failure> {
    let known = || config.listeners.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let find = |name: &str| config.listeners.get_key_value(name).map(|(name, _)| name.as_str());
    let only = config.listeners.keys().next().filter(|_| config.listeners.len() == 1).map(String::as_str);
    match flag {
        Some(name) => find(name).ok_or_else(|| {
            let name = escape_unsafe(name, |_| false);
            Failure::usage(format_args!("--listener: {name:?} is not a listener; the listeners are {}", known()))
        }),
        None => script.info("listener").and_then(find).or(only).ok_or_else(|| {
            let name = Escaped(&script.name);
            Failure::usage(format_args!(
                "{name}: the configuration does not have its listener; name one with --listener: {}",
                known()
            ))
        }),
    }
}

impl<'a> InMemory<'a> {
    pub(super) fn new(
        script: &'a Loaded,
        config: &'a Config,
        registry: &'a Registry,
        flag: Option<&str>,
    ) -> Result<Self, Failure> {
        Ok(Self { script, config, registry, listener: find_listener(script, config, flag)? })
    }

    /// The handler of the listener. Must be called inside a tokio runtime.
    pub(super) fn handler(&self) -> Result<HandlerInstance, Failure> {
        self.build().map(|(handler, _)| handler).map_err(|error| self.failed(error))
    }

    pub(super) fn config(&self) -> &Config {
        self.config
    }

    fn build(&self) -> Result<(HandlerInstance, ListenerSpec), BoxError> {
        let listener = OneListener::new(self.config, self.registry, self.listener);
        listener.build().map_err(|diagnostics| diagnostics.to_string().trim_end().into())
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn failed(&self, error: BoxError) -> Failure {
        Failure::new(format_args!("{}: {}", Escaped(&self.script.name), chain(&*error)))
    }

    /// Runs a replay in paused time. `run` also gets a function that builds another handler.
    fn run<T>(&self, run: impl AsyncFnOnce(Replay<'_>, HandlerInstance) -> Result<T, BoxError>) -> Result<T, Failure> {
        if self.config.listeners[self.listener].kind == Kind::Datagram {
            let what = "receives datagrams; play the file against the running server with --to";
            let (name, listener) = (Escaped(&self.script.name), self.listener);
            return Err(Failure::usage(format_args!("{name}: the listener {listener} {what}")));
        }
        let runtime = paused().map_err(|error| self.failed(error.into()))?;
        let result = runtime.block_on(async {
            let (handler, spec) = self.build()?;
            let replay = Replay::new(self.script.file.script()).listener(spec);
            let replay = match &self.script.framing {
                Some(framing) => replay.framing(framing.clone()),
                None => replay,
            };
            run(replay, handler).await
        });
        runtime.shutdown_background();
        result.map_err(|error| self.failed(error))
    }

    pub(super) fn play(&self) -> Result<Replayed, Failure> {
        self.run(async |replay, handler| replay.run(&handler).await)
    }

    /// Whether the replay has failed, and its report.
    pub(super) fn report(&self) -> Result<(bool, String), Failure> {
        let replayed = self.play()?;
        let name = Escaped(&self.script.name);
        Ok(match replayed.failure {
            None => {
                let Replayed { messages, replies, .. } = replayed;
                (false, format!("passed  {name} ({messages} messages, {replies} replies)\n"))
            }
            Some(failure) => {
                let file = &self.script.file;
                let at = match failure.step {
                    Some(step) if failure.reason.is_none() => file.byte_span(step, failure.byte),
                    Some(step) => file.step_span(step),
                    None => file.text().len()..file.text().len(),
                };
                let what =
                    config::located(&self.script.name, &self.script.source, &at, &failure.what, exit::has_color());
                (true, format!("failed  {name}\n{what}"))
            }
        })
    }

    pub(super) fn minimise(&self) -> Result<Option<Script>, Failure> {
        self.run(async |replay, handler| {
            let mut first = Some(handler);
            replay.minimise(|| first.take().map_or_else(|| self.build().map(|(handler, _)| handler), Ok)).await
        })
    }
}

/// A runtime whose time passes only when nothing else can be done.
fn paused() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}

/// Plays a recorded conversation against the handler of a configuration, as `switchboard replay` does: for a test that
/// `switchboard replay --minimise --as-test` has printed. `config` is TOML with one listener.
///
/// Must be called outside of a tokio runtime.
///
/// ```
/// let config = "listen = \"mem:test\"\nhandler = \"hello\"\nframing = \"lines\"\n";
/// let script = "switchboard script 1\nframing lines\n< \"welcome!\"\n> \"Ada\"\n< \"hello, Ada!\"\n";
/// switchboard_server::replay_script(&switchboard_server::registry(), config, script).unwrap();
///
/// let other = script.replace("Ada!", "Bob!");
/// let error = switchboard_server::replay_script(&switchboard_server::registry(), config, &other);
/// assert!(error.unwrap_err().contains("reply 2 differs at byte 7: expected \"B\", received \"A\""));
/// ```
///
/// # Errors
///
/// A sentence: the configuration or the script is invalid, a reply differs, or the handler fails.
pub fn replay_script(registry: &Registry, config: &str, script: &str) -> Result<(), String> {
    let inputs = Inputs { file: Some("text.toml".into()), text: Some(config.to_owned()), ..Inputs::default() };
    let config = config::load(&inputs, registry)
        .map_err(|invalid| assemble::all_errors(*invalid, registry, None).to_string())?;
    let script = loaded("script".to_owned(), script.to_owned(), registry)?;
    let replayed = InMemory::new(&script, &config, registry, None).and_then(|replay| replay.play());
    let replayed = replayed.map_err(|failure| failure.text())?;
    replayed.failure.map_or(Ok(()), |failure| Err(failure.what))
}
