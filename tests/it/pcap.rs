//! Recorded conversations as a capture file: Wireshark shows each message, and scapy writes the same bytes.

use std::fs;
use std::process::Command;

use harness::{Program, root, tool};

const SCRIPT: &str = "switchboard script 1
framing lines
info recorded \"2026-11-28T13:32:27.752Z\"
info peer \"192.0.2.7:36124\"
info local \"192.0.2.1:9999\"
> \"one\"
< \"ONE\" 00 ff
wait 47ms
> \"a long m\" *6
> end
< closed panic
";

/// The same file, by an independent writer.
const SCAPY: &str = r#"
import socket, struct, sys
from decimal import Decimal
from scapy.utils import RawPcapNgWriter

def tag(number, value):
    return struct.pack(">HH", number, len(value)) + value

def number(value):
    return struct.pack(">I", value)

client, server = ("192.0.2.7", 36124), ("192.0.2.1", 9999)
writer = RawPcapNgWriter(sys.argv[1])
writer.linktype, writer.sync = 252, False
writer._write_header(None)
began = Decimal(1795872747752) / 1000
for source, target, data, unknown, pause in [
    (client, server, b"one", 0, "0"), (server, client, b"ONE\0\xff", 0, "0"), (client, server, b"a long m", 6, "0.047"),
]:
    is_sent = source == server
    packet = tag(12, b"switchboard\0") + tag(20, socket.inet_aton(source[0])) + tag(21, socket.inet_aton(target[0]))
    packet += tag(24, number(2)) + tag(25, number(source[1])) + tag(26, number(target[1]))
    packet += tag(35, number(0 if is_sent else 1)) + tag(0, b"") + data
    time, length = began + Decimal(pause), len(packet) + unknown
    writer._write_packet(packet, 252, sec=time, wirelen=length, direction=2 if is_sent else 1)
writer.f.close()
"#;

fn capture() -> (tempfile::TempDir, Vec<u8>) {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.script"), SCRIPT).unwrap();
    let pcap = |args: &[&str]| Program::switchboard().arg("pcap").args(args).current_dir(place.path()).run();
    let ended = pcap(&["a.script", "--output", "a.pcapng"]);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    fs::write(place.path().join("switchboard.lua"), pcap(&["--dissector"]).stdout).unwrap();
    let capture = fs::read(place.path().join("a.pcapng")).unwrap();
    (place, capture)
}

#[test]
fn tshark_shows_each_message_with_its_direction() {
    let (place, _) = capture();
    let Some(tshark) = tool("tshark") else { return };
    let fields = ["ipv4_src", "src_port", "dst_port", "p2p_dir"].map(|field| format!("exported_pdu.{field}"));
    let fields =
        fields.iter().map(String::as_str).chain(["frame.time_epoch", "switchboard.length", "switchboard.text"]);
    let mut command = Command::new(tshark);
    command.args(["-r", "a.pcapng", "-X", "lua_script:switchboard.lua", "-T", "fields"]).current_dir(place.path());
    let output = command.args(fields.flat_map(|field| ["-e", field])).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let expected = "192.0.2.7\t36124\t9999\t1\t1795872747.752000000\t3\tone\n\
                    192.0.2.1\t9999\t36124\t0\t1795872747.752000000\t5\tONE\\x00\\xff\n\
                    192.0.2.7\t36124\t9999\t1\t1795872747.799000000\t14\ta long m\n";
    // Output fields escape a backslash.
    assert_eq!(shown.replace("\\\\", "\\"), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn scapy_writes_the_same_bytes() {
    let (place, capture) = capture();
    let Some(python) = tool("python3") else { return };
    let python = || {
        let mut python = Command::new(&python);
        python.env("PYTHONPATH", root().join("target/tools")).current_dir(place.path());
        python
    };
    let has_scapy = python().args(["-c", "import scapy"]).output().unwrap().status.success();
    if !has_scapy && std::env::var("CI").as_deref() != Ok("true") {
        return eprintln!("skipped: scapy is not installed");
    }
    let output = python().args(["-c", SCAPY, "b.pcapng"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(place.path().join("b.pcapng")).unwrap(), capture);
}

#[test]
fn an_invalid_file_or_output_is_an_error() {
    let (place, _) = capture();
    fs::write(place.path().join("bad.script"), "switchboard script 9\n").unwrap();
    let pcap = |args: &[&str]| Program::switchboard().arg("pcap").args(args).current_dir(place.path()).run();
    let ended = pcap(&["bad.script", "-o", "b.pcapng"]);
    assert!(ended.code() == Some(78) && ended.stderr.contains("bad.script:1:20: error:"), "{}", ended.stderr);
    let ended = pcap(&["a.script", "-o", "no/b.pcapng"]);
    assert!(
        ended.code() == Some(1) && ended.stderr.contains("--output: no/b.pcapng cannot be written"),
        "{}",
        ended.stderr
    );
}
