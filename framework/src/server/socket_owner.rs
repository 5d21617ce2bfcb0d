//! The process that has a socket, from the tables in /proc (proc(5)).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::address::Endpoint;
use crate::settings::text::escape_unsafe;

/// How long the search may take. A busy machine has hundreds of thousands of sockets.
const TIMEOUT: Duration = Duration::from_millis(300);
/// States of a socket in its table: TCP_LISTEN, and TCP_CLOSE for a UDP socket that is not connected.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";
/// Flags and type of a Unix socket in its table. Connections of a listener have its path too, but no flag.
const STREAM: [&str; 2] = ["00010000", "0001"];
const DATAGRAM: [&str; 2] = ["00000000", "0002"];

/// Who has a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Process {
        id: u32,
        command: String,
    },
    /// A process whose open files this process cannot read. The user, if the table names it.
    Unreadable(Option<u32>),
}

/// A socket in a table of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    inode: u64,
    uid: Option<u32>,
}

/// Finds who has the port, path or name of an endpoint. `None`: nobody, or the search takes too long.
pub(super) fn find_owner(endpoint: &Endpoint) -> Option<Owner> {
    let deadline = Instant::now() + TIMEOUT;
    let entry = match endpoint {
        Endpoint::Unix(path) => lines("/proc/net/unix", deadline).find_map(|line| unix_entry(&line, path, &STREAM)),
        Endpoint::Unixgram(path) => {
            lines("/proc/net/unix", deadline).find_map(|line| unix_entry(&line, path, &DATAGRAM))
        }
        _ => {
            let port = endpoint.port().filter(|port| *port != 0)?;
            let ip = endpoint.socket_addr().map(|address| address.ip());
            let (tables, state) = match endpoint {
                Endpoint::Udp(_) => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
                _ => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENING),
            };
            let mut lines = tables.into_iter().flat_map(|table| lines(table, deadline));
            lines.find_map(|line| network_entry(&line, ip, port, state))
        }
    }?;
    match process_of(entry.inode, deadline) {
        Some((id, command)) => Some(Owner::Process { id, command }),
        None if Instant::now() >= deadline => None,
        None => Some(Owner::Unreadable(entry.uid)),
    }
}

fn lines(table: &str, deadline: Instant) -> impl Iterator<Item = String> {
    let lines = File::open(table).into_iter().flat_map(|file| BufReader::new(file).lines());
    lines.map_while(Result::ok).take_while(move |_| Instant::now() < deadline)
}

/// The socket of a line of /proc/net/tcp or udp, if it has the port, and the address or all addresses.
fn network_entry(line: &str, ip: Option<IpAddr>, port: u16, state: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let local = address(fields.get(1)?)?;
    let overlaps = ip.is_none_or(|ip| local.ip().is_unspecified() || ip.is_unspecified() || local.ip() == ip);
    if local.port() != port || !overlaps || *fields.get(3)? != state {
        return None;
    }
    Some(Entry { inode: fields.get(9)?.parse().ok()?, uid: fields.get(7)?.parse().ok() })
}

/// `0100007F:270F`: the words of the address in the byte order of the machine, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The socket of a line of /proc/net/unix, if it has the path, flags and type. An abstract name begins with `@` there.
fn unix_entry(line: &str, path: &Path, kind: &[&str; 2]) -> Option<Entry> {
    let bytes = path.as_os_str().as_bytes();
    let name = match bytes.split_first() {
        Some((0, name)) => [b"@", name].concat(),
        _ => bytes.to_vec(),
    };
    // The inode is padded with spaces, and a path can contain them.
    let (fields, found) = line.split_at_checked(line.len().checked_sub(name.len())?)?;
    let fields: Vec<&str> = fields.strip_suffix(' ')?.split_ascii_whitespace().collect();
    let [_, _, _, flags, of_type, _, inode] = fields[..] else { return None };
    let is_found = found.as_bytes() == name && [flags, of_type] == *kind;
    is_found.then_some(Entry { inode: inode.parse().ok()?, uid: None })
}

/// The first process that has the socket among its open files, and its command.
fn process_of(inode: u64, deadline: Instant) -> Option<(u32, String)> {
    let target = format!("socket:[{inode}]");
    let mut processes: Vec<u32> =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    let has_socket = |id: &u32| {
        let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        let mut files = files.take_while(|_| Instant::now() < deadline);
        files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*target))
    };
    let id = processes.into_iter().take_while(|_| Instant::now() < deadline).find(has_socket)?;
    let command = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    Some((id, escape_unsafe(command.trim_end_matches('\n'), |_| false)))
}

#[cfg(test)]
mod tests;
