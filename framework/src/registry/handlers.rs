//! Handlers by name.

use bytes::Bytes;

use crate::error::Result;
use crate::framing::{AnyFraming, Framing};
use crate::handler::{Handler, Needs, StreamHandler};
use crate::pipeline::HandlerInstance;
use crate::registry::entry::Entry;
use crate::registry::options::Options;

/// A handler that the configuration can name.
pub type HandlerEntry = Entry<HandlerInstance, HandlerKind>;

/// The properties of a handler entry that framings and layers do not have.
#[derive(Debug)]
pub struct HandlerKind {
    needs: Needs,
    own_framing: Option<String>,
    framings: Option<&'static [&'static str]>,
}

impl HandlerKind {
    fn new(needs: Needs, own_framing: Option<&str>) -> Self {
        Self { needs, own_framing: own_framing.map(str::to_owned), framings: None }
    }
}

pub(super) fn bytes_entry<O, H, B>(name: &str, build: B) -> HandlerEntry
where
    O: Options,
    H: Handler<Bytes, Bytes>,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(H::NEEDS, None), move |options: O, _| Ok(HandlerInstance::new(build(options)?)))
}

pub(super) fn typed_entry<O, H, F, M, B>(name: &str, framing_name: &str, framing: M, build: B) -> HandlerEntry
where
    O: Options,
    F: Framing,
    H: Handler<F::In, F::Out>,
    M: Fn(&O) -> F + Send + Sync + 'static,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(H::NEEDS, Some(framing_name)), move |options: O, _| {
        let framing = framing(&options);
        Ok(HandlerInstance::typed(build(options)?, framing))
    })
}

pub(super) fn stream_entry<O, H, B>(name: &str, build: B) -> HandlerEntry
where
    O: Options,
    H: StreamHandler,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(Needs::Stream, Some("byte stream")), move |options: O, _| {
        Ok(HandlerInstance::stream(build(options)?))
    })
}

impl HandlerEntry {
    /// Restricts the framings that can be chosen for it; without a call, all can.
    pub fn set_framings(&mut self, names: &'static [&'static str]) -> &mut Self {
        self.kind.framings = Some(names);
        self
    }

    /// The kind of listener that it needs.
    pub fn needs(&self) -> Needs {
        self.kind.needs
    }

    /// The name of the framing that the handler provides itself; then none can be chosen.
    pub fn own_framing(&self) -> Option<&str> {
        self.kind.own_framing.as_deref()
    }

    /// Whether a framing can be chosen for it; the error is a sentence with the reason.
    pub fn check_framing(&self, framing: &AnyFraming) -> Result<(), String> {
        let name = framing.name();
        match (&self.kind.own_framing, self.kind.framings) {
            (Some(own), _) => Err(format!("the handler {} has its own framing ({own}); remove framing", self.name())),
            (None, Some(framings)) if !framings.contains(&name) => Err(format!(
                "the handler {} does not support the framing {name}; it supports {}",
                self.name(),
                framings.join(", ")
            )),
            (None, _) => Ok(()),
        }
    }
}
