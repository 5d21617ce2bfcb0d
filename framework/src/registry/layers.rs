//! Layers by name.

use crate::error::Result;
use crate::layer::{ConcurrencyOptions, LayerOptions, RateOptions, TimeoutOptions, TraceOptions};
use crate::layer::{LayerInstance, NamedLayer};
use crate::registry::entry::Entry;
use crate::registry::options::Options;

/// A layer that the configuration can name.
pub type LayerEntry = Entry<LayerInstance>;

pub(super) fn entry<O, L, B>(name: &str, build: B) -> LayerEntry
where
    O: Options,
    L: NamedLayer,
    B: Fn(O) -> Result<L> + Send + Sync + 'static,
{
    let own_name = name.to_owned();
    let build = move |parsed: O, options| Ok(LayerInstance::new(build(parsed)?).with_id(&own_name, options));
    Entry::new(name, (), build)
}

/// The entries of the built-in layers.
pub(super) fn built_in() -> [LayerEntry; 4] {
    [
        built_in_entry::<ConcurrencyOptions>(),
        built_in_entry::<RateOptions>(),
        built_in_entry::<TimeoutOptions>(),
        built_in_entry::<TraceOptions>(),
    ]
}

fn built_in_entry<O: LayerOptions<Layer: NamedLayer>>() -> LayerEntry {
    let mut entry = entry(O::NAME, O::build);
    entry.set_summary(O::SUMMARY);
    entry
}
