//! TLS on request (STARTTLS): plaintext first, then a handshake under the limits of every other handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use harness::{Client, unique};
use switchboard::address::Endpoint;
use switchboard::error::{BoxError, chain};
use switchboard::prelude::*;
use switchboard::server::ListenerSpec;
use switchboard::settings::{Network, Rate, Rates, TlsStart};
use switchboard::tower::layer::layer_fn;
use switchboard::tower::{Layer, Service, ServiceExt, service_fn};
use switchboard::transport::{ConnectionService, HandshakeFailure, Transports, memory};
use switchboard::{Incoming, ProxySettings, TlsSettings, TlsVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, advance, sleep};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::support::{MemClient, Probe, limits, millis, secs, socket, timeouts};
use crate::tls::{Authority, configured, program, tls_connect};

type Inner = ConnectionService;
type Errors = watch::Sender<Vec<String>>;

/// Answers lines of plaintext until the client requests TLS. The errors of failed handshakes go to `errors`.
async fn negotiate(mut incoming: Incoming, errors: Arc<Errors>) -> Result<Incoming> {
    let mut line = Vec::new();
    loop {
        match incoming.io.read_u8().await? {
            b'\n' => {}
            byte => {
                line.push(byte);
                continue;
            }
        }
        if line != b"STARTTLS" {
            incoming.io.write_all(&[b"plain ", &*line, b"\n"].concat()).await?;
            line.clear();
            continue;
        }
        let Some(start_tls) = incoming.start_tls.take() else {
            incoming.io.write_all(b"no TLS\n").await?;
            return Ok(incoming);
        };
        incoming.io.write_all(b"go\n").await?;
        assert!(incoming.connection.tls().is_none());
        incoming.io = start_tls.establish(incoming.io, &incoming.connection).await.inspect_err(|failure| {
            let failure: &HandshakeFailure = failure;
            errors.send_modify(|errors| errors.push(format!("{}: {}", failure.reason(), chain(failure))));
        })?;
        return Ok(incoming);
    }
}

fn negotiation(
    errors: &Arc<Errors>,
) -> impl Layer<Inner, Service: Service<Incoming, Response = (), Error = BoxError, Future: Send> + Clone + Send + Sync>
+ Send
+ Sync
+ 'static {
    let errors = errors.clone();
    layer_fn(move |inner: Inner| {
        let errors = errors.clone();
        service_fn(move |incoming| {
            let (inner, errors) = (inner.clone(), errors.clone());
            async move { inner.oneshot(negotiate(incoming, errors).await?).await }
        })
    })
}

/// A server with TLS on request.
struct Served {
    running: Running,
    name: String,
    authority: Authority,
    config: Arc<ClientConfig>,
    probe: Probe,
    errors: Arc<Errors>,
}

async fn serve(set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let name = unique("starttls");
    serve_at(&format!("mem:{name}"), set).await
}

async fn serve_at(endpoint: &str, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let (authority, probe, errors) = (Authority::new(), Probe::default(), Arc::new(Errors::default()));
    let server = Server::bind(endpoint).framing(Lines::default());
    let server = server.tls(authority.settings().start(TlsStart::OnRequest)).connection_layer(negotiation(&errors));
    let running = set(server).start(probe.clone()).await.unwrap();
    let config = Arc::new(authority.client(None));
    let name = endpoint.strip_prefix("mem:").unwrap_or_default().to_owned();
    Served { running, name, authority, config, probe, errors }
}

impl Served {
    async fn connect(&self, peer: &str) -> MemClient {
        Client(memory::connect_from(&self.name, peer.parse::<SocketAddr>().unwrap()).await.unwrap())
    }

    /// Connects and requests TLS, without the handshake.
    async fn request(&self, peer: &str) -> MemClient {
        let mut client = self.connect(peer).await;
        client.send("STARTTLS\n").await.expect("go\n").await;
        client
    }

    async fn secure<T: AsyncRead + AsyncWrite + Unpin>(&self, client: Client<T>) -> Client<TlsStream<T>> {
        tls_connect(&self.config, "localhost", client.0).await.unwrap()
    }

