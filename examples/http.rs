//! HTTP served by hyper on a Switchboard stream handler. Try it: `curl -d hi http://127.0.0.1:9999/echo`.

use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::ALLOW;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use switchboard::prelude::{ByteStream, Bytes, Connection, Result, Server, StreamHandler};

/// Largest request body in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Timeout for a request head (including the pause before it) and for a request body. The idle timeout alone does not
/// stop a client that sends one byte at a time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

struct Http;

impl StreamHandler for Http {
    /// The handler reads and writes the bytes itself. The server still enforces connection limits, the idle timeout and
    /// the drain.
    async fn serve(&self, connection: Connection, stream: ByteStream) -> Result<()> {
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .half_close(true) // A client that shuts down its sending side still gets the response.
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        let mut http = pin!(http);
        let mut drain = connection.drain();
        tokio::select! {
            result = http.as_mut() => return Ok(result?),
            // On a drain, hyper finishes the current request and closes the connection.
            () = drain.draining() => http.as_mut().graceful_shutdown(),
        }
        Ok(http.await?)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    match (request.uri().path(), request.method()) {
        ("/", &Method::GET | &Method::HEAD) => Ok(respond(StatusCode::OK, "Switchboard HTTP example: POST /echo\n")),
        ("/echo", &Method::POST) => {
            let too_large = || Ok(respond(StatusCode::PAYLOAD_TOO_LARGE, "the body is limited to 1 MiB\n"));
            if request.body().size_hint().lower() > MAX_BODY as u64 {
                return too_large(); // Rejects by Content-Length, without reading the body.
            }
            let body = Limited::new(request.into_body(), MAX_BODY).collect();
            match tokio::time::timeout(REQUEST_TIMEOUT, body).await {
                Ok(Ok(body)) => Ok(respond(StatusCode::OK, body.to_bytes())),
                Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(respond(StatusCode::REQUEST_TIMEOUT, "timeout while reading the body\n")),
            }
        }
        ("/", _) => Ok(method_not_allowed("GET, HEAD")),
        ("/echo", _) => Ok(method_not_allowed("POST")),
        _ => Ok(respond(StatusCode::NOT_FOUND, "not found; try / or /echo\n")),
    }
}

fn respond(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn method_not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, "");
    response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static(methods));
    response
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address).serve_stream(Http).await
}
