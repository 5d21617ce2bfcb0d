//! `switchboard connect`: a client that sends each line of standard input as a message and prints the replies.

mod datagram;
mod editor;
mod options;
mod output;
mod session;
mod stream;

use std::fmt::Display;
use std::io::{IsTerminal, stderr};

use switchboard::Registry;
use tokio::io::{AsyncRead, BufReader, Stdin, stdin};

use self::editor::Editor;
pub(crate) use self::options::ConnectOptions;
use self::output::Output;
use self::session::{Ended, Input, Printer, Result, Target, failed};
use crate::dial::{DatagramSocket, Opened};
use crate::exit;
use crate::failure::Failure;

/// Runs until the input has ended and the server has closed or was silent for `--wait`. The exit status is 1 if a line
/// could not be sent.
pub(crate) fn connect(options: ConnectOptions, registry: &Registry) -> std::result::Result<u8, Failure> {
    let is_terminal = editor::is_terminal();
    let mut target = options.target(registry, is_terminal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(failed("cannot start the runtime", &error)))?;
    let ended = runtime.block_on(run(&mut target, is_terminal));
    // Does not wait for a blocking read of standard input.
    runtime.shutdown_background();
    Ok(ended.map_err(Failure::new)?.has_unsent.into())
}

/// A connection of any transport.
enum Connection {
    Stream(Opened),
    Datagram(DatagramSocket),
}

async fn run(target: &mut Target, is_terminal: bool) -> Result<Ended> {
    target.server.resolve().await?;
    let connection = if target.server.is_datagram() {
        Connection::Datagram(target.server.open_datagram().await?)
    } else {
        Connection::Stream(target.server.open().await.map_err(|error| error.to_string())?)
    };
    let editor = if is_terminal { Editor::open(target.hex) } else { None };
    let Some((lines, mut editor)) = editor else {
        let input = Input::Piped(BufReader::new(stdin()), Vec::new());
        return talk(connection, input, target, &mut Output::open(target.hex)).await;
    };
    let note = |text: &dyn Display| {
        if stderr().is_terminal() {
            exit::print_error(&format!("{text}\n"));
        }
    };
    note(&greeting(&connection, target));
    editor.start();
    let ended = talk(connection, Input::<Stdin>::Terminal(lines), target, &mut editor).await;
    drop(editor); // restores the terminal
    if ended.as_ref().is_ok_and(|ended| ended.by_server) {
        note(&"the server closed the connection");
    }
    ended
}

async fn talk(
    connection: Connection,
    input: Input<impl AsyncRead + Unpin>,
    target: &Target,
    out: &mut impl Printer,
) -> Result<Ended> {
    match connection {
        Connection::Stream(opened) => stream::run(opened.stream, input, target, out).await,
        Connection::Datagram(mut socket) => datagram::run(&mut socket, input, target, out).await,
    }
}

/// The first line on a terminal: what is connected, and how to end.
fn greeting(connection: &Connection, target: &Target) -> String {
    let (verb, address, tls) = match connection {
        Connection::Stream(opened) => ("connected", opened.address, opened.tls.as_deref()),
        Connection::Datagram(socket) => ("sending", socket.address, None),
    };
    let mut details: Vec<String> = Vec::new();
    details.extend(address.map(|address| address.to_string()));
    details.extend(tls.map(str::to_owned));
    details.push(format!("framing {}", target.framing.name()));
    format!("{verb} to {} ({}); end with Ctrl-D", target.server.address, details.join(", "))
}
