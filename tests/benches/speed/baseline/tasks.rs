//! The baseline `tokio`: one task and one buffer per connection, one write per read.

use std::io;
use std::net::TcpListener as Listener;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::protocol::{Protocol, Raw};

pub(crate) fn serve<P: Protocol>(listeners: Vec<Listener>, buffer: usize, workers: usize) -> io::Result<()> {
    run(listeners, workers, move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection::<P>(stream, buffer));
        }
    })
}

/// Echo over TLS.
pub(crate) fn serve_tls(listeners: Vec<Listener>, buffer: usize, workers: usize, certificate: &Path) -> io::Result<()> {
    let chain = CertificateDer::from_pem_file(certificate.join("cert.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(certificate.join("key.pem")).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?));
    run(listeners, workers, move |listener| {
        let acceptor = acceptor.clone();
        async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let handshake = acceptor.accept(stream);
                tokio::spawn(async move { connection::<Raw>(handshake.await?, buffer).await });
            }
        }
    })
}

/// Runs one accept loop per listener, all on one thread or on the given number of worker threads.
pub(crate) fn run<F>(listeners: Vec<Listener>, workers: usize, accept: impl Fn(TcpListener) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(workers); // Ignored by a runtime with the current thread only.
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async {
        let mut loops = JoinSet::new();
        for listener in listeners {
            loops.spawn(accept(TcpListener::from_std(listener)?));
        }
        loops.join_next().await.expect("there is a listener").map_err(io::Error::other)?
    })
}

/// Serves one connection.
pub(crate) async fn connection<P: Protocol>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    size: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; size];
    let mut out = Vec::new();
    let mut buffered = 0;
    if !P::WELCOME.is_empty() {
        stream.write_all(P::WELCOME).await?;
    }
    loop {
        let read = stream.read(&mut buffer[buffered..]).await?;
        if read == 0 {
            return Ok(()); // End of input, or a message that is larger than the buffer.
        }
        if P::ECHO {
            stream.write_all(&buffer[..read]).await?;
        } else {
            let filled = buffered + read;
            let used = P::answer(&buffer[..filled], &mut out);
            stream.write_all(&out).await?;
            out.clear();
            buffer.copy_within(used..filled, 0);
            buffered = filled - used;
        }
        stream.flush().await?; // Only TLS buffers data.
    }
}
