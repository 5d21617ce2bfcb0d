//! Checks that involve several keys of a listener.

use super::*;

#[test]
fn shared_access_settings_apply_to_listeners_with_network_addresses() {
    let text = "
        access = { allow = ['10.0.0.0/8'] }
        [listeners.a]
        listen = 'tcp://127.0.0.1:1'
        [listeners.a.limits]
        handshakes = 5
        connections_per_source = 2
        [listeners.a.rate]
        connections_per_source = '3/s'
        burst = 4
        [listeners.b]
        listen = 'unix:/run/b.sock'
        [listeners.c]
        listen = 'unix:/run/c.sock'
        proxy = {}
    ";
    let environment = [("SWITCHBOARD_ACCESS__DENY", "10.1.0.0/16, 192.0.2.1")];
    let flags = [("--set", "listeners.a.proxy.trusted", "127.0.0.0/8,::1")];
    let config = Case { file: Some(text), environment: &environment, flags: &flags, ..Case::default() }.good();
    let [a, b, c] = ["a", "b", "c"].map(|name| &config.listeners[name]);
    let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    assert!(a.spec.access.allow.contains(ip("10.2.0.1")) && a.spec.access.deny.contains(ip("192.0.2.1")));
    assert!(a.spec.proxy.as_ref().is_some_and(|proxy| proxy.trusted.contains(ip("::1"))));
    assert_eq!((a.spec.limits.handshakes, a.spec.limits.connections_per_source), (5, 2));
    assert_eq!((a.spec.rates.connections_per_source.count(), a.spec.rates.burst), (3, 4));
    assert_eq!((&b.spec.access, &b.spec.proxy), (&switchboard::Access::default(), &None));
    assert_eq!((&c.spec.access, &c.spec.proxy), (&a.spec.access, &Some(switchboard::ProxySettings::default())));
    let printed = config.effective.print(Shape::Origins);
    assert!(printed.contains("# environment variable SWITCHBOARD_ACCESS__DENY"), "{printed}");
    assert_eq!(format!("{:?}", file(&printed).good().listeners), format!("{:?}", config.listeners));
}

#[test]
fn a_list_that_many_listeners_inherit_exists_once_and_each_listener_can_replace_it() {
    let mut text = "access.deny = ['192.0.2.1', '198.51.100.0/24']\n".to_owned();
    for nth in 0..50 {
        text += &format!("[listeners.l{nth}]\nlisten = 'tcp://127.0.0.1:{}'\n", 1000 + nth);
    }
    text += "
        [listeners.own]
        listen = 'udp://127.0.0.1:1'
        access.deny = ['203.0.113.0/24']
        [listeners.none]
        listen = 'udp://127.0.0.1:2'
        access = { allow = ['192.0.2.0/24'], deny = [] }
        [listeners.path]
        listen = 'unix:/run/a.sock'
    ";
    let config = file(&text).good();
    let is_denied = |name: &str, ip: &str| config.listeners[name].spec.access.deny.contains(ip.parse().unwrap());
    for name in ["l0", "l17", "l49"] {
        assert!(is_denied(name, "192.0.2.1") && is_denied(name, "198.51.100.9") && !is_denied(name, "203.0.113.1"));
    }
    assert!(is_denied("own", "203.0.113.1") && !is_denied("own", "192.0.2.1"));
    for name in ["none", "path"] {
        assert!(config.listeners[name].spec.access.deny.is_empty(), "{name}");
    }
    for shape in [Shape::Toml, Shape::Origins, Shape::Json] {
        let printed = config.effective.print(shape);
        assert_eq!(printed.matches("198.51.100.0/24").count(), 1, "{printed}");
    }
    let printed = config.effective.print(Shape::Toml);
    let again = file(&printed).good();
    assert_eq!(format!("{:?}", again.listeners), format!("{:?}", config.listeners));
    assert_eq!(again.effective.print(Shape::Toml), printed);
    let changed = file(&text.replace("198.51.100.0/24", "198.51.100.0/25")).good();
    assert_eq!(config.effective.differences(&changed.effective), [tree::path("access.deny")]);
}

