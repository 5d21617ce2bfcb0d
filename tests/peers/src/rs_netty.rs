//! rs-netty: a pipeline of a built-in codec and a handler, per connection or for the UDP socket.

use bytes::Bytes;
use rs_netty::codec::{ByteArrayDecoder, BytesDatagramCodec, LengthFieldBasedFrameDecoder, LineCodec};
use rs_netty::{Context, DatagramContext, DatagramHandler, Handler, Result, TcpServer, UdpServer};
use rs_netty::{datagram_pipeline, pipeline};

use crate::{Outcome, Protocol, start};

struct Echo;

impl<M: Send + 'static> Handler<M> for Echo {
    type Write = M;

    async fn read(&mut self, cx: &mut Context<M>, message: M) -> Result<()> {
        cx.write_and_flush(message); // not awaited, so that pipelined messages do not wait for each other
        Ok(())
    }
}

impl DatagramHandler<Bytes> for Echo {
    type Write = Bytes;

    async fn read(&mut self, cx: &mut DatagramContext<Bytes>, datagram: Bytes) -> Result<()> {
        cx.write_and_flush(datagram);
        Ok(())
    }
}

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    start::on_tokio(async move {
        let address = start::ANY.to_string();
        if protocol == Protocol::Udp {
            let pipeline = || datagram_pipeline().codec(BytesDatagramCodec).handler(Echo);
            let server = UdpServer::bind(address).pipeline(pipeline).start().await?;
            start::announce(server.local_addr())?;
            return Ok(server.wait().await?);
        }
        let server = TcpServer::bind(address).tcp_nodelay(true);
        let server = match protocol {
            Protocol::Lines => server.pipeline(|| pipeline().codec(LineCodec::new()).handler(Echo)).start().await?,
            Protocol::Length => {
                let codec = LengthFieldBasedFrameDecoder::default; // four bytes, big-endian
                server.pipeline(move || pipeline().codec(codec()).handler(Echo)).start().await?
            }
            _ => server.pipeline(|| pipeline().codec(ByteArrayDecoder).handler(Echo)).start().await?,
        };
        start::announce(server.local_addr())?;
        Ok(server.wait().await?)
    })?
}