    async fn expect_echo(&self, client: MemClient) {
        self.secure(client).await.send("hi\n").await.expect("hi\n").await;
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].closed.iter().find(|(of, _)| *of == reason).unwrap().1
    }

    fn rejected(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].rejected.iter().find(|(of, _)| *of == reason).unwrap().1
    }

    /// Waits until this many connections are closed with a reason.
    async fn wait_closed(&self, reason: CloseReason, count: u64) {
        while self.closed(reason) < count {
            sleep(millis(1)).await;
        }
    }

    /// The errors of the failed handshakes so far, at least one.
    async fn error(&self) -> String {
        self.errors.subscribe().wait_for(|errors| !errors.is_empty()).await.unwrap().join(", ")
    }
}

fn served_certificate(client: &Client<TlsStream<impl AsyncRead + AsyncWrite + Unpin>>) -> CertificateDer<'static> {
    client.0.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn plaintext_comes_first_and_tls_starts_on_request_over_every_stream_transport() {
    async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(served: &Served, io: T) {
        let mut client = Client(io);
        client.send("hello\nagain\n").await.expect("plain hello\nplain again\n").await;
        client.send("STARTTLS\n").await.expect("go\n").await;
        let mut client = served.secure(client).await;
        client.send("secret\n").await.expect("secret\n").await;
        let nth = served.probe.calls().iter().filter(|call| *call == "open").count() - 1;
        let connection = served.probe.connection(nth);
        let tls = connection.tls().expect("the handshake is complete");
        assert_eq!((tls.version, tls.server_name.as_deref()), (TlsVersion::V1_3, Some("localhost")));
        client.half_close().await.expect_end().await;
    }
    let served = serve(|server| server).await;
    exchange(&served, memory::connect(&served.name).await.unwrap()).await;
    let tcp = serve_at("tcp://127.0.0.1:0", |server| server).await;
    exchange(&tcp, TcpStream::connect(tcp.running.socket_addr().unwrap()).await.unwrap()).await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.sock");
    let unix = serve_at(&format!("unix:{}", path.display()), |server| server).await;
    exchange(&unix, UnixStream::connect(&path).await.unwrap()).await;
}

