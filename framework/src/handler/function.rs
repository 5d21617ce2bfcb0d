//! A handler made of an async function.

use std::marker::PhantomData;

use crate::error::{Result, debug_as_name};
use crate::handler::{Context, Handler, Reply};

/// Makes a handler without state from an async function, which owns its context and can move it into tasks.
///
/// ```
/// use switchboard::prelude::*;
///
/// # async fn run() -> Result<()> {
/// let reverse = handler_fn(|_cx: Context, message: Bytes| async move {
///     Ok(Reply::send(message.iter().rev().copied().collect::<Vec<u8>>()))
/// });
/// Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).serve(reverse).await
/// # }
/// ```
pub fn handler_fn<F, Fut, In, Out>(function: F) -> HandlerFn<F, In, Out>
where
    F: Fn(Context<(), Out>, In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply<Out>>> + Send,
{
    HandlerFn { function, messages: PhantomData }
}

/// The handler that [`handler_fn`] returns.
pub struct HandlerFn<F, In, Out> {
    function: F,
    messages: PhantomData<fn(In) -> Out>,
}

impl<F, Fut, In: Send + 'static, Out: Send + 'static> Handler<In, Out> for HandlerFn<F, In, Out>
where
    F: Fn(Context<(), Out>, In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply<Out>>> + Send,
{
    type State = ();

    fn message(&self, cx: &mut Context<(), Out>, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send {
        (self.function)(cx.clone(), message)
    }
}

debug_as_name!(HandlerFn<F, In, Out>);
