//! HTTP by hyper on a stream that Switchboard looks after. Try it: `curl -d hi http://127.0.0.1:9999/echo`.

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

/// The largest body that is taken.
const BODY: usize = 1024 * 1024;
/// How long a head may take to come (the pause before it included), and how long a body: the idle deadline alone would be
/// content with a byte now and then.
const PATIENCE: Duration = Duration::from_secs(10);

struct Http;

impl StreamHandler for Http {
    /// The bytes are ours from here to the end; limits on connections, the idle deadline and the drain are still the
    /// server's.
    async fn serve(&self, connection: Connection, stream: ByteStream) -> Result<()> {
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .half_close(true) // a client that has said all it wanted still gets its answer
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        let mut http = pin!(http);
        let mut drain = connection.drain();
        tokio::select! {
            ended = http.as_mut() => return Ok(ended?),
            // A drain is told, not done to us: hyper finishes the request under way and then closes.
            () = drain.draining() => http.as_mut().graceful_shutdown(),
        }
        Ok(http.await?)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    match (request.uri().path(), request.method()) {
        ("/", &Method::GET | &Method::HEAD) => Ok(say(StatusCode::OK, "Switchboard speaks HTTP: POST /echo\n")),
        ("/echo", &Method::POST) => {
            let too_large = || Ok(say(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB\n"));
            if request.body().size_hint().lower() > BODY as u64 {
                return too_large(); // what is announced need not be waited for
            }
            let body = Limited::new(request.into_body(), BODY).collect();
            match tokio::time::timeout(PATIENCE, body).await {
                Ok(Ok(body)) => Ok(say(StatusCode::OK, body.to_bytes())),
                Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(say(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n")),
            }
        }
        ("/", _) => Ok(only("GET, HEAD")),
        ("/echo", _) => Ok(only("POST")),
        _ => Ok(say(StatusCode::NOT_FOUND, "there is / and /echo\n")),
    }
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "");
    response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static(methods));
    response
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address).serve_stream(Http).await
}
