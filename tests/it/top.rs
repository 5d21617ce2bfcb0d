//! The live view in a terminal: it fits any width, closes connections, survives a restart and restores the terminal.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use harness::{Program, Signal, TEST_TIMEOUT, target, tool};
use tempfile::TempDir;

use crate::commands::Configured;

/// A terminal multiplexer with one window, in which a command runs. Its server ends on drop.
struct Tmux {
    program: PathBuf,
    /// Contains the socket, which must exist until the server has ended.
    directory: TempDir,
}

impl Tmux {
    /// Starts `switchboard top` in a shell that prints the exit status afterwards. `None` without tmux.
    fn start(at: &Configured, columns: usize, rows: usize, environment: &str) -> Option<Self> {
        let this = Self { program: tool("tmux")?, directory: tempfile::tempdir().unwrap() };
        let program = target().join("switchboard");
        let command = format!(
            "cd {} && env {environment} {} top --interval 100ms -c switchboard.toml; echo status $?; exec cat",
            at.directory.path().display(),
            program.display()
        );
        let (columns, rows) = (columns.to_string(), rows.to_string());
        this.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, &command]);
        Some(this)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.env_remove("TMUX").env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        let output = command
            .args(["-f", "/dev/null", "-S"])
            .arg(self.directory.path().join("socket"))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn type_keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Polls until the screen shows what is wanted, and returns it.
    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let shown = self.shown();
            if wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{what}:\n{shown}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ =
            Command::new(&self.program).arg("-S").arg(self.directory.path().join("socket")).arg("kill-server").output();
    }
}

#[test]
fn the_view_fits_terminals_of_40_80_and_200_columns() {
    let at = Configured::start("unix:admin.sock", "");
    let _clients: Vec<_> = (0..30).map(|_| at.client()).collect();
    let expected = [
        (40, "LISTENER  OPEN  MSG/S FAIL/S    P99", "    ID PEER                AGE  MSG/S"),
        (80, "LISTENER  OPEN ACC/S REJ/S ERR/S  MSG/S FAIL/S    P50    P99   IN/S  OUT/S", "STATE"),
        (200, "OUT/S ADDRESS", "STATE"),
    ];
    for (columns, listeners, connections) in expected {
        let Some(tmux) = Tmux::start(&at, columns, 20, "NO_COLOR=") else { return };
        let shown = tmux.wait_for("the connections", |shown| {
            shown.contains("30 connections, oldest first")
                && shown.lines().last().is_some_and(|line| line.contains("k close"))
        });
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 20, "{shown}");
        assert!(lines[3].contains(listeners) && lines[7].contains(connections), "{shown}");
        // A row is one line, and the last line has the keys.
        assert!(lines[8..19].iter().all(|line| line.contains("127.0.0.1:")), "{shown}");
        assert!(lines[19].starts_with("q quit"), "{shown}");
        tmux.type_keys(&["k"]);
        tmux.wait_for("the question", |shown| shown.contains("y/n"));
        let escaped = tmux.tmux(&["capture-pane", "-p", "-e"]);
        assert!(escaped.contains("[38;5;1m"), "{escaped:?}");
        tmux.type_keys(&["n"]);
        tmux.tmux(&["resize-window", "-x", "60", "-y", "10"]);
        tmux.wait_for("the new size", |shown| {
            let lines: Vec<&str> = shown.lines().collect();
            lines.len() == 10 && lines[9].starts_with("q quit") && lines[3].ends_with("P50    P99")
        });
        tmux.tmux(&["resize-window", "-x", "9", "-y", "3"]);
        tmux.tmux(&["resize-window", "-x", "80", "-y", "20"]);
        tmux.type_keys(&["q"]);
        tmux.wait_for("the exit status", |shown| shown.starts_with("status 0"));
        assert_eq!(tmux.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag}"]), "0 1\n");
    }
}

#[test]
fn a_selected_connection_is_closed_after_a_confirmation() {
    let at = Configured::start("unix:admin.sock", "");
    let clients: Vec<_> = (0..3).map(|_| at.client()).collect();
    let peer = clients[1].get_ref().local_addr().unwrap().to_string();
    let Some(tmux) = Tmux::start(&at, 80, 20, "NO_COLOR=1") else { return };
    tmux.wait_for("the connections", |shown| shown.contains("3 connections"));
    tmux.type_keys(&["Down", "k"]);
    let question = format!("of {peer}? y/n");
    tmux.wait_for("the question", |shown| shown.contains(&question));
    let escaped = tmux.tmux(&["capture-pane", "-p", "-e"]);
    assert!(escaped.contains("\x1b[1m") && !escaped.contains("[38;"), "{escaped:?}");
    tmux.type_keys(&["n"]);
    tmux.wait_for("the keys", |shown| shown.contains("q quit"));
    tmux.type_keys(&["k", "y"]);
    tmux.wait_for("the result", |shown| shown.contains("is being closed") && shown.contains("2 connections"));
    assert!(!tmux.shown().contains(&peer), "{}", tmux.shown());
    tmux.type_keys(&["b"]);
    tmux.wait_for("the order", |shown| shown.contains("most messages/s first"));
    tmux.type_keys(&["p"]);
    tmux.wait_for("the pause", |shown| shown.contains("paused, unix:admin.sock"));
    drop(clients);
    tmux.type_keys(&["C-c"]);
    tmux.wait_for("the exit status", |shown| shown.starts_with("status 0"));
}

#[test]
fn the_view_keeps_the_last_data_until_the_server_is_back() {
    let at = Configured::start("unix:admin.sock", "");
    let Some(tmux) = Tmux::start(&at, 80, 20, "NO_COLOR=") else { return };
    let process = format!("process {}, running", at.server.id());
    tmux.wait_for("the process", |shown| shown.contains(&process));
    let Configured { directory, server, .. } = at;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    tmux.wait_for("the failure", |shown| {
        shown.contains("no reply, showing the last data: cannot connect") && shown.contains("switchboard ")
    });
    let again = Program::switchboard().arg("serve").current_dir(&directory).start();
    let process = format!("process {}, running", again.id());
    tmux.wait_for("the new process", |shown| shown.contains(&process) && !shown.contains("no reply"));
    tmux.type_keys(&["q"]);
    tmux.wait_for("the exit status", |shown| shown.starts_with("status 0"));
}
