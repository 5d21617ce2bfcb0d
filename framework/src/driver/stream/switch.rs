//! A change of the protocol of an open connection: another framing, or TLS.

use std::future::poll_fn;
use std::mem::replace;
use std::pin::pin;
use std::task::Poll;

use tokio::io::empty;

use crate::close_reason::CloseReason;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::HandlerCalls;
use crate::driver::stream::session::{Flow, StreamSession};
use crate::framing::Framing;
use crate::handler::{Protocol, Reply, Switch, Then};
use crate::transport::BoxIo;

/// The handler requested a change that is not possible.
#[derive(Debug, thiserror::Error)]
enum SwitchError {
    #[error("then_framing: the messages of the new framing have other types than those of the handler")]
    OtherMessages,
    #[error("then_tls: the connection uses TLS already")]
    UsesTls,
    #[error("then_tls: the listener {0:?} has no TLS on request; set tls.start = \"on_request\"")]
    NoTls(String),
}

impl From<SwitchError> for CloseOutcome {
    fn from(error: SwitchError) -> Self {
        Self::from_service(error.into())
    }
}

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Sends the frames of a reply behind all replies in progress, and then changes the protocol.
    pub(super) async fn switch(&mut self, switch: Switch<F::Out>, then: Then) -> Result<Flow<F>, CloseOutcome> {
        let Switch { frames, to } = switch;
        if matches!(to, Protocol::Tls) {
            self.check_tls_request()?;
            self.expect_no_input().await?;
        }
        match Box::pin(self.send(Reply { frames, then })).await? {
            Flow::Continue => {}
            ended => return Ok(ended),
        }
        match self.write_later_replies().await? {
            Then::Continue => {}
            ended => return Ok(ended.into()),
        }
        match to {
            Protocol::Tls => self.start_tls().await,
            Protocol::Framing(framing) => {
                framing.downcast().map(Flow::Framing).map_err(|_| SwitchError::OtherMessages.into())
            }
        }
    }

    fn check_tls_request(&self) -> Result<(), SwitchError> {
        let io = &self.framed.io;
        match () {
            () if io.start_tls.is_some() => Ok(()),
            () if io.connection.tls().is_some() => Err(SwitchError::UsesTls),
            () => Err(SwitchError::NoTls(io.connection.listener().to_owned())),
        }
    }

    /// Fails if the peer has sent plaintext behind its request for TLS (CVE-2011-0411).
    async fn expect_no_input(&mut self) -> Result<(), CloseOutcome> {
        let io = &mut self.framed.io;
        if io.reader.undecoded == 0 && !io.reader.ended {
            poll_fn(|cx| match io.poll_read(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            })
            .await?;
        }
        match io.reader.undecoded {
            0 => Ok(()),
            _ => Err(CloseOutcome::plain(CloseReason::StarttlsInjection)),
        }
    }

    async fn start_tls(&mut self) -> Result<Flow<F>, CloseOutcome> {
        self.framed.write_encoded().await?;
        let io = &mut self.framed.io;
        // While a later reply was in progress, the peer may have sent more.
        if io.reader.undecoded > 0 {
            return Err(CloseOutcome::plain(CloseReason::StarttlsInjection));
        }
        if let Some(start_tls) = io.start_tls.take() {
            let plaintext = replace(&mut io.transport, BoxIo::new(empty()));
            match start_tls.establish(plaintext, &io.connection).await {
                Ok(encrypted) => io.transport = encrypted,
                Err(failure) => {
                    io.writer.discard();
                    return Err(CloseOutcome::from_service(failure.into()));
                }
            }
        }
        io.deadlines.reading_resumed();
        let reply = self.framed.drive_while(pin!(self.calls.secured())).await?.map_err(CloseOutcome::from_service)?;
        self.send(reply).await
    }
}