#[tokio::test]
async fn only_a_listener_with_tls_on_request_offers_it() {
    let authority = Authority::new();
    for tls in [None, Some(authority.settings())] {
        let name = unique("other");
        let server = Server::bind(format!("mem:{name}"))
            .framing(Lines::default())
            .connection_layer(negotiation(&Arc::default()));
        let is_tls = tls.is_some();
        let server = match tls {
            Some(tls) => server.tls(tls),
            None => server,
        };
        let _running = server.start(Probe::default()).await.unwrap();
        let io = memory::connect(&name).await.unwrap();
        if is_tls {
            // Its `tls` is set before the layer is called, which the layer would not accept.
            let mut client = tls_connect(&Arc::new(authority.client(None)), "localhost", io).await.unwrap();
            client.send("STARTTLS\n").await.expect("no TLS\n").await.send("hi\n").await.expect("hi\n").await;
        } else {
            Client(io).send("STARTTLS\n").await.expect("no TLS\n").await.send("hi\n").await.expect("hi\n").await;
        }
    }
    let on_request = authority.settings().start(TlsStart::OnRequest);
    let error = Server::bind("tls://127.0.0.1:0").tls(on_request).start(Probe::default()).await.unwrap_err();
    assert!(chain(&*error).contains("tls:// starts TLS immediately"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_requested_handshake_must_finish_within_its_timeout_which_begins_with_the_request() {
    let served = serve(|server| server.timeouts(timeouts(|timeouts| timeouts.handshake = secs(3)))).await;
    let mut client = served.connect("192.0.2.1:1").await;
    advance(secs(60)).await;
    client.send("STARTTLS\n").await.expect("go\n").await;
    let begun = Instant::now();
    client.expect_end().await;
    assert!((millis(2999)..millis(3500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    served.wait_closed(CloseReason::Handshake, 1).await;
    assert_eq!(served.error().await, "handshake: the handshake did not finish within 3s");
    assert!(served.probe.calls().is_empty(), "the handler is not called");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_requested_handshakes_fail_too_often_is_rejected() {
    let rates = Rates::default().failed_handshakes_per_source(Rate::per_second(5));
    let served = serve(|server| server.rates(rates)).await;
    let beginnings: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"", b"\x80", b"EHLO me\r\n"];
    for (nth, beginning) in beginnings.into_iter().enumerate() {
        let mut client = served.request("192.0.2.66:1").await;
        client.send(beginning).await.half_close().await.rest().await;
        served.wait_closed(CloseReason::Handshake, nth as u64 + 1).await;
    }
    assert!(served.error().await.starts_with("handshake: the TLS handshake failed: "), "{}", served.error().await);
    served.connect("192.0.2.66:2").await.expect_end().await;
    assert_eq!(served.rejected(CloseReason::Rate), 1);
    served.expect_echo(served.request("192.0.2.1:1").await).await;
    // A connection that ends without a request is not a failed handshake.
    for _ in 0..20 {
        served
            .connect("192.0.2.2:1")
            .await
            .send("hi\n")
            .await
            .expect("plain hi\n")
            .await
            .half_close()
            .await
            .rest()
            .await;
    }
    served.expect_echo(served.request("192.0.2.2:1").await).await;
}

#[tokio::test(start_paused = true)]
async fn requested_handshakes_are_limited_and_no_source_keeps_another_one_out() {
    let served = serve(|server| server.limits(limits(|limits| limits.handshakes = 4))).await;
    // Connections in plaintext are no handshakes. An old connection can begin a new handshake.
    let old = served.connect("192.0.2.1:1").await;
    let mut plain = Vec::new();
    for nth in 0..20 {
        plain.push(served.connect(&format!("198.51.100.{nth}:1")).await);
    }
    let mut silent = Vec::new();
    for nth in 0..20 {
        silent.push(served.request(&format!("192.0.2.66:{nth}")).await);
    }
    served.wait_closed(CloseReason::Limit, 16).await;
    let mut old = old;
    old.send("STARTTLS\n").await.expect("go\n").await;
    let late = served.request("192.0.2.2:1").await;
    served.expect_echo(old).await;
    served.expect_echo(late).await;
    for client in &mut plain {
        client.send("hi\n").await.expect("plain hi\n").await;
    }
    silent[0].expect_end().await;
    assert!(served.error().await.contains("limit: limits.handshakes is reached"), "{}", served.error().await);
    // Many sources with one handshake each: the oldest handshake ends, not that of the oldest connection.
    for (nth, client) in plain.into_iter().rev().enumerate() {
        let mut client = client;
        client.send("STARTTLS\n").await.expect("go\n").await;
        if nth % 2 == 0 {
            served.expect_echo(client).await;
        } else {
            silent.push(client);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_requested_handshake_does_not_delay_a_drain_or_a_kill() {
    for (is_kill, reason) in [(false, CloseReason::Drain), (true, CloseReason::Killed)] {
        let served = serve(|server| server).await;
        let mut client = served.request("192.0.2.1:1").await;
        client.send(b"\x16\x03").await; // a handshake that has begun
        let begun = Instant::now();
        if is_kill {
            served.running.connections()[0].kill();
        } else {
            served.running.drain().await;
        }
        client.expect_end().await;
        served.wait_closed(reason, 1).await;
        assert!(begun.elapsed() < secs(1), "{reason}: {:?}", begun.elapsed());
        assert_eq!(
            served.error().await,
            format!("{reason}: the handshake was aborted, because the connection must close")
        );
    }
}

#[tokio::test]
async fn a_renewed_certificate_applies_to_later_requests_of_open_connections() {
    let served = serve_at("tcp://127.0.0.1:0", |server| server).await;
    let address = served.running.socket_addr().unwrap();
    let spec = |tls: Option<TlsSettings>, backlog: u32| {
        let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:0".parse::<Endpoint>().unwrap());
        spec.tls = tls;
        spec.socket(socket(|socket| socket.backlog = backlog))
    };
    let renewed = |name: &str, start: TlsStart| {
        let identity = served.authority.sign(name, "localhost", |_| {});
        TlsSettings::new(identity.certificate, identity.key).start(start)
    };
    let mut registry = Registry::new();
    registry.handler("probe", |_: NoOptions| Ok(Probe::default()));
    let handler = registry.handler_entry("probe").unwrap().build(serde_json::json!({})).unwrap();
    let steps: [(&str, &dyn Fn() -> ListenerSpec, &str); 6] = [
        (
            "the same files with other contents",
            &|| spec(Some(renewed("localhost", TlsStart::OnRequest)), 1024),
            "localhost",
        ),
        ("other files", &|| spec(Some(renewed("second", TlsStart::OnRequest)), 1024), "second"),
        ("another accept loop", &|| spec(Some(renewed("third", TlsStart::OnRequest)), 100), "third"),
        (
            "other files after another accept loop",
            &|| spec(Some(renewed("fourth", TlsStart::OnRequest)), 100),
            "fourth",
        ),
        ("TLS starts immediately", &|| spec(Some(renewed("fifth", TlsStart::Immediately)), 100), "fifth"),
        ("the listener has no TLS: the last certificate", &|| spec(None, 100), "fifth"),
    ];
    let mut open = Vec::new();
    for _ in 0..=steps.len() {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send("hello\n").await.expect("plain hello\n").await;
        open.push(client);
    }
    for (what, spec, name) in steps {
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.listen(spec(), &handler);
        served.running.reload(listeners).await.unwrap();
        let mut client = open.pop().unwrap();
        client.send("STARTTLS\n").await.expect("go\n").await;
        let mut client = served.secure(client).await;
        let certificate = CertificateDer::from_pem_file(served.authority.at(name).certificate).unwrap();
        assert_eq!(served_certificate(&client), certificate, "{what}");
        client.send("hi\n").await.expect("hi\n").await;
    }
}

#[tokio::test]
async fn reload_tls_applies_to_later_requests_of_open_connections() {
    let served = serve(|server| server).await;
    let mut client = served.connect("192.0.2.1:1").await;
    client.send("hello\n").await.expect("plain hello\n").await;
    let identity = served.authority.sign("renewed", "localhost", |_| {});
    let renewed = TlsSettings::new(&identity.certificate, &identity.key);
    served.running.reload_tls([("main", &renewed)]).unwrap();
    client.send("STARTTLS\n").await.expect("go\n").await;
    let client = served.secure(client).await;
    assert_eq!(served_certificate(&client), CertificateDer::from_pem_file(&identity.certificate).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_proxy_header_comes_before_the_plaintext_and_names_the_source_of_the_handshake() {
    let trusted = ["10.0.0.0/8".parse::<Network>().unwrap()].into_iter().collect();
    let rates = Rates::default().failed_handshakes_per_source(Rate::per_second(1));
    let served = serve(|server| server.proxy(ProxySettings::default().trusted(trusted)).rates(rates)).await;
    let connect = async |client: &str| {
        let mut io = served.connect("10.0.0.1:1").await;
        io.send(format!("PROXY TCP4 {client} 203.0.113.1 1000 25\r\nSTARTTLS\n")).await;
        io
    };
    let mut client = connect("192.0.2.66").await;
    client.expect("go\n").await.send("no TLS\n").await.rest().await;
    served.wait_closed(CloseReason::Handshake, 1).await;
    connect("192.0.2.66").await.expect_end().await;
    let mut other = connect("192.0.2.1").await;
    other.expect("go\n").await;
    served.expect_echo(other).await;
    assert_eq!(served.probe.connection(0).peer().to_string(), "192.0.2.1:1000");
}

#[tokio::test]
async fn the_program_serves_plaintext_until_a_handler_starts_tls() {
    let authority = Authority::new();
    let config = configured(&authority, "start = \"on_request\"\n");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("tls://"), "{text}");
    let check = || program(&authority, &["check"]).run();
    let output = check();
    assert_eq!(output.code(), Some(78), "{output:?}");
    assert!(output.stderr.contains("tls:// starts TLS immediately"), "{output:?}");
    std::fs::write(&config, text.replace("tls://", "tcp://")).unwrap();
    assert_eq!(check().code(), Some(0));
    let server = program(&authority, &["serve"]).start();
    let io = TcpStream::connect(server.socket("main")).await.unwrap();
    Client(io).expect("welcome!\n").await.send("Ada\n").await.expect("hello, Ada!\n").await;
}