#[test]
fn a_section_that_is_added_or_removed_shows_its_keys_that_need_a_restart() {
    let (without, with) = (
        file("handler = 'hello'").good(),
        file("handler = 'hello'\nbans.file = '/var/lib/bans.json'\n[recorder]").good(),
    );
    let paths = |paths: &[&str]| paths.iter().map(|text| tree::path(text)).collect::<Vec<_>>();
    for (before, after) in [(&without, &with), (&with, &without)] {
        let found = before.effective.differences(&after.effective);
        assert_eq!(found, paths(&["bans", "bans.file", "recorder"]));
        let running = running(before, after);
        assert_eq!(running["bans"]["file"], before.effective.json()["bans"]["file"]);
        assert_eq!(running["recorder"], after.effective.json()["recorder"]);
    }
    let listener = file("[listeners.more]\nlisten = 'tcp://127.0.0.1:1'\nsocket.reuse_port = true").good();
    assert_eq!(without.effective.differences(&listener.effective), paths(&["listeners.main", "listeners.more"]));
}

#[test]
fn a_section_has_its_defaults_if_it_is_present() {
    let (empty, full) =
        (file("[bans]\n[recorder]").good(), file("handler = 'hello'\nbans.term = '1h'\nrecorder.files = 100").good());
    assert_eq!(empty.effective.differences(&full.effective), Vec::<Path>::new());
    let printed = empty.effective.print(Shape::Toml);
    assert!(printed.contains("term = \"1h\"") && printed.contains("memory = \"16MiB\""), "{printed}");
    assert_eq!(file(&printed).good().effective.print(Shape::Toml), printed);
    assert!(!file("handler = 'hello'").good().effective.print(Shape::Toml).contains("[recorder]"));
}

#[test]
fn an_invalid_network_and_a_section_without_effect_suggest_a_fix() {
    for (text, parts) in [
        (
            "access.deny = ['10.0.0.1/8', 'x']",
            &["access.deny.0: \"10.0.0.1/8\" is not a network", "access.deny.1: \"x\" is not a network"][..],
        ),
        ("listeners.main.proxy = {}", &["listeners.main.proxy.trusted: is missing, so no proxy could connect"]),
        ("listeners.main.proxy.trusted = []", &["listeners.main.proxy.trusted: is empty, so no proxy could connect"]),
        ("listen = 'udp://127.0.0.1:1'\nlisteners.main.proxy = {}", &["listeners.main.proxy: requires connections"]),
        (
            "listen = 'mem:a'\nlisteners.main.access.allow = ['::1']",
            &[
                "listeners.main.access.allow: lists networks, but the peers of \"mem:a\" have no network address; remove this key, or add [listeners.main.proxy]",
            ],
        ),
        ("listeners.main.rate.burst = 5", &["listeners.main.rate.burst: has no effect without a rate"]),
    ] {
        let diagnostics = file(text).bad();
        assert_eq!(diagnostics.len(), parts.len(), "{text}: {diagnostics:#?}");
        assert!(
            parts.iter().all(|part| diagnostics.iter().any(|diagnostic| diagnostic.starts_with(part))),
            "{text}: {diagnostics:#?}"
        );
    }
}

#[test]
fn errors_never_contain_secrets() {
    let text = "[handlers.many]\npassword = ['hunter2']\n[handlers.other]\ntype = 'many'\npassword = 4711\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 2, "{diagnostics:?}");
    let twice = [("SWITCHBOARD_HANDLERS__MANY__PASSWORD", "hunter2"), ("SWITCHBOARD_HANDLERS__many__PASSWORD", "4711")];
    let twice = env(&twice).bad();
    for diagnostic in diagnostics.iter().chain(&twice) {
        assert!(!diagnostic.contains("hunter2") && !diagnostic.contains("4711"), "{diagnostic}");
    }
}

