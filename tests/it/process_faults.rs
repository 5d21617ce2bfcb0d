//! What a process inherits, what it passes on in an upgrade, and what both accept from outside.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;

use harness::{Event, Program, Running, Signal, free_port, target, tool};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::failed_upgrades::{CONFIG, is_served, rejections, wait_until};
use crate::supervised::ServiceManager;
use crate::upgrade::{Installed, script};

/// The names of the threads of a process.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // A thread can end after it was listed.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_server_with_one_worker_has_one_thread_until_it_logs() {
    for (level, expected) in [("warn", &["switchboard"][..]), ("info", &["log", "switchboard"])] {
        let port = free_port();
        let program = Program::switchboard().args(["--set", "runtime.workers=1", "--log-level", level, "--listen"]);
        let mut server = program.arg(format!("tcp://127.0.0.1:{port}")).spawn();
        let mut welcome = [0; 8];
        server.wait_until("a client reads the welcome", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut client| client.read_exact(&mut welcome).is_ok())
        });
        // The thread that has read the files ends soon.
        let id = server.id();
        server.wait_until("only the expected threads remain", || threads(id) == expected);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

/// The server in a directory, started by a shell command that executes `"$@"` with other attributes.
struct Started {
    running: Running,
    place: tempfile::TempDir,
}

impl Started {
    /// `None` if the machine lacks a program that the command needs.
    fn by(tools: &[&str], command: &str, config: &str) -> Option<Self> {
        if tools.iter().any(|name| tool(name).is_none()) {
            return None;
        }
        let (program, place) = by_shell(command, config);
        Some(Self { running: program.spawn(), place })
    }

    #[track_caller]
    fn is_ready(&self) {
        self.running.wait_for_event(|event| event["message"] == "listening");
    }

    #[track_caller]
    fn stops(self) -> tempfile::TempDir {
        self.running.signal(Signal::SIGTERM);
        let ended = self.running.wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        self.place
    }

    fn install(&self, text: &str) {
        let next = script(self.place.path(), "next", &format!("#!/bin/sh\n{text}\n"));
        fs::rename(next, self.place.path().join("server")).unwrap();
    }

    fn finds(&self, attribute: &str) -> String {
        let is_finding = |event: &Event| event["message"] == "unusual process attribute";
        let found = self.running.wait_for_event(|event| is_finding(event) && event["attribute"] == attribute);
        found["found"].as_str().unwrap().to_owned()
    }

    fn attribute(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap().trim().to_owned()
    }
}

fn by_shell(command: &str, config: &str) -> (Program, tempfile::TempDir) {
    drop(Program::switchboard()); // builds the binary
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("switchboard.toml"), config).unwrap();
    std::os::unix::fs::symlink(target().join("switchboard"), place.path().join("server")).unwrap();
    let server = place.path().join("server");
    let program = Program::at(Path::new("/bin/sh")).current_dir(place.path());
    (program.args(["-c", command, "sh"]).arg(server), place)
}

#[test]
fn blocked_and_ignored_signals_keep_their_effect() {
    for (tools, command) in [
        (&["env"][..], "exec env --block-signal=TERM,INT,HUP,USR2,CHLD \"$@\""),
        (&["env"], "exec env --block-signal \"$@\""),
        (&["env"], "exec env --ignore-signal=TERM,HUP,USR2,CHLD \"$@\""),
        (&["env"], "exec env --block-signal=CHLD --ignore-signal=CHLD,PIPE,XFSZ \"$@\""),
        (&["nohup"], "exec nohup \"$@\" >nohup.out"),
        (&["setsid"], "trap '' TERM HUP USR2; exec \"$@\""),
    ] {
        let Some(server) = Started::by(tools, command, CONFIG) else { continue };
        server.is_ready();
        if command.contains("--block") {
            assert!(server.finds("blocked signals").contains("SIGCHLD"), "{command}");
        }
        server.running.signal(Signal::SIGHUP);
        server.running.wait_for_event(|event| event["message"] == "reloaded");
        // The exit status of the new program is received.
        server.install("exit 7");
        server.running.signal(Signal::SIGUSR2);
        let rejected = server.running.wait_for_event(|event| event["message"] == "upgrade rejected");
        assert!(rejected["error"].as_str().unwrap().contains("exit status 7"), "{command}: {rejected}");
        is_served(&server.running.socket("main"));
        server.stops();
    }
}

