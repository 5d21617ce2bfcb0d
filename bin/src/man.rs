//! What is written about the program from its own command line: the manual page, and the completions of shells.

use std::io;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;

/// The signals that mean something to a server.
const SIGNALS: [(&str, &str); 4] = [
    (
        "SIGTERM, SIGINT",
        "Drain: listeners close after drain.announce, connections that are idle close at once, those with a message under way \
         when it is answered, and at drain.deadline the rest is cut. A second one cuts at once.",
    ),
    (
        "SIGHUP",
        "Reload: the configuration is read and checked again, and the difference applied. A faulty one changes nothing and is \
         logged with all its errors.",
    ),
    (
        "SIGUSR2",
        "Upgrade: the program on disk is started with the listening sockets, and when it is ready this process drains. If it does \
         not become ready, this one goes on.",
    ),
    ("SIGPIPE", "Ignored."),
];

/// Where things are.
const FILES: [(&str, &str); 2] = [
    ("./switchboard.toml", "The configuration, where neither --config nor SWITCHBOARD_CONFIG names one."),
    ("/etc/switchboard/switchboard.toml", "The same, where that is not there."),
];

/// Variables that are read, besides one for each key.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("SWITCHBOARD_CONFIG", "The configuration file, where --config does not name one."),
    (
        "SWITCHBOARD_*",
        "Any key, with two underscores between its parts: SWITCHBOARD_LISTENERS__MAIN__LISTEN is listeners.main.listen.",
    ),
    ("RUST_LOG", "What is logged; wins over log.level."),
    ("NO_COLOR", "Without colours, if it is set."),
    ("LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID", "Sockets that the service manager passes, for systemd:NAME."),
    ("NOTIFY_SOCKET", "Where a service manager is told that the server is ready, reloads and stops."),
    ("WATCHDOG_USEC, WATCHDOG_PID", "How often it is told that every listener does its work."),
];

/// What the exit status means.
const STATUS: [(&str, &str); 5] = [
    ("0", "Stopped as asked, a finished drain included."),
    ("1", "Could not run, or not keep running: a port in use, an address that is not ours."),
    ("2", "Wrong usage of the command line."),
    ("3", "Connections were cut."),
    ("78", "The configuration cannot be used."),
];

/// The manual page: every command with its options, and what an operator has to know besides.
pub(crate) fn man_page() -> io::Result<String> {
    let mut command = <Cli as CommandFactory>::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let whole = Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    let shared: Vec<_> = command.get_arguments().map(|option| option.get_id().to_string()).collect();
    commands(&command, &shared, "", &mut page)?;
    for (name, entries) in
        [("SIGNALS", &SIGNALS[..]), ("EXIT STATUS", &STATUS), ("FILES", &FILES), ("ENVIRONMENT", &ENVIRONMENT)]
    {
        let mut section = Roff::new();
        section.control("SH", [name]);
        for (term, meaning) in entries {
            section.control("TP", []);
            section.text([bold(*term)]);
            section.text([roman(*meaning)]);
        }
        section.to_writer(&mut page)?;
    }
    String::from_utf8(page).map_err(io::Error::other)
}

/// Each command in a section of its own, with the options that are not the same for all.
fn commands(of: &Command, shared: &[String], before: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for command in of.get_subcommands() {
        let is_shared = |option: &Arg| shared.iter().any(|id| option.get_id() == id.as_str());
        let takes_them = command.get_arguments().any(|option| option.get_id() == "config");
        let command = command.clone().mut_args(|option| {
            let hide = is_shared(&option);
            option.hide(hide)
        });
        let name = format!("{before}{}", command.get_name());
        let mut heading = Roff::new();
        heading.control("SH", [format!("COMMAND: {name}").as_str()]);
        heading.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default() + ".")]);
        heading.control("PP", []);
        heading.text([roman(command.clone().render_usage().to_string())]);
        if takes_them {
            heading.control("PP", []);
            heading.text([roman("It takes the options above.")]);
        }
        heading.to_writer(page)?;
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options)?;
        // Its own heading stands above already.
        page.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").bytes());
        commands(&command, shared, &format!("{name} "), page)?;
    }
    Ok(())
}

/// A script for a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut command = <Cli as CommandFactory>::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