#[test]
fn tls_addresses_and_tls_sections_require_each_other() {
    let diagnostics = file("[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n").bad();
    assert_eq!(diagnostics.len(), 2, "{diagnostics:?}");
    for (diagnostic, file) in diagnostics.iter().zip(["certificate", "key"]) {
        assert!(
            diagnostic.starts_with(&format!("listeners.main.tls.{file}: is missing, but \"tls://127.0.0.1:1\"")),
            "{diagnostic}"
        );
    }
    let text = "[listeners.main]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\n";
    only(
        &file(text).bad(),
        "listeners.main.tls: requires a tls:// or systemd: address, but listen is \"tcp://127.0.0.1:1\"; change listen to tls://, \
         set start = \"on_request\" if the handler starts TLS, or remove this section (switchboard.toml, line 3)",
    );
    let text = "[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\n\
                [listeners.main.tls.sni.'a.example']\ncertificate = 'a'\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(
        diagnostics[0].contains("a.example") && diagnostics[0].contains("key") && diagnostics[0].contains("is missing"),
        "{diagnostics:?}"
    );
    let text = "[timeouts]\nhandshake = '3s'\n[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n\
                [listeners.main.tls]\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'a'\nalpn = ['one', 'two']\n";
    let config = file(text).good();
    let main = &config.listeners["main"];
    assert_eq!(main.spec.timeouts.handshake, Duration::from_secs(3));
    let mut expected = switchboard::TlsSettings::new("c", "k");
    expected.client_ca = Some("a".into());
    expected.alpn = vec!["one".into(), "two".into()];
    assert_eq!(main.spec.tls, Some(expected));
    assert!(config.effective.print(Shape::Toml).contains("key = \"k\""), "a path is no secret");
    let text = "[listeners.main]\nlisten = 'tls://127.0.0.1:1'\n[listeners.main.tls]\ncertificate = 'c'\n\
                key = '''-----BEGIN PRIVATE KEY-----\nhunter2'''\n";
    let diagnostics = file(text).bad();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(diagnostics[0].contains("not its content") && !diagnostics[0].contains("hunter2"), "{diagnostics:?}");
    let text = "[listeners.main]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.other]\nlisten = 'tls://127.0.0.1:1'\n\
                [listeners.other.tls]\ncertificate = 'c'\nkey = 'k'\n";
    let diagnostics = file(text).bad();
    assert!(diagnostics.len() == 1 && diagnostics[0].contains("is already used by"), "{diagnostics:?}");
}

#[test]
fn tls_on_request_requires_an_address_of_plaintext_connections() {
    let listener = |listen: &str, start: &str| {
        let tls = format!("start = '{start}'\ncertificate = 'c'\nkey = 'k'\n");
        format!("[listeners.main]\nlisten = '{listen}'\n[listeners.main.tls]\n{tls}")
    };
    for listen in ["tcp://127.0.0.1:1", "unix:/run/a", "unix:@a", "mem:a", "systemd:a"] {
        let config = file(&listener(listen, "on_request")).good();
        let tls = config.listeners["main"].spec.tls.as_ref().unwrap();
        assert_eq!(tls.start, switchboard::settings::TlsStart::OnRequest, "{listen}");
        assert!(config.effective.print(Shape::Toml).contains("start = \"on_request\""), "{listen}");
        if listen != "systemd:a" {
            let diagnostics = file(&listener(listen, "immediately")).bad();
            assert!(diagnostics.len() == 1 && diagnostics[0].contains("set start = \"on_request\""), "{diagnostics:?}");
        }
    }
    for (listen, start, expected) in [
        (
            "tls://127.0.0.1:1",
            "on_request",
            "tls.start: is \"on_request\", but tls:// starts TLS immediately; change listen",
        ),
        ("udp://127.0.0.1:1", "on_request", "tls: requires connections, but \"udp://127.0.0.1:1\" provides datagrams"),
        ("unixgram:/run/a", "on_request", "tls: requires connections, but \"unixgram:/run/a\" provides datagrams"),
        ("udp://127.0.0.1:1", "immediately", "tls: requires a tls:// or systemd: address, but listen is"),
        ("tcp://127.0.0.1:1", "immediate", "tls.start: \"immediate\" is not"),
        ("tls://127.0.0.1:1", "starttls", "tls.start: \"starttls\" is not"),
    ] {
        let diagnostics = file(&listener(listen, start)).bad();
        assert_eq!(diagnostics.len(), 1, "{listen} {start}: {diagnostics:?}");
        assert!(diagnostics[0].starts_with(&format!("listeners.main.{expected}")), "{diagnostics:?}");
    }
    let text = "[listeners.main]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.main.tls]\nstart = 'on_request'\n";
    let diagnostics = file(text).bad();
    assert!(diagnostics.len() == 2 && diagnostics[0].contains("is missing, but TLS requires it"), "{diagnostics:?}");
}

