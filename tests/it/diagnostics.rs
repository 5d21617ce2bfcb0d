//! Compiler messages: for a common mistake in handler code, the first lines of rustc's message say what to do.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// A correct handler and what the snippets use besides.
const COMMON: &str = "
    #![allow(unused)]
    use switchboard::prelude::*;
    use switchboard::tower::{Layer, Service};
    struct Echo;
    impl Handler for Echo {
        type State = ();
        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> { Ok(Reply::send(message)) }
    }
    fn server() -> Server { Server::bind(\"mem:diagnostics\") }
";

/// Compiles a program against the library of this test, and returns the first lines of the messages; nothing if it is
/// correct.
fn compile(program: &str) -> String {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let libraries = fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap()).filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("libswitchboard-") && name.ends_with(".rlib")
    });
    let newest = libraries.max_by_key(|library| library.metadata().unwrap().modified().unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["-", "--edition=2024", "--crate-name=snippet", "--emit=metadata", "--diagnostic-width=200", "--out-dir"])
        .arg(scratch.path())
        .arg("--extern")
        .arg(format!("switchboard={}", newest.path().display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    rustc.stdin.take().unwrap().write_all(format!("{COMMON}{program}").as_bytes()).unwrap();
    let output = rustc.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), messages.is_empty(), "{messages}");
    messages.lines().take(8).collect::<Vec<_>>().join("\n")
}

/// Asserts that the first line of the message, and a line soon after it, contain these texts.
fn says(program: &str, first: &str, soon: &str) {
    let message = compile(program);
    assert!(message.lines().next().is_some_and(|line| line.contains(first)), "{message}");
    assert!(message.contains(soon), "{message}");
}

#[test]
fn a_correct_program_compiles() {
    let message = compile(
        "
        struct Tunnel;
        impl StreamHandler for Tunnel {
            async fn serve(&self, _: Connection, _: ByteStream) -> Result<()> { Ok(()) }
        }
        fn replies(message: Bytes) -> Vec<Reply> {
            let part = Reply::send(message.slice(1..));
            let copy = Reply::send(Bytes::copy_from_slice(&message));
            let many = Reply::many([\"a\", \"b\"]);
            vec![part, copy, many, Reply::send(\"text\"), Reply::send(format!(\"{}\", 1)), Reply::send(vec![1, 2])]
        }
        fn main() {
            let _ = server().layer(RatePerSource::per_second(1)).layer(Timeout::new(Default::default())).serve(Echo);
            let _ = server().layer(Concurrency::new(1)).start(std::sync::Arc::new(Echo));
            let _ = server().connection_layer(Trace::connections()).start_stream(std::sync::Arc::new(Tunnel));
            Registry::new().handler(\"echo\", |_: NoOptions| Ok(Echo));
        }",
    );
    assert_eq!(message, "");
}

#[test]
fn a_stream_handler_passed_to_serve_names_serve_stream() {
    for method in ["serve", "start"] {
        says(
            &format!(
                "struct Tunnel;
                impl StreamHandler for Tunnel {{
                    async fn serve(&self, _: Connection, _: ByteStream) -> Result<()> {{ Ok(()) }}
                }}
                fn main() {{ let _ = server().{method}(Tunnel); }}"
            ),
            "a `StreamHandler` needs `serve_stream` or `start_stream`",
            "not a handler of",
        );
    }
}

#[test]
fn a_handler_passed_to_serve_stream_names_serve() {
    let program = "fn main() { let _ = server().serve_stream(Echo); }";
    says(program, "`Echo` is not a `StreamHandler`; a `Handler` needs `serve` or `start`", "byte streams");
}

#[test]
fn a_layer_without_clone_names_the_derive() {
    let program = "
        struct Plain;
        impl<S> Layer<S> for Plain { type Service = S; fn layer(&self, inner: S) -> S { inner } }
        fn main() { let _ = server().layer(Plain).start(Echo); }";
    says(program, "the layer `Plain` must implement `Clone`", "add `#[derive(Clone)]` to the layer");
}

#[test]
fn a_layer_whose_service_does_not_fit_names_the_service_to_implement() {
    let program = "
        #[derive(Clone)]
        struct Plain;
        struct PlainService<S>(S);
        impl<S> Layer<S> for Plain {
            type Service = PlainService<S>;
            fn layer(&self, inner: S) -> PlainService<S> { PlainService(inner) }
        }
        fn main() { let _ = server().layer(Plain).start(Echo); }";
    says(program, "is not a service for messages of type", "implement `tower::Service<Request<");
}

#[test]
fn a_borrowed_reply_names_the_owned_alternatives() {
    let program = "fn reply(message: Bytes) -> Reply { Reply::send(&message) } fn main() {}";
    says(program, "cannot be sent as a frame of type", "`Bytes::copy_from_slice(…)`, or `message.slice(..)`");
}

#[test]
fn options_without_derives_name_both_derives() {
    let program = "
        struct Options;
        fn main() { Registry::new().handler(\"echo\", |_: Options| Ok(Echo)); }";
    says(program, "derive `serde::Deserialize` and `schemars::JsonSchema`", "add `#[derive(Deserialize, JsonSchema)]`");
}

/// No attribute changes these messages, so this is what rustc itself prints.
#[test]
fn the_messages_without_an_attribute_name_the_cause() {
    let missing = "
        struct Bare;
        impl Handler for Bare {
            async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> { Ok(Reply::none()) }
        }
        fn main() {}";
    says(missing, "missing: `State`", "implement the missing item: `type State = /* Type */;`");
    let state = "
        struct Shared;
        impl Handler for Shared {
            type State = std::rc::Rc<u8>;
            async fn message(&self, _: &mut Context<Self::State>, _: Bytes) -> Result<Reply> { Ok(Reply::none()) }
        }
        fn main() {}";
    says(
        state,
        "`Rc<u8>` cannot be sent between threads safely",
        "required by a bound in `switchboard::Handler::State`",
    );
    let builder = "fn main() { Registry::new().handler(\"echo\", |_: NoOptions| async { Ok(Echo) }); }";
    says(builder, "mismatched types", "expected `Result<_, Box<dyn Error + Send + Sync>>`, found `async` block");
    let part = "fn reply(message: Bytes) -> Reply { Reply::send(&message[1..]) } fn main() {}";
    says(part, "`message` does not live long enough", "argument requires that `message` is borrowed for `'static`");
}
