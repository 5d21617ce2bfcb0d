//! The operator's guide: its table of contents is complete, and the program prints the outputs that it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use harness::{Event, Output, Program, Signal, root, tool};

use crate::admin::ask;
use crate::readme::blocks;

fn guide() -> String {
    fs::read_to_string(root().join("bin/docs/operators.md")).unwrap()
}

fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-").replace(['\'', ',', '`'], "")
}

#[test]
fn every_section_is_in_the_table_and_every_link_has_a_heading() {
    let text = guide();
    for section in text.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(text.contains(&format!("\n| [{section}](#{}) |", anchor(section))), "{section} is not in the table");
    }
    let anchors: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| anchor(line.trim_start_matches(['#', ' '])))
        .collect();
    let other_pages =
        ["README.md", "SECURITY.md", "bin/docs/handlers.md", "bin/docs/defaults.md", "bin/docs/scaling.md"];
    let pages = other_pages.map(|page| (page, fs::read_to_string(root().join(page)).unwrap()));
    let to_guide =
        pages.iter().flat_map(|(page, text)| text.split("operators.md#").skip(1).map(move |link| (*page, link)));
    for (page, link) in to_guide.chain(text.split("](#").skip(1).map(|link| ("the guide", link))) {
        let link = link.split(')').next().unwrap();
        assert!(anchors.iter().any(|anchor| anchor == link), "{page}: #{link} has no heading");
    }
}

/// The installation of the guide, in a temporary directory instead of /etc/switchboard and /run/switchboard.
struct Installation {
    place: tempfile::TempDir,
    guide: String,
}

impl Installation {
    fn new() -> Self {
        let installation = Self { place: tempfile::tempdir().unwrap(), guide: guide() };
        let configurations: Vec<_> = blocks(&installation.guide)
            .into_iter()
            .filter(|(kind, text)| kind == "toml" && text.starts_with("# /etc/switchboard/switchboard.toml"))
            .collect();
        let [(_, text)] = &configurations[..] else { panic!("{configurations:?}") };
        let place = installation.place.path().display().to_string();
        let text = text.replace("/etc/switchboard", &place).replace("/run/switchboard", &place);
        fs::write(installation.file(), text.replace("0.0.0.0:9443", "127.0.0.1:0")).unwrap();
        installation
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("switchboard.toml")
    }

    fn change_file(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.file(), text.replacen(from, to, 1)).unwrap();
    }

    fn program(&self, command: &[&str]) -> Program {
        Program::switchboard().args(command).arg("--config").arg(self.file()).current_dir(Path::new("/"))
    }

    /// The same text with the paths of the guide.
    fn as_shown(&self, text: &str) -> String {
        text.replace(&*self.place.path().to_string_lossy(), "/etc/switchboard")
    }

    #[track_caller]
    fn is_shown(&self, text: &str) {
        assert!(!text.is_empty());
        // The number of carets depends on the length of the path.
        let is_mark = |line: &str| line.trim_start().starts_with('|') && line.contains('^');
        for line in self.as_shown(text).lines().filter(|line| !is_mark(line)) {
            assert!(self.guide.lines().any(|other| other == line), "the guide does not show this line:\n{line}");
        }
    }

    #[track_caller]
    fn shows(&self, output: &Output, code: i32) {
        assert_eq!(output.code(), Some(code), "{}", output.stderr);
        self.is_shown(&(output.stdout.clone() + &output.stderr));
    }
}

/// Runs the command of the guide that contains `part`, with a change, and returns its standard output.
fn run_command(guide: &str, part: &str, place: &Path, change: impl Fn(&str) -> String) -> String {
    let sessions = blocks(guide).into_iter().filter(|(kind, text)| kind == "console" && text.contains(part));
    let (_, session) = sessions.into_iter().next().unwrap_or_else(|| panic!("{part}"));
    let session = session.replace("\\\n", "");
    let command = session.lines().find_map(|line| line.strip_prefix("$ ").filter(|line| line.contains(part))).unwrap();
    let output = Program::at(&tool("sh").unwrap()).args(["-c", &change(command)]).current_dir(place).run();
    assert_eq!(output.code(), Some(0), "{command}: {}", output.stderr);
    output.stdout
}

fn fields(event: &Event) -> BTreeSet<&str> {
    event.as_object().unwrap().keys().map(|key| &**key).collect()
}

#[test]
fn every_configuration_is_valid() {
    let place = tempfile::tempdir().unwrap();
    let installation = Installation::new();
    let examples: Vec<_> = blocks(&installation.guide).into_iter().filter(|(kind, _)| kind == "toml").collect();
    assert!(examples.len() > 2, "{examples:?}");
    for (_, text) in examples {
        // The first one needs its certificate, and has a test of its own.
        if text.contains("[listeners.main.tls]") {
            continue;
        }
        let text = text.replace("/var/lib/switchboard", &place.path().to_string_lossy());
        fs::write(place.path().join("a.toml"), &text).unwrap();
        let checked = Program::switchboard().args(["check", "-c", "a.toml"]).current_dir(place.path()).run();
        assert_eq!(checked.code(), Some(0), "{text}\n{}", checked.stderr);
    }
}

#[test]
fn the_program_prints_what_the_guide_shows() {
    if tool("openssl").is_none() {
        return;
    }
    let installed = Installation::new();
    let (guide, place) = (&installed.guide, installed.place.path());
    installed.shows(&Program::switchboard().arg("--version").run(), 0);
    installed.shows(&installed.program(&["check"]).run(), 78);
    run_command(guide, "openssl req", place, str::to_owned);
    installed.shows(&installed.program(&["check"]).run(), 0);
    installed.shows(&installed.program(&["check", "--bind"]).run(), 0);

    let server = installed.program(&["serve"]).start();
    server.address("admin");
    let socket = server.socket("main");
    let talk = run_command(guide, "s_client", place, |command| command.replace("localhost:9443", &socket));
    installed.is_shown(&talk);
    server.wait_for_event(|event| event["message"] == "connection closed");
    let get = |path| ask(UnixStream::connect(place.join("admin.sock")).unwrap(), "GET", path, "", "").body;
    installed.is_shown(&get("/readyz"));
    let metrics = get("/metrics");
    let metrics: Vec<_> = metrics.lines().filter(|line| line.starts_with("switchboard_messages_total")).collect();
    installed.is_shown(&metrics.join("\n"));

    installed.change_file("framing = \"lines\"\n", "framing = \"lines\"\n\n[listeners.main.timeouts]\nidle = \"1m\"\n");
    let difference = installed.program(&["config", "diff"]).run();
    installed.is_shown(&difference.stdout);
    server.signal(Signal::SIGHUP);
    server.wait_for_event(|event| event["message"] == "reloaded");
    installed.change_file("1m", "soon");
    server.signal(Signal::SIGHUP);
    let rejected = server.wait_for_event(|event| event["message"] == "reload rejected");
    server.signal(Signal::SIGTERM);
    server.wait_for_event(|event| event["message"] == "drained");

    let shown: Vec<Event> = guide.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let shown: BTreeMap<_, _> = shown.iter().map(|event| (event["message"].as_str().unwrap(), event)).collect();
    assert_eq!(installed.as_shown(rejected["error"].as_str().unwrap()), shown["reload rejected"]["error"]);
    let log = server.log();
    for (message, shown) in shown.into_iter().filter(|(message, _)| *message != "upgraded") {
        let event = log.iter().find(|event| event["message"] == message).unwrap_or_else(|| panic!("no {message}"));
        assert_eq!(fields(shown), fields(event), "{message}");
    }
}