#[test]
fn a_handler_transport_mismatch_names_both() {
    let text = "listen = 'udp://127.0.0.1:1'\nhandler = 'streamy'\n";
    only(
        &file(text).bad(),
        "listeners.main.handler: the handler \"streamy\" requires connections, but \"udp://127.0.0.1:1\" provides datagrams; \
         streamy supports tcp, tls, unix, mem, systemd (switchboard.toml, line 2)",
    );
}

#[test]
fn an_incompatible_framing_is_reported() {
    let text = "listen = 'udp://127.0.0.1:1'\nframing = 'lines'\n";
    let diagnostics = file(text).bad();
    assert!(
        diagnostics[0].starts_with("listeners.main.framing: the framing lines splits the bytes of a connection"),
        "{diagnostics:?}"
    );
    file("listen = 'udp://127.0.0.1:1'\nframing = 'raw'\n").good();
    let diagnostics = file("handler = 'typed'\nframing = 'lines'\n").bad();
    assert!(diagnostics[0].contains("has its own framing"), "{diagnostics:?}");
    file("handler = 'typed'\n").good();
    let diagnostics = file("framing = 'json-lines'\n").bad();
    assert!(diagnostics[0].contains("does not support the framing json-lines"), "{diagnostics:?}");
    let diagnostics = file("handler = 'typed'\n[listeners.main]\nlayers = ['trace']\n").bad();
    assert!(diagnostics[0].starts_with("listeners.main.layers: require messages of bytes"), "{diagnostics:?}");
}

#[test]
fn layers_have_names_and_sections_like_handlers() {
    let text = "[listeners.main]\nlayers = ['slow', 'trace']\n[layers.slow]\ntype = 'rate'\nrate = '1/s'\n";
    let config = file(text).good();
    assert_eq!(main_of(&config).layers, ["slow", "trace"]);
    assert_eq!((config.layers["slow"].kind.as_str(), config.layers["trace"].kind.as_str()), ("rate", "trace"));
    only(
        &file("[listeners.main]\nlayers = ['trace', 'rat']\n").bad(),
        "listeners.main.layers.1: \"rat\" is not a layer; did you mean \"rate\"? Available: concurrency, rate, timeout, trace (switchboard.toml, line 2)",
    );
    assert!(
        file("[layers.slow]\nrate = '1/s'\n").bad()[0]
            .starts_with("layers.slow: has no type, and \"slow\" is not a layer")
    );
    assert!(file("[layers.rate]\nratte = '1/s'\n").bad()[0].contains("did you mean \"rate\"?"));
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let text = "
        [listeners.a]
        listen = 'tcp://127.0.0.1:7000'
        [listeners.b]
        listen = 'tcp://127.0.0.1:7000'
    ";
    only(
        &file(text).bad(),
        "listeners.b.listen: \"tcp://127.0.0.1:7000\" is already used by listeners.a (switchboard.toml, line 5)",
    );
    file("[listeners.a]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.b]\nlisten = 'tcp://127.0.0.1:0'\n").good();
    file("[listeners.a]\nlisten = 'tcp://127.0.0.1:1'\n[listeners.b]\nlisten = 'udp://127.0.0.1:1'\n").good();
}

