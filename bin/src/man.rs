//! The manual page and the shell completions, generated from the command line definition.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The sections about signals, exit status, files and environment.
const SECTIONS: &str = include_str!("man.roff");

/// The manual page: every command with its options, then the sections above.
pub(crate) fn man_page(command: Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let main = Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    main.render_options_section(&mut page)?;
    commands(&command, &command, "", &mut page)?;
    page.extend(SECTIONS.bytes());
    String::from_utf8(page).map_err(io::Error::other)
}

/// Renders each subcommand as its own section, without the options that it shares with the main command.
fn commands(parent: &Command, main: &Command, prefix: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for command in parent.get_subcommands() {
        let accepts_shared = command.get_arguments().any(|option| option.get_id() == "set");
        let command = command.clone().mut_args(|option| {
            let is_shared = main.get_arguments().any(|shared| shared.get_id() == option.get_id());
            let hide = is_shared && (accepts_shared || option.get_id() == "help");
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
        let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut text = Roff::new();
        for paragraph in notes.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            text.control("PP", []);
            text.text([roman(paragraph)]);
        }
        text.to_writer(page)?;
        commands(&command, main, &format!("{name} "), page)?;
    }
    Ok(())
}

pub(crate) fn completions(shell: Shell, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "switchboard", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
