//! A capture file with exported PDUs: each message is one packet with its addresses, ports and direction. No header of
//! TCP or IP is invented.
//!
//! Blocks: pcapng (draft-ietf-opsawg-pcapng), sections 4.1 to 4.3. Link type 252 and its tags: Wireshark,
//! `epan/exported_pdu.h`, <https://wiki.wireshark.org/Protocols/exported_pdu>.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard::Direction;

/// The dissector that shows the messages.
const DISSECTOR: &[u8; 12] = b"switchboard\0";
/// LINKTYPE_WIRESHARK_UPPER_PDU
const LINK_TYPE: u16 = 252;
/// The largest packet.
const SNAP_LENGTH: u32 = 262_144;

mod tag {
    pub(super) const DISSECTOR_NAME: u16 = 12;
    pub(super) const IPV4: [u16; 2] = [20, 21];
    pub(super) const IPV6: [u16; 2] = [22, 23];
    pub(super) const PORT_TYPE: u16 = 24;
    pub(super) const PORTS: [u16; 2] = [25, 26];
    pub(super) const P2P_DIRECTION: u16 = 35;
    pub(super) const END: u16 = 0;
}

/// TCP
const PORT_TYPE: u32 = 2;

/// A message.
pub(super) struct Packet<'a> {
    pub(super) time: SystemTime,
    pub(super) direction: Direction,
    /// The addresses of the client and of the server, if they are in the network.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The bytes that are known, from the beginning.
    pub(super) data: &'a [u8],
    /// Further bytes.
    pub(super) unknown: usize,
}

/// The blocks before the first packet.
pub(super) fn header() -> Vec<u8> {
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1_u16, 0].map(u16::to_le_bytes).concat()); // version 1.0
    section.extend((-1_i64).to_le_bytes()); // of unknown length
    let mut interface = [LINK_TYPE, 0].map(u16::to_le_bytes).concat();
    interface.extend(SNAP_LENGTH.to_le_bytes());
    [block(0x0a0d_0d0a, &section), block(1, &interface)].concat()
}

/// An enhanced packet block. The time has microseconds.
pub(super) fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut data = tags(packet);
    let room = (SNAP_LENGTH as usize).saturating_sub(data.len()).min(packet.data.len());
    data.extend_from_slice(&packet.data[..room]);
    let whole = data.len() + packet.data.len() - room + packet.unknown;
    let micros = packet.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64;
    let flags: u32 = match packet.direction {
        Direction::Received => 1,
        Direction::Sent => 2,
    };
    let head = [0, (micros >> 32) as u32, micros as u32, data.len() as u32, u32::try_from(whole).unwrap_or(u32::MAX)];
    let mut body = head.map(u32::to_le_bytes).concat();
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend([2_u16, 4].map(u16::to_le_bytes).concat()); // the option epb_flags
    body.extend(flags.to_le_bytes());
    body.extend([0; 4]); // the end of the options
    block(6, &body)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

/// The tags before the message, in the byte order of the network.
fn tags(packet: &Packet<'_>) -> Vec<u8> {
    let mut tags = Vec::new();
    let mut add = |tag: u16, value: &[u8]| {
        tags.extend(tag.to_be_bytes());
        tags.extend((value.len() as u16).to_be_bytes());
        tags.extend(value);
    };
    add(tag::DISSECTOR_NAME, DISSECTOR);
    if let Some((client, server)) = packet.addresses {
        let both = match packet.direction {
            Direction::Received => [client, server],
            Direction::Sent => [server, client],
        };
        for (nth, address) in both.iter().enumerate() {
            match address.ip() {
                IpAddr::V4(ip) => add(tag::IPV4[nth], &ip.octets()),
                IpAddr::V6(ip) => add(tag::IPV6[nth], &ip.octets()),
            }
        }
        add(tag::PORT_TYPE, &PORT_TYPE.to_be_bytes());
        for (nth, address) in both.iter().enumerate() {
            add(tag::PORTS[nth], &u32::from(address.port()).to_be_bytes());
        }
    }
    let direction: u32 = match packet.direction {
        Direction::Sent => 0,
        Direction::Received => 1,
    };
    add(tag::P2P_DIRECTION, &direction.to_be_bytes());
    add(tag::END, &[]);
    tags
}