#[test]
fn addresses_that_cannot_be_bound_together_are_errors_that_name_both_listeners() {
    let pair = |one: &str, other: &str, more: &str| {
        format!("{more}\n[listeners.a]\nlisten = '{one}'\n[listeners.b]\nlisten = '{other}'\n")
    };
    for (one, other) in [
        ("tcp://0.0.0.0:7000", "tcp://127.0.0.1:7000"),
        ("tcp://127.0.0.1:7000", "tcp://0.0.0.0:7000"),
        ("tcp://[::]:7000", "tcp://127.0.0.1:7000"),
        ("tcp://[::1]:7000", "tcp://[::]:7000"),
        ("udp://[::]:7000", "udp://10.0.0.1:7000"),
        ("tcp://[::ffff:127.0.0.1]:7000", "tcp://127.0.0.1:7000"),
        ("tcp://localhost:7000", "tcp://LOCALHOST:7000"),
        ("unix:/tmp/../tmp/app.sock", "unix:/tmp/app.sock"),
        ("unix:/tmp/app.sock", "unixgram:/tmp/app.sock"),
        ("unix:./app.sock", "unix:app.sock"),
        ("unix:@app", "unix:@app"),
        ("systemd:web", "systemd:web"),
    ] {
        let found = file(&pair(one, other, "")).bad();
        let names_both = found[0].contains("listeners.b.listen") && found[0].contains("listeners.a");
        assert!(found.len() == 1 && names_both && found[0].contains(one), "{one}, {other}: {found:?}");
    }
    for (one, other, more) in [
        ("tcp://0.0.0.0:7000", "tcp://[::]:7000", ""),
        ("udp://[::]:7000", "udp://0.0.0.0:7000", ""),
        ("tcp://0.0.0.0:7000", "tcp://[::1]:7000", ""),
        ("tcp://0.0.0.0:7000", "udp://127.0.0.1:7000", ""),
        ("tcp://0.0.0.0:7000", "tcp://127.0.0.1:7000", "socket.reuse_port = true"),
        ("tcp://0.0.0.0:0", "tcp://127.0.0.1:0", ""),
        ("unix:@app", "unixgram:@app", ""),
        ("unix:/tmp/app", "unix:@/tmp/app", ""),
    ] {
        file(&pair(one, other, more)).good();
    }
    let admin = file("admin = { listen = 'tcp://[::]:7000', token = 'x' }\nlisten = 'tcp://0.0.0.0:7000'\n").bad();
    assert!(admin.len() == 1 && admin[0].contains("listeners.main"), "{admin:?}");
}

#[test]
fn a_burst_without_a_rate_is_an_error() {
    let diagnostics = file("[listeners.main.rate]\nburst = 5\n").bad();
    assert!(diagnostics[0].starts_with("listeners.main.rate.burst: has no effect without a rate"), "{diagnostics:?}");
    let config = file("rate = { messages_per_source = '10/m', burst = 5 }\n").good();
    let rates = main_of(&config).spec.rates;
    assert_eq!(
        (rates.messages_per_source.count(), rates.messages_per_source.per().as_secs(), rates.burst),
        (10, 60, 5)
    );
    file("rate = { burst = 5 }\n[listeners.main.rate]\nmessages_per_source = '0/s'\n").good();
    // It applies to failed handshakes, which have a rate by default.
    let proxy = "[listeners.main]\nrate.burst = 5\nproxy.trusted = ['10.0.0.0/8']\n";
    file(proxy).good();
    file(&format!("{proxy}rate.failed_handshakes_per_source = '0/s'\n")).bad();
}
