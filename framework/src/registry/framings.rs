//! Framings by name.

use bytes::Bytes;

use crate::error::Result;
use crate::framing::{AnyFraming, BuiltInFraming, BuiltInVisitor, Framing, visit_built_in};
use crate::registry::entry::Entry;
use crate::registry::options::Options;

/// A framing that the configuration can name.
pub type FramingEntry = Entry<AnyFraming>;

pub(super) fn entry<O, F, B>(name: &str, build: B) -> FramingEntry
where
    O: Options,
    F: Framing<In = Bytes, Out = Bytes>,
    B: Fn(O) -> Result<F> + Send + Sync + 'static,
{
    let own_name = name.to_owned();
    let build = move |parsed: O, options| Ok(AnyFraming::new(build(parsed)?).with_id(&own_name, options));
    Entry::new(name, (), build)
}

/// The entries of the built-in framings.
pub(super) fn built_in() -> Vec<FramingEntry> {
    struct Entries(Vec<FramingEntry>);

    impl BuiltInVisitor for Entries {
        fn visit<F: BuiltInFraming>(&mut self) {
            let mut entry = entry(F::NAME, |framing: F| Ok(framing));
            entry.set_summary(F::SUMMARY);
            self.0.push(entry);
        }
    }

    let mut entries = Entries(Vec::new());
    visit_built_in(&mut entries);
    entries.0
}
