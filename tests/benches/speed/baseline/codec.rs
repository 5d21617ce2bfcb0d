//! The baseline `codec`: tokio-util codecs with one flush per read.

use std::io;
use std::net::TcpListener as Listener;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec, LinesCodec};

use super::tasks::run;

pub(crate) fn lines(listeners: Vec<Listener>) -> io::Result<()> {
    serve(listeners, LinesCodec::new, |line| line)
}

pub(crate) fn length(listeners: Vec<Listener>) -> io::Result<()> {
    serve(listeners, LengthDelimitedCodec::new, BytesMut::freeze)
}

fn serve<C, M>(listeners: Vec<Listener>, codec: fn() -> C, answer: fn(C::Item) -> M) -> io::Result<()>
where
    C: Decoder + Encoder<M, Error = <C as Decoder>::Error> + Send + 'static,
    C::Item: Send,
    <C as Decoder>::Error: Send,
    M: Send + 'static,
{
    run(listeners, 1, move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(Framed::new(stream, codec()), answer));
        }
    })
}

async fn connection<C, M>(mut framed: Framed<TcpStream, C>, answer: fn(C::Item) -> M)
where
    C: Decoder + Encoder<M, Error = <C as Decoder>::Error>,
{
    while let Some(Ok(message)) = framed.next().await {
        if framed.feed(answer(message)).await.is_err() {
            return;
        }
        // All messages of a read are answered before the flush.
        if framed.read_buffer().is_empty() && framed.flush().await.is_err() {
            return;
        }
    }
}