#[test]
fn a_unix_socket_without_proc_is_an_error_that_names_it() {
    const UNSHARE: [&str; 4] = ["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\""];
    let Some(unshare) = tool("unshare") else { return };
    if Program::at(&unshare).args(UNSHARE).args(["sh", "true"]).run().code() != Some(0) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must not skip tests");
        eprintln!("skipped: this user cannot create a mount namespace");
        return;
    }
    for scheme in ["unix", "unixgram"] {
        let (_, place) = by_shell("", &format!("[listeners.main]\nlisten = '{scheme}:socket'\nhandler = 'echo'\n"));
        let program = Program::at(&unshare).current_dir(place.path()).args(UNSHARE).arg("sh");
        let output = program.arg(place.path().join("server")).run();
        assert_eq!(output.code(), Some(1));
        let error = output.stderr;
        assert!(error.contains("needs /proc, which is not mounted"), "{error}");
        assert!(!error.contains("does not exist"), "{error}");
    }
}

#[test]
fn as_process_1_the_server_rejects_an_upgrade_and_continues() {
    const UNSHARE: [&str; 3] = ["--pid", "--fork", "--mount-proc"];
    let Some(unshare) = tool("unshare") else { return };
    if Program::at(&unshare).args(UNSHARE).arg("true").run().code() != Some(0) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must not skip tests");
        eprintln!("skipped: this user cannot create a PID namespace");
        return;
    }
    let (_, place) = by_shell("", CONFIG);
    let server = Program::at(&unshare).current_dir(place.path()).args(UNSHARE).arg(place.path().join("server"));
    let mut server = server.spawn();
    let address = server.socket("main");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap();
    let process_1 = Pid::from_raw(children.trim().parse().unwrap());
    for count in 1..=2 {
        kill(process_1, Signal::SIGUSR2).unwrap();
        wait_until("the upgrade is rejected", || rejections(&server) == count);
    }
    let rejected = server.wait_for_event(|event| event["message"] == "upgrade rejected");
    assert!(rejected["error"].as_str().unwrap().contains("this process is process 1"), "{rejected}");
    is_served(&address);
    kill(process_1, Signal::SIGHUP).unwrap();
    server.wait_for_event(|event| event["message"] == "reloaded");
    server.wait_until("it still runs", || true);
    kill(process_1, Signal::SIGTERM).unwrap();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn no_socket_gets_the_descriptor_of_a_closed_standard_stream() {
    for redirect in ["0<&- 1>&- 2>&-", "0<&-", "2>&-", "0<&- 2>&-", "1>&- 2>&-"] {
        let config = "[listeners.main]\nlisten = 'unix:socket'\n";
        let Some(server) = Started::by(&[], &format!("exec \"$@\" {redirect}"), config) else { continue };
        let mut client = None;
        wait_until("the server listens", || {
            client = UnixStream::connect(server.place.path().join("socket")).ok();
            client.is_some()
        });
        client.unwrap().read_exact(&mut [0; 8]).unwrap();
        for (stream, closed) in [(0, "0<"), (1, "1>"), (2, "2>")] {
            let open = fs::read_link(format!("/proc/{}/fd/{stream}", server.running.id())).unwrap();
            assert!(!redirect.contains(closed) || open == Path::new("/dev/null"), "{redirect}: {open:?}");
        }
        server.stops();
    }
}

#[test]
fn inherited_descriptors_do_not_reach_the_new_program() {
    for open in ["7</dev/null", "3</dev/null 4<switchboard.toml 9>lock", "5<>lock", "3>lock 4>&3"] {
        let Some(server) = Started::by(&[], &format!("exec {open}; exec \"$@\""), CONFIG) else { return };
        server.is_ready();
        // The shell and `ls` have no other descriptors than the passed ones: the stream and one socket.
        server.install("ls -l /proc/$$/fd > list; exit 7");
        server.running.signal(Signal::SIGUSR2);
        server.running.wait_for_event(|event| event["message"] == "upgrade rejected");
        let list = fs::read_to_string(server.place.path().join("list")).unwrap();
        assert!(!list.contains("lock") && !list.contains("switchboard.toml") && !list.contains("/dev/null"), "{list}");
        server.stops();
    }
}

