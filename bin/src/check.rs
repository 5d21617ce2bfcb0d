//! `switchboard check`: the result as text or JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Serialize;
use serde_json::json;
use switchboard::Registry;
use switchboard::settings::text::escape_unsafe;
use tracing::Level;

use crate::assemble;
use crate::certificates;
use crate::config::{self, Config, Inputs, Record};
use crate::exit;
use crate::failure::Failure;
use crate::serve;
use crate::warnings;

/// A valid configuration.
struct Checked {
    file: Option<PathBuf>,
    warnings: Vec<String>,
    memory: Memory,
}

/// The maximum memory in bytes: in total, and of each listener.
#[derive(Serialize)]
struct Memory {
    total_bytes: u64,
    listeners: BTreeMap<String, u64>,
    /// The memory of the flight recorder, if there is one.
    recorder: Option<u64>,
}

#[derive(Serialize)]
struct Document {
    ok: bool,
    file: Option<String>,
    errors: Vec<Record>,
    warnings: Vec<String>,
    memory: Option<Memory>,
}

/// The verdict; warnings go to standard error.
pub(crate) fn text(inputs: &Inputs, registry: &Registry, bind: bool) -> Result<String, Failure> {
    let Checked { file, warnings, memory } = check(inputs, registry, bind).map_err(|(failure, _)| failure)?;
    let mut verdict = match &file {
        Some(file) => format!("{}: configuration OK\n", file.display()),
        None => "no configuration file; configuration OK\n".to_owned(),
    };
    let size = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
    let listeners = memory.listeners.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes)));
    let recorder = memory.recorder.map(|bytes| format!("recorder {}", size(bytes)));
    let (total, parts) = (size(memory.total_bytes), listeners.chain(recorder).collect::<Vec<_>>().join(", "));
    verdict += &format!("memory: at most {total} ({parts}), without the memory of handlers\n");
    if bind {
        verdict += "all addresses can be bound\n";
    }
    for warning in warnings {
        exit::print_sentence(&format!("warning: {warning}\n"), Level::WARN);
    }
    Ok(verdict)
}

/// One JSON document, also for an invalid configuration, and the exit status.
pub(crate) fn json(inputs: &Inputs, registry: &Registry, bind: bool) -> (String, u8) {
    let (file, result) = match check(inputs, registry, bind) {
        Ok(checked) => (checked.file.clone(), Ok(checked)),
        Err((failure, file)) => (file, Err(failure)),
    };
    let status = result.as_ref().map_or_else(Failure::status, |_| 0);
    // The name of a file may not be UTF-8, as JSON is.
    let file = file.map(|file| file.display().to_string());
    let document = match result {
        Ok(Checked { warnings, memory, .. }) => {
            Document { ok: true, file, errors: Vec::new(), warnings, memory: Some(memory) }
        }
        Err(failure) => Document { ok: false, file, errors: failure.records(), warnings: Vec::new(), memory: None },
    };
    (escape_unsafe(&format!("{:#}\n", json!(document)), |c| c == '\n'), status)
}

/// Creates every handler and layer, used or not, because some options are only validated then. An error has the file.
fn check(inputs: &Inputs, registry: &Registry, bind: bool) -> Result<Checked, (Failure, Option<PathBuf>)> {
    let config = config::load(inputs, registry).map_err(|invalid| {
        let file = invalid.file.clone();
        (Failure::config(assemble::all_errors(*invalid, registry, None)), file)
    })?;
    let file = config.file.clone();
    check_loaded(config, registry, bind).map_err(|failure| (failure, file))
}

fn check_loaded(config: Config, registry: &Registry, bind: bool) -> Result<Checked, Failure> {
    let diagnostics = assemble::build_errors(&config, registry, None);
    if !diagnostics.is_empty() {
        return Err(Failure::config(diagnostics));
    }
    let (total_bytes, listeners) = assemble::max_memory(&config);
    let listeners = listeners.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let recorder = config.recorder.as_ref().map(|recorder| recorder.memory as u64);
    let total_bytes = total_bytes.saturating_add(recorder.unwrap_or_default());
    let (file, mut warnings) = (config.file.clone(), warnings::of(&config));
    warnings.extend(certificates::expiring(&certificates::load(&config)));
    if bind {
        serve::try_bind(config, registry)?;
    }
    Ok(Checked { file, warnings, memory: Memory { total_bytes, listeners, recorder } })
}
