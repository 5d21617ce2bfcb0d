//! tokio-util: codecs over tokio sockets, one task per connection; replies to one read are flushed once.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::codec::{BytesCodec, Decoder, Encoder, Framed, LengthDelimitedCodec, LinesCodec};
use tokio_util::udp::UdpFramed;

use crate::{Outcome, Protocol, session, start};

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    start::on_tokio(async move {
        if protocol == Protocol::Udp {
            return datagrams().await;
        }
        let listener = TcpListener::from_std(start::listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, protocol));
        }
    })?
}

async fn connection(stream: TcpStream, protocol: Protocol) -> Outcome {
    match protocol {
        Protocol::Lines => echo(Framed::new(stream, LinesCodec::new()), |line: String| line).await,
        Protocol::Length => echo(Framed::new(stream, LengthDelimitedCodec::new()), BytesMut::freeze).await,
        Protocol::Hello => Ok(hello(Framed::new(stream, BytesCodec::new())).await?),
        _ => echo(Framed::new(stream, BytesCodec::new()), BytesMut::freeze).await,
    }
}

async fn echo<C, M>(mut frames: Framed<TcpStream, C>, answer: impl Fn(<C as Decoder>::Item) -> M) -> Outcome
where
    C: Decoder + Encoder<M>,
    <C as Decoder>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    <C as Encoder<M>>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    while let Some(frame) = frames.next().await {
        frames.feed(answer(frame.map_err(Into::into)?)).await.map_err(Into::into)?;
        while let Some(Some(frame)) = frames.next().now_or_never() {
            frames.feed(answer(frame.map_err(Into::into)?)).await.map_err(Into::into)?;
        }
        frames.flush().await.map_err(Into::into)?;
    }
    Ok(())
}

async fn hello(mut frames: Framed<TcpStream, BytesCodec>) -> io::Result<()> {
    frames.send(Bytes::from_static(session::WELCOME.as_bytes())).await?;
    while let Some(message) = frames.next().await {
        let Some(greeting) = session::greet(&message?) else { break };
        frames.send(Bytes::from(greeting)).await?;
    }
    SinkExt::<Bytes>::close(&mut frames).await
}

async fn datagrams() -> Outcome {
    let socket = UdpSocket::bind(start::ANY).await?;
    start::announce(socket.local_addr()?)?;
    let mut datagrams = UdpFramed::new(socket, BytesCodec::new());
    while let Some(datagram) = datagrams.next().await {
        let (bytes, from) = datagram?;
        datagrams.send((bytes.freeze(), from)).await?;
    }
    Ok(())
}
