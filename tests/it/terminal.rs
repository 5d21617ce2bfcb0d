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

fn run_in_terminal(home: &Path, steps: &[&str], server: &Running, color: bool) -> Option<String> {
    let to = format!("tcp://{}", server.socket("main"));
    let python = Program::at(&tool("python3")?).args(["-c", TERMINAL]).args(steps).arg("--");
    let client = python.arg(target().join("switchboard")).args(["connect", &to, "--framing", "lines", "--wait", "1m"]);
    let client = client.env("XDG_STATE_HOME", home).env("TERM", "xterm");
    let output = if color { client.env("NO_COLOR", "") } else { client.env("NO_COLOR", "1") }.run();
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    Some(output.stdout)
}

#[test]
fn lines_can_be_edited_and_recalled_and_replies_are_coloured() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]).start();
    let home = tempfile::tempdir().unwrap();
    // Ctrl-A moves to the beginning of the line.
    let steps = ["welcome!", "da\\x01A\\r", "hello, Ada!", "exit\\r"];
    let Some(shown) = run_in_terminal(home.path(), &steps, &server, true) else { return };
    assert!(shown.contains("\x1b[32mhello, Ada!\x1b[0m") && shown.trim_end().ends_with("|0"), "{shown:?}");
    // The second run recalls the line before the last one from the history.
    let steps = ["welcome!", "\\x1b[A\\x1b[A\\r", "hello, Ada!", "\\x04"];
    let shown = run_in_terminal(home.path(), &steps, &server, false).unwrap();
    assert!(shown.contains("hello, Ada!") && !shown.contains("\x1b[32m"), "{shown:?}");
}