#[test]
fn a_umask_that_locks_the_owner_out_or_lets_others_write_is_corrected() {
    for (umask, corrected) in [("0777", "0077"), ("0", "0022"), ("0700", "0022"), ("0002", "0002"), ("0077", "0077")] {
        let config = "[listeners.main]\nlisten = 'unix:socket'\n";
        let Some(server) = Started::by(&[], &format!("umask {umask}; exec \"$@\""), config) else { return };
        server.is_ready();
        assert_eq!(server.attribute("Umask"), corrected, "{umask}");
        let mode = fs::metadata(server.place.path().join("socket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{umask}");
        server.stops();
    }
}

#[test]
fn a_log_file_at_the_limit_of_file_sizes_does_not_end_the_server() {
    for limit in ["ulimit -f 2", "ulimit -S -f 4"] {
        let config = "[listeners.main]\nlisten = 'unix:socket'\n";
        let Some(server) = Started::by(&[], &format!("{limit}; exec \"$@\" 2>log"), config) else { return };
        let path = server.place.path().join("socket");
        wait_until("the server listens", || UnixStream::connect(&path).is_ok());
        for _ in 0..200 {
            UnixStream::connect(&path).unwrap().read_exact(&mut [0; 8]).unwrap();
        }
        let place = server.stops();
        assert!(fs::metadata(place.path().join("log")).unwrap().len() <= 4096, "the limit was reached");
    }
}

#[test]
fn too_few_descriptors_or_threads_are_one_sentence_at_the_start() {
    let as_other_user = "exec prlimit --nproc=2 setpriv --reuid=65533 --clear-groups";
    for (tools, command, part) in [
        (&[][..], "ulimit -n 8; exec \"$@\"", "file descriptors: Too many open files"),
        (&[], "ulimit -n 14; exec \"$@\"", "file descriptors: Too many open files"),
        (&["prlimit", "setpriv"], &format!("{as_other_user} \"$@\""), "threads: Resource temporarily unavailable"),
    ] {
        let is_root = nix::unistd::geteuid().is_root();
        if tools.iter().any(|name| tool(name).is_none()) || (command.contains("setpriv") && !is_root) {
            eprintln!("skipped: {command} needs privileges");
            continue;
        }
        let (_, place) = by_shell("", CONFIG);
        // The other user can read neither the build directory nor the directory of the test.
        let public =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap();
        fs::copy(target().join("switchboard"), public.path().join("server")).unwrap();
        let program = Program::at(Path::new("/bin/sh")).current_dir(public.path()).args(["-c", command, "sh"]);
        let ended = program.arg(public.path().join("server")).args(["--listen", "tcp://127.0.0.1:0"]).run();
        assert_eq!(ended.code(), Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains(part) && ended.stderr.lines().count() == 1, "{command}: {}", ended.stderr);
        drop(place);
    }
    // A low soft limit is raised.
    let Some(server) = Started::by(&[], "ulimit -S -n 8; exec \"$@\"", CONFIG) else { return };
    is_served(&server.running.socket("main"));
    server.stops();
}

#[test]
fn a_deleted_directory_an_empty_environment_and_an_empty_name_are_accepted() {
    for (command, attribute) in [
        ("mkdir gone; cd gone; rmdir ../gone; exec \"$@\" --listen tcp://127.0.0.1:0", Some("working directory")),
        ("exec env -i \"$@\"", None),
        ("unset HOME PATH; exec \"$@\"", None),
        ("ulimit -t 3600; exec \"$@\"", Some("limit of CPU seconds (RLIMIT_CPU)")),
        ("ulimit -c 0; exec \"$@\" <&-", None),
    ] {
        let Some(server) = Started::by(&[], command, CONFIG) else { return };
        is_served(&server.running.socket("main"));
        if let Some(attribute) = attribute {
            server.finds(attribute);
        }
        server.stops();
    }
    let mut program = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]);
    program.command().arg0("");
    let server = program.start();
    is_served(&server.socket("main"));
    server.signal(Signal::SIGUSR2);
    let new = server.wait_for_event(|event| event["message"] == "upgraded")["pid"].as_i64().unwrap();
    is_served(&server.socket("main"));
    kill(Pid::from_raw(i32::try_from(new).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(server.wait().code(), Some(0));
}

/// The most memory that a process has used, in MiB.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_reply_without_end_is_cut_and_rejects_the_upgrade() {
    let mut server = Installed::start(CONFIG);
    let (place, address) = (server.place.path().to_owned(), server.log().socket("main"));
    let before = peak_memory(server.current);
    for (index, (text, part)) in [
        ("exec head -c 200000000 /dev/zero >&3", "it replied \"\\0\\0"),
        ("yes | tr -d '\\n' >&3", "it replied \"yyyy"),
        ("yes '' >&3", "exit status"),
        ("printf 'ready or not' >&3; exec sleep 1000 3>&-", "it replied \"ready or not\""),
        ("printf '\\033[2Jready\\n' >&3; exec sleep 1000", "it replied \"\\u{1b}[2Jready\""),
    ]
    .iter()
    .enumerate()
    {
        server.install(&script(&place, &format!("program{index}"), &format!("#!/bin/sh\n{text}\n")));
        let error = server.upgrade_is_rejected();
        assert!(error.len() < 2000, "{text}: {} bytes", error.len());
        assert!(error.contains(part) || error.contains("compatible"), "{text}: {error}");
        is_served(&address);
    }
    let grown = peak_memory(server.current) - before;
    assert!(grown < 20, "{grown} MiB");
    server.stop();
}

