//! A third-party handler whose start and stop do what its options request, and which records both calls in a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use switchboard::prelude::*;

pub(crate) const SUMMARY: &str = "starts and stops as requested";

/// What a call does.
#[derive(Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Step {
    #[default]
    Ok,
    Error,
    Panic,
    Hang,
}

impl Step {
    async fn run(self) -> Result<()> {
        match self {
            Self::Ok => Ok(()),
            Self::Error => Err("the database is closed".into()),
            Self::Panic => panic!("the database is gone"),
            Self::Hang => std::future::pending().await,
        }
    }
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PhasesOptions {
    /// What start does.
    start: Step,
    /// What stop does.
    stop: Step,
    /// File for the calls, one per line.
    record: Option<PathBuf>,
    /// The last message of a connection that the server closes.
    closing: Option<String>,
}

pub(crate) struct Phases {
    options: PhasesOptions,
    name: std::sync::OnceLock<String>,
}

pub(crate) fn build(options: PhasesOptions) -> Result<Phases> {
    Ok(Phases { options, name: std::sync::OnceLock::new() })
}

/// Serves on a free port with this handler and with nothing of the server program.
pub(crate) fn run(options: &str) -> ExitCode {
    let options = serde_json::from_str(options).expect("options");
    let phases = build(options).expect("a handler");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Server::bind("tcp://127.0.0.1:0").run(phases))
}

impl Phases {
    fn record(&self, call: &str) -> Result<()> {
        let Some(path) = &self.options.record else { return Ok(()) };
        let name = self.name.get().map_or("?", |name| name);
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(file.write_all(format!("{call} {name}\n").as_bytes())?)
    }
}

impl Handler for Phases {
    type State = ();

    async fn start(&self, cx: &StartContext) -> Result<()> {
        let _ = self.name.set(cx.name().to_owned());
        cx.metrics().counter_with("starts_total", "Starts, by result.", "result", &["ok", "\"\\"])?[0].add(1);
        self.record("start")?;
        self.options.start.run().await
    }

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }

    fn closing(&self, _: &mut Context, _: CloseReason) -> Option<Bytes> {
        self.options.closing.clone().map(Bytes::from)
    }

    async fn stop(&self) -> Result<()> {
        self.record("stop")?;
        self.options.stop.run().await
    }
}
