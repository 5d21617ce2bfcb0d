//! The manual page and the shell completions, generated from the command line definition.

use std::io;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;

/// Terms with their descriptions, as a section of the manual page shows them.
type Definitions = &'static [(&'static str, &'static str)];

const SECTIONS: [(&str, Definitions); 4] =
    [("SIGNALS", &SIGNALS), ("EXIT STATUS", &EXIT_STATUS), ("FILES", &FILES), ("ENVIRONMENT", &ENVIRONMENT)];

const SIGNALS: [(&str, &str); 4] = [
    (
        "SIGTERM, SIGINT",
        "Graceful shutdown (drain). Listeners close after drain.announce. Idle connections close at once. Busy \
         connections close after the reply to their current message. At drain.deadline the remaining connections are \
         aborted. A second signal aborts them at once.",
    ),
    (
        "SIGHUP",
        "Reload. The configuration is read and checked again, and only changes are applied. An invalid configuration \
         is rejected: nothing changes, and all its errors are logged.",
    ),
    (
        "SIGUSR2",
        "Upgrade. The program on disk is started with the listening sockets. When it is ready, this process drains. If \
         it does not become ready, this process continues.",
    ),
    ("SIGPIPE", "Ignored."),
];

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "Stopped cleanly on request."),
    ("1", "Could not start or not keep running, for example because a port is in use."),
    ("2", "Wrong usage of the command line."),
    ("3", "Connections were aborted, because the drain deadline passed or a second signal arrived."),
    ("78", "The configuration is invalid."),
];

const FILES: [(&str, &str); 2] = [
    ("./switchboard.toml", "Configuration file, used if neither --config nor SWITCHBOARD_CONFIG is set."),
    ("/etc/switchboard/switchboard.toml", "Used if ./switchboard.toml does not exist."),
];

/// Environment variables, in addition to one for each configuration key.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("SWITCHBOARD_CONFIG", "Configuration file, used if --config is not given."),
    (
        "SWITCHBOARD_*",
        "Any configuration key; separate its parts with two underscores: SWITCHBOARD_LISTENERS__MAIN__LISTEN is \
         listeners.main.listen.",
    ),
    ("RUST_LOG", "Log level or filter; takes precedence over log.level."),
    ("NO_COLOR", "Disables colours if set."),
    (
        "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID",
        "Sockets passed by the service manager, for systemd:NAME addresses; see sd_listen_fds(3).",
    ),
    ("NOTIFY_SOCKET", "Receives readiness, reload, stop and status notifications; see sd_notify(3)."),
    ("WATCHDOG_USEC, WATCHDOG_PID", "Interval of watchdog notifications."),
];

/// The manual page: every command with its options, then the sections above.
pub(crate) fn man_page() -> io::Result<String> {
    let mut command = <Cli as CommandFactory>::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let main = Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    main.render_options_section(&mut page)?;
    let shared: Vec<_> = command.get_arguments().map(|option| option.get_id().to_string()).collect();
    commands(&command, &shared, "", &mut page)?;
    for (name, definitions) in SECTIONS {
        let mut section = Roff::new();
        section.control("SH", [name]);
        for (term, description) in definitions {
            section.control("TP", []);
            section.text([bold(*term)]);
            section.text([roman(*description)]);
        }
        section.to_writer(&mut page)?;
    }
    String::from_utf8(page).map_err(io::Error::other)
}

/// Renders each subcommand as its own section, without the options that all commands share.
fn commands(parent: &Command, shared: &[String], prefix: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for command in parent.get_subcommands() {
        let is_shared = |option: &Arg| shared.iter().any(|id| option.get_id() == id.as_str());
        let accepts_shared = command.get_arguments().any(|option| option.get_id() == "config");
        let command = command.clone().mut_args(|option| {
            let hide = is_shared(&option);
            option.hide(hide)
        });
        let name = format!("{prefix}{}", command.get_name());
        let mut heading = Roff::new();
        heading.control("SH", [format!("COMMAND: {name}").as_str()]);
        heading.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default() + ".")]);
        heading.control("PP", []);
        heading.text([roman(command.clone().render_usage().to_string())]);
        if accepts_shared {
            heading.control("PP", []);
            heading.text([roman("Accepts the options listed above.")]);
        }
        heading.to_writer(page)?;
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options)?;
        // The section has its heading already.
        page.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").bytes());
        commands(&command, shared, &format!("{name} "), page)?;
    }
    Ok(())
}

/// The completion script for a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut command = <Cli as CommandFactory>::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