#[test]
fn the_old_process_is_not_trusted_with_the_size_of_its_list() {
    let Some(python) = tool("python3") else { return };
    // Passes a stream as the old process does, writes the list, and holds the stream until the server has ended.
    const OLD_PROCESS: &str = "
import os, socket, subprocess, sys
spare = [os.dup(0) for _ in range(3)]
ours, theirs = socket.socketpair()
os.dup2(theirs.fileno(), 3, inheritable=True)
env = dict(os.environ, LISTEN_FDS='1', LISTEN_FDNAMES='switchboard-upgrade')
server = subprocess.Popen([sys.argv[1], '--listen', 'tcp://127.0.0.1:0'], env=env, close_fds=False)
theirs.close()
os.close(3)
try:
    eval(sys.argv[2])
except OSError: pass
sys.exit(server.wait())
";
    drop(Program::switchboard()); // builds the binary
    for (written, part) in [
        ("[ours.sendall(b'x' * 65536) for _ in range(4096)]", "the line is longer than"),
        ("ours.sendall(b'[]' + bytes([10])) or ours.sendall(b'no' + bytes([10]))", "did not complete the handover"),
        ("ours.sendall(b'[{}]' + bytes([10]))", "cannot read the list of sockets"),
        ("ours.sendall(b'[' * 100000 + bytes([10]))", "cannot read the list of sockets"),
        ("ours.sendall(b'[{\"systemd\":\"a\"}]' + bytes([10]))", "lists 1 sockets, but has passed 0"),
        ("ours.shutdown(socket.SHUT_WR)", "cannot read the list of sockets"),
    ] {
        let server = target().join("switchboard");
        let ended = Program::at(&python).args(["-c", OLD_PROCESS]).arg(server).arg(written).run();
        assert_eq!(ended.code(), Some(1), "{written}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{written}: {}", ended.stderr);
    }
}

#[test]
fn invalid_variables_of_the_service_manager_are_one_sentence() {
    for (variables, part) in [
        (&[("LISTEN_FDS", "2000000000")][..], "LISTEN_FDS is \"2000000000\", which is not a number from 0 to"),
        (&[("LISTEN_FDS", "9999")], "is not a listening socket"),
        (&[("LISTEN_FDS", "-1")], "LISTEN_FDS is \"-1\""),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "2147483647")], "LISTEN_FDS_FIRST_FD"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")], "LISTEN_FDNAMES"),
        (&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "\u{1b}[2J")], "\\u{1b}[2J"),
    ] {
        let mut program = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0", "--log-format", "text"]);
        for (name, value) in variables {
            program = program.env(*name, value);
        }
        let ended = program.run();
        assert_eq!(ended.code(), Some(1), "{variables:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{variables:?}: {}", ended.stderr);
        assert!(ended.stderr.lines().count() == 1, "{variables:?}: {}", ended.stderr);
    }
    // Sockets for another process are ignored.
    let program = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]);
    let server = program.env("LISTEN_PID", "1").env("LISTEN_FDS", "2000000000").start();
    is_served(&server.socket("main"));
}

