//! `switchboard pcap`: recorded conversations as a capture file for Wireshark.

mod pcapng;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};
use switchboard::script::{Action, Data, Part, Step};
use switchboard::{Direction, Registry};

use self::pcapng::Packet;
use crate::exit;
use crate::failure::{Failure, cannot_write, print_stdout};
use crate::script_test::{Loaded, load_all, load_any};

const DISSECTOR: &str = include_str!("switchboard.lua");

const AFTER_HELP: &str = "\
Each message is one packet of the link type \"exported PDU\", with the addresses, the ports and the direction of the \
recording. The dissector shows its text:

  switchboard pcap --dissector >switchboard.lua
  switchboard pcap FILE -o messages.pcapng
  wireshark -X lua_script:switchboard.lua messages.pcapng";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PcapOptions {
    /// Files with recorded conversations
    #[arg(value_name = "FILE", required_unless_present = "dissector", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Capture file to write; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the dissector for Wireshark, in Lua
    #[arg(long, conflicts_with_all = ["files", "output"])]
    dissector: bool,
}

pub(crate) fn pcap(options: &PcapOptions, registry: &Registry) -> Result<u8, Failure> {
    if options.dissector {
        return print_stdout(DISSECTOR);
    }
    let scripts = match load_all(&options.files, registry, load_any) {
        Ok(scripts) => scripts,
        Err(status) => return Ok(status),
    };
    let mut capture = pcapng::header();
    for script in &scripts {
        packets(script, &mut capture);
    }
    match &options.output {
        Some(path) => File::create(path).and_then(|mut file| file.write_all(&capture)).map_err(|error| {
            Failure::new(format_args!("--output: {} cannot be written: {}", path.display(), exit::reason(&error)))
        })?,
        None if io::stdout().is_terminal() => {
            return Err(Failure::usage("a capture is not text; write it to a file with --output FILE"));
        }
        None => match io::stdout().write_all(&capture) {
            // The reader has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(cannot_write(&error)),
            _ => {}
        },
    }
    Ok(0)
}

/// Appends a packet for each message.
fn packets(script: &Loaded, capture: &mut Vec<u8>) {
    let began =
        script.info("recorded").and_then(|time| humantime::parse_rfc3339(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    let addresses = ["peer", "local"].map(|name| script.info(name)?.parse().ok());
    let addresses = addresses[0].zip(addresses[1]);
    let mut time = Duration::ZERO;
    for step in &script.file.script().steps {
        let (direction, data) = match step {
            Step::Wait(pause) => {
                time += *pause;
                continue;
            }
            Step::Peer(_, Action::Send(data)) => (Direction::Received, data),
            Step::Peer(_, Action::Expect(data)) => (Direction::Sent, data),
            _ => continue,
        };
        let known = beginning(data);
        let unknown = data.len() - known.len();
        let time = began.checked_add(time).unwrap_or(began);
        capture.extend(pcapng::packet(&Packet { time, direction, addresses, data: known, unknown }));
    }
}

/// The bytes up to the first one that is not known.
fn beginning(data: &Data) -> &[u8] {
    match data.parts() {
        [Part::Bytes(bytes), ..] => bytes,
        _ => &[],
    }
}
