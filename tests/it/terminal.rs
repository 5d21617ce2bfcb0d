//! The interactive client in a terminal: line editing, history and coloured replies.

use std::path::Path;

use harness::{Program, Running, target, tool};

/// Runs the program after `--` in a new pseudo-terminal. Each pair of arguments before `--` is a text to wait for and
/// an input to type. Prints the terminal output and the exit status at the end.
const TERMINAL: &str = r#"
import os, pty, sys
split = sys.argv.index('--')
steps = sys.argv[1:split]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[split + 1], sys.argv[split + 1:])
shown = b''
def wait_for(text):
    global shown
    seen = b''
    while text not in seen:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            break
    shown += seen
for wanted, typed in zip(steps[::2], steps[1::2]):
    wait_for(wanted.encode())
    os.write(terminal, typed.encode().decode('unicode_escape').encode())
wait_for(b'never printed by the program')
_, status = os.waitpid(pid, 0)
print(shown.decode(), status, sep='|')
"#;

/// Runs the program with these arguments in a terminal. Returns what the terminal showed, and the status after `|`.
pub(crate) fn run_in_terminal(home: &Path, steps: &[&str], args: &[&str], color: bool) -> Option<String> {
    let python = Program::at(&tool("python3")?).args(["-c", TERMINAL]).args(steps).arg("--");
    let client = python.arg(target().join("switchboard")).args(args);
    let client = client.env("XDG_STATE_HOME", home).env("TERM", "xterm");
    let output = if color { client.env("NO_COLOR", "") } else { client.env("NO_COLOR", "1") }.run();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    Some(output.stdout)
}

fn talk(home: &Path, steps: &[&str], server: &Running, more: &[&str], color: bool) -> Option<String> {
    let to = format!("tcp://{}", server.socket("main"));
    run_in_terminal(home, steps, &[&["connect", &to, "--wait", "1m"], more].concat(), color)
}

#[test]
fn lines_can_be_edited_and_recalled_and_replies_are_coloured() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]).start();
    let home = tempfile::tempdir().unwrap();
    // Ctrl-A moves to the beginning of the line.
    let steps = ["welcome!", "da\\x01A\\r", "hello, Ada!", "exit\\r"];
    let Some(shown) = talk(home.path(), &steps, &server, &[], true) else { return };
    assert!(shown.contains("\x1b[32mhello, Ada!\x1b[0m") && shown.trim_end().ends_with("|0"), "{shown:?}");
    // The second run recalls the line before the last one from the history.
    let steps = ["welcome!", "\\x1b[A\\x1b[A\\r", "hello, Ada!", "\\x04"];
    let shown = talk(home.path(), &steps, &server, &["--framing", "lines"], false).unwrap();
    assert!(shown.contains("hello, Ada!") && !shown.contains("\x1b[32m"), "{shown:?}");
}

#[test]
fn a_session_begins_with_the_connection_and_ends_with_the_reason() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let home = tempfile::tempdir().unwrap();
    // The server has no framing, so its welcome is not a whole line.
    let steps = ["welcome!", "Ada\\r", "hello, Ada!", "exit\\r"];
    let Some(shown) = talk(home.path(), &steps, &server, &[], false) else { return };
    let socket = server.socket("main");
    let first = format!("connected to tcp://{socket} ({socket}, framing lines); end with Ctrl-D\r\n");
    assert!(shown.starts_with(&first), "{shown:?}");
    assert!(shown.contains("the server closed the connection\r\n"), "{shown:?}");
    let shown = talk(home.path(), &["welcome!", "\\x04"], &server, &["--framing", "raw"], false).unwrap();
    assert!(shown.contains("framing raw") && !shown.contains("the server closed"), "{shown:?}");
}

#[test]
fn ctrl_c_in_a_search_of_the_history_ends_only_the_search() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]).start();
    let home = tempfile::tempdir().unwrap();
    // Ctrl-R begins a search, Ctrl-C ends it.
    let steps = ["welcome!", "Ada\\r", "hello, Ada!", "\\x12A", "`A': Ada", "\\x03Bob\\r", "hello, Bob!", "\\x03"];
    let Some(shown) = talk(home.path(), &steps, &server, &[], false) else { return };
    assert!(shown.contains("hello, Bob!") && shown.trim_end().ends_with("|0"), "{shown:?}");
}

#[test]
fn a_history_that_cannot_be_kept_is_one_warning() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]).start();
    let steps = ["welcome!", "Ada\\r", "hello, Ada!", "Bob\\r", "hello, Bob!", "\\x04"];
    let Some(shown) = talk(Path::new("/proc/none"), &steps, &server, &[], false) else { return };
    assert_eq!(shown.matches("warning: the history is not kept: /proc/none/switchboard/").count(), 1, "{shown:?}");
}

#[test]
fn replies_that_are_not_text_are_hex_dumps_on_a_terminal() {
    let binary = "handlers.hello.welcome=\u{1}\u{2}binary";
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--set", binary]).start();
    let home = tempfile::tempdir().unwrap();
    let Some(shown) = talk(home.path(), &["binary", "\\x04"], &server, &[], false) else { return };
    assert!(shown.contains("0000:   01 02 62 69  6e 61 72 79 "), "{shown:?}");
}
