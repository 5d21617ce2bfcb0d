//! The client at a terminal: lines are edited, remembered and answered in colour.

use std::path::Path;

use harness::{Program, Running, target, tool};

/// Runs the program behind `--` at a terminal of its own. Of each pair of words before it, the first is waited for, and then the
/// second is typed. What was shown is printed at the end, and the status.
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
wait_for(b'nothing comes any more')
_, status = os.waitpid(pid, 0)
print(shown.decode(), status, sep='|')
"#;

fn at_a_terminal(home: &Path, steps: &[&str], server: &Running, color: bool) -> Option<String> {
    let to = format!("tcp://{}", server.socket("main"));
    let python = Program::at(&tool("python3")?).args(["-c", TERMINAL]).args(steps).arg("--");
    let client = python.arg(target().join("switchboard")).args(["connect", &to, "--framing", "lines"]);
    let client = client.env("XDG_STATE_HOME", home).env("TERM", "xterm");
    let ended = if color { client.env("NO_COLOR", "") } else { client.env("NO_COLOR", "1") }.run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    Some(ended.stdout)
}

#[test]
fn lines_are_edited_and_remembered_and_answers_have_a_colour() {
    let server = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]).start();
    let home = tempfile::tempdir().unwrap();
    // Ctrl-A goes to the beginning of the line.
    let steps = ["welcome!", "da\\x01A\\r", "hello, Ada!", "exit\\r"];
    let Some(shown) = at_a_terminal(home.path(), &steps, &server, true) else { return };
    assert!(shown.contains("\x1b[32mhello, Ada!\x1b[0m") && shown.trim_end().ends_with("|0"), "{shown:?}");
    // The next time, two lines back.
    let steps = ["welcome!", "\\x1b[A\\x1b[A\\r", "hello, Ada!", "\\x04"];
    let shown = at_a_terminal(home.path(), &steps, &server, false).unwrap();
    assert!(shown.contains("hello, Ada!") && !shown.contains("\x1b[32m"), "{shown:?}");
}