#[test]
fn invalid_variables_of_the_watchdog_are_reported_and_the_server_runs() {
    for (microseconds, reported) in
        [("0", true), ("1", true), ("soon", true), ("18446744073709551616", true), ("18446744073709551615", false)]
    {
        let manager = ServiceManager::new();
        let program = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).env("WATCHDOG_USEC", microseconds);
        let server = program.env("NOTIFY_SOCKET", manager.place.path().join("notify")).start();
        manager.wait_for("READY=1");
        if reported {
            server.wait_for_event(|event| event["message"] == "no watchdog notifications are sent");
        }
        is_served(&server.socket("main"));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{microseconds}");
    }
}

#[test]
fn oversized_and_deep_configurations_are_rejected_quickly() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        fs::write(place.path().join(name), text).unwrap();
        name.to_owned()
    };
    let large = fs::File::create(place.path().join("large.toml")).unwrap();
    large.set_len(1 << 30).unwrap();
    let alias = |from: char, to: char| format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(","));
    let bomb: String = ('a'..'m').zip('b'..'n').map(|(from, to)| alias(from, to)).collect();
    let certificate = "[listeners.main]\nlisten = 'tls://127.0.0.1:0'\n[listeners.main.tls]\n\
                       certificate = '/dev/zero'\nkey = '/dev/zero'\n";
    let files = [
        ("/dev/zero".to_owned(), "cannot be read: it is larger than 16 MiB"),
        ("large.toml".to_owned(), "cannot be read: it is larger than 16 MiB"),
        (write("token.toml", "[admin]\nlisten='tcp://127.0.0.1:0'\ntoken_file='/dev/zero'\n".into()), "16 MiB"),
        (write("tls.toml", certificate.into()), "16 MiB"),
        (write("deep.toml", "a = ".to_owned() + &"[".repeat(100_000)), "not TOML"),
        (write("deep.json", "{\"a\":".repeat(100_000)), "not JSON"),
        (write("deep.yaml", "a: ".to_owned() + &"[".repeat(100_000)), "not YAML"),
        (write("bomb.yaml", "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned() + &bomb), "not YAML"),
        (write("errors.toml", (0..20_000).map(|at| format!("k{at} = 1\n")).collect()), "at least 100 errors"),
        (
            write("listeners.toml", (0..5000).map(|at| format!("[listeners.a{at}]\nlisten='mem:a{at}'\n")).collect()),
            "5000 listeners are configured; at most 4096 are supported",
        ),
    ];
    for (file, part) in files {
        let ended = Program::switchboard().current_dir(place.path()).args(["check", "--config", &file]).run();
        assert_eq!(ended.code(), Some(78), "{file}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{file}: {}", ended.stderr.lines().last().unwrap_or_default());
    }
    // The same for a file that is found.
    fs::rename(place.path().join("large.toml"), place.path().join("switchboard.toml")).unwrap();
    let found = Program::switchboard().current_dir(place.path()).arg("check").run();
    assert_eq!(found.code(), Some(78), "{}", found.stderr);
    assert!(found.stderr.contains("cannot be read: it is larger than 16 MiB"), "{}", found.stderr);
    let deep = vec!["a"; 50_000].join(".") + "=1";
    let many = (0..1001).flat_map(|at| ["--set".to_owned(), format!("k{at}=1")]);
    let variable = format!("SWITCHBOARD_{}", vec!["A"; 30_000].join("__"));
    for (program, part) in [
        (Program::switchboard().args(["check", "--set", &deep]), "has more than 32 levels"),
        (Program::switchboard().arg("check").args(many), "1001 variables or flags set a key"),
        (Program::switchboard().arg("check").env(variable, "1"), "has more than 32 levels"),
    ] {
        let ended = program.run();
        assert_eq!(ended.code(), Some(78), "{}", ended.stderr);
        assert!(ended.stderr.contains(part) && ended.stderr.len() < 500, "{}", ended.stderr);
    }
}
