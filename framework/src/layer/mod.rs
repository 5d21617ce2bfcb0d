//! Layers: per message, between a driver and a handler; or per connection, between a listener and its driver.
//!
//! Any `tower::Layer` with matching types works. The built-in layers work at both places, because they require the
//! capability [`Connected`] and not a request type. They do their work in `call` and reserve nothing in `poll_ready`.
//! A layer does not poll the call inside it before it has granted the call. All clones of a layer share its counts.
//!
//! The default layers of every message, outermost first: [`Trace`], [`CatchPanic`], [`RatePerSource`], [`Timeout`],
//! then the layers that you add, then the handler.

mod call;
mod concurrency;
mod instance;
mod panic;
mod rate;
mod stack;
mod timeout;
mod trace;

pub use call::{CallLayer, CallOutput, Connected, LayerFuture, LayerService, PollCall};
pub use concurrency::Concurrency;
pub(crate) use instance::LayerChain;
pub use instance::{BoxMessageService, LayerInstance, NamedLayer};
pub use panic::CatchPanic;
pub use rate::{OverRate, RatePerSource};
pub use timeout::{Elapsed, Timeout};
pub use trace::Trace;

pub use crate::error::Panicked;
pub(crate) use call::LayerOptions;
pub(crate) use stack::{MessageStack, StackCall};
pub(crate) use {concurrency::ConcurrencyOptions, rate::RateOptions, timeout::TimeoutOptions, trace::TraceOptions};
