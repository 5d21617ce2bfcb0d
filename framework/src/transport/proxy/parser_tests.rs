//! Valid and invalid PROXY headers, as a table.

use std::net::Ipv6Addr;

use super::*;
use crate::transport::proxy::v2::{CRC32C, FIXED, NOOP, SIGNATURE, UNIQUE_ID, UNIX_PATH};

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a test's block is short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

const V4_BLOCK: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 9, 0xc3, 0x50, 0x01, 0xbb];

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&V4_BLOCK, tlvs].concat())
}

fn v6_block(client: &str, server: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv6Addr>().expect(text).octets();
    [&octets(client)[..], &octets(server), &[0xc3, 0x50, 0x01, 0xbb]].concat()
}

fn unix_block(client: &[u8], server: &[u8]) -> Vec<u8> {
    let padded = |path: &[u8]| [path, &vec![0; UNIX_PATH - path.len()]].concat();
    [padded(client), padded(server)].concat()
}

/// The checksum is computed bit by bit here, independently of the table of the crate.
fn with_checksum() -> Vec<u8> {
    let mut header = with_tlvs(&[CRC32C, 0, 4, 0, 0, 0, 0, UNIQUE_ID, 0, 2, b'i', b'd']);
    let mut crc = u32::MAX;
    for byte in &header {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    let at = FIXED + V4_BLOCK.len() + 3;
    header[at..at + 4].copy_from_slice(&(!crc).to_be_bytes());
    header
}

/// Whole headers: bytes, the two addresses, the TLVs.
fn table() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let v4 = "192.0.2.1:50000 192.0.2.9:443";
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        (text("PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n"), v4, ""),
        (text("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "1.1.1.1:1 1.1.1.1:1", ""),
        (text("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), "255.255.255.255:65535 0.0.0.0:0", ""),
        (text("PROXY TCP6 2001:db8::1 2001:DB8::2 50000 443\r\n"), "[2001:db8::1]:50000 [2001:db8::2]:443", ""),
        (text("PROXY TCP6 :: :: 1 1\r\n"), "[::]:1 [::]:1", ""),
        (
            format!("PROXY TCP6 {long} {long} 65535 65535\r\n").into_bytes(),
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "",
        ),
        (text("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:209 50000 443\r\n"), v4, ""),
        (text("PROXY UNKNOWN\r\n"), "", ""),
        (text("PROXY UNKNOWN \r\n"), "", ""),
        (text("PROXY UNKNOWN a b c d e f g h\r\n"), "", ""),
        (b"PROXY UNKNOWN \xff\0\n\r \r\n".to_vec(), "", ""),
        (format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).into_bytes(), "", ""),
        (v2(0x21, 0x11, &V4_BLOCK), v4, ""),
        (v2(0x21, 0x21, &v6_block("2001:db8::1", "::1")), "[2001:db8::1]:50000 [::1]:443", ""),
        (v2(0x21, 0x21, &v6_block("::ffff:192.0.2.1", "::ffff:192.0.2.9")), v4, ""),
        (v2(0x21, 0x31, &unix_block(b"/run/a", b"/run/b")), "unix:/run/a unix:/run/b", ""),
        (v2(0x21, 0x31, &unix_block(b"\0name", &[b'x'; 108])), UNIX_PAIR.as_str(), ""),
        (v2(0x21, 0x31, &unix_block(b"", b"/run/\x1b")), "unix: unix:/run/\\u{1b}", ""),
        (v2(0x20, 0x00, &[]), "", ""),
        (v2(0x20, 0x00, b"anything"), "", ""),
        (v2(0x20, 0x77, b"a family that nobody knows"), "", ""),
        (v2(0x20, 0x11, &V4_BLOCK), "", ""),
        (v2(0x21, 0x00, &[]), "", ""),
        (v2(0x21, 0x00, b"anything"), "", ""),
        (with_tlvs(&[0x02, 0, 1, b'h', 0x01, 0, 0]), v4, "2=h 1="),
        (with_tlvs(&[NOOP, 0, 2, 9, 9, 0xee, 0, 1, b'x', 0xee, 0, 1, b'y']), v4, "238=x 238=y"),
        (with_tlvs(&[&[UNIQUE_ID, 0, 128][..], &[b'i'; 128]].concat()), v4, LONGEST_ID.as_str()),
        (with_checksum(), v4, "5=id"),
        (with_tlvs(&[&[NOOP, 0x0f, 0xf1][..], &[0; 0xff1]].concat()), v4, ""), // 4096 bytes in all
    ]
}

// These are too long to be written out: `xxx…` and `iii…`.
static UNIX_PAIR: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("unix:@name unix:{}", "x".repeat(108)));
static LONGEST_ID: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("5={}", "i".repeat(128)));

pub(in super::super) fn valid_headers() -> Vec<Vec<u8>> {
    table().into_iter().map(|(header, ..)| header).collect()
}

#[test]
fn a_header_is_parsed_for_any_following_bytes() {
    for (header, addresses, tlvs) in table() {
        for glued in [&b""[..], b"x", b"\r\n", b"PROXY UNKNOWN\r\n", &[0; 300]] {
            let bytes = [&*header, glued].concat();
            let Ok(Progress::Done { info, len }) = parse(&bytes) else {
                panic!("{:?}: {:?}", escape(&bytes), parse(&bytes))
            };
            assert_eq!(len, header.len(), "{}", escape(&bytes));
            let read = info.addresses.map(|(client, server)| format!("{client} {server}"));
            assert_eq!(read.unwrap_or_default(), addresses);
            let read: Vec<_> =
                info.tlvs.iter().map(|(kind, value)| format!("{kind}={}", value.escape_ascii())).collect();
            assert_eq!(read.join(" "), tlvs);
        }
    }
}

#[test]
fn an_incomplete_header_requests_at_most_the_missing_bytes() {
    for header in valid_headers() {
        for cut in 0..header.len() {
            match parse(&header[..cut]) {
                Ok(Progress::NeedMore { least }) if least > 0 && cut + least <= header.len() => {}
                other => panic!("{} of {}: {other:?}", cut, header.escape_ascii()),
            }
        }
    }
}

#[test]
fn a_version_1_header_needs_few_reads() {
    for header in valid_headers().into_iter().filter(|header| header.starts_with(b"PROXY")) {
        let (mut have, mut reads) = (0, 0);
        while let Ok(Progress::NeedMore { least }) = parse(&header[..have]) {
            (have, reads) = (have + least, reads + 1);
        }
        assert!(reads <= 48, "{reads} for {}", header.escape_ascii());
    }
}

#[test]
fn invalid_headers_are_rejected_with_an_error_message() {
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let too_long = format!("PROXY TCP6 {long} {long} 65535 65535    \r\n");
    for (line, part) in [
        ("GET / HTTP/1.1\r\n", "begins with \"GET / HTTP/1.1\\r\\n\""),
        ("proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "begins with"),
        (" PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "begins with"),
        ("PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n", "begins with"),
        ("\r\n\r\nPROXY", "begins with"),
        ("PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY UDP4 1.1.1.1", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY UNKNOWNS\r\n", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY \r\n", "neither TCP4, TCP6 nor UNKNOWN"),
        ("PROXY TCP4\r\n", "has no addresses"),
        ("PROXY TCP4 \r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", "two addresses and two ports"),
        ("PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1  1 1\r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1\t1.1.1.1 1 1\r\n", "two addresses and two ports"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "does not end in CR and LF"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rx\r\n", "has a port"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\nx\r\n", "has a port"),
        ("PROXY TCP4 ::1 ::1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 ::ffff:1.1.1.1 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 1.1.1.1 1.1.1.001 1 1\r\n", "not of its family"),
        ("PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 localhost 1.1.1.1 1 1\r\n", "not of its family"),
        ("PROXY TCP6 [::1] ::1 1 1\r\n", "not of its family"),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "not of its family"),
        ("PROXY TCP6 ::1::2 ::1 1 1\r\n", "not of its family"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "from 0 to 65535"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 99999999999999999999\r\n", "from 0 to 65535"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 00001 1\r\n", "without leading zeros"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 00\r\n", "without leading zeros"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "has a port"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n", "has a port"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 0x1 1\r\n", "has a port"),
        (&too_long, "no line end within 107 bytes"),
        (&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), "no line end within 107 bytes"),
        (&format!("PROXY TCP4 {}", "1".repeat(200)), "no line end within 107 bytes"),
    ] {
        assert_rejected(line.as_bytes(), part);
    }
    assert_rejected(b"PROXY TCP4 1.1.1.\xb9 1.1.1.1 1 1\r\n", "not ASCII");
    let checksum = with_checksum();
    let with = |at: usize, byte: u8| {
        let mut header = checksum.clone();
        header[at] ^= byte;
        header
    };
    for (header, part) in [
        (v2(0x11, 0x11, &V4_BLOCK), "unknown version 1"),
        (v2(0x31, 0x11, &V4_BLOCK), "unknown version 3"),
        (v2(0x22, 0x11, &V4_BLOCK), "unknown command 2"),
        (v2(0x2f, 0x11, &V4_BLOCK), "unknown command 15"),
        (v2(0x21, 0x12, &V4_BLOCK), "datagram family"),
        (v2(0x21, 0x22, &v6_block("::1", "::1")), "datagram family"),
        (v2(0x21, 0x32, &unix_block(b"/a", b"/b")), "datagram family"),
        (v2(0x21, 0x10, &V4_BLOCK), "unknown family 0x10"),
        (v2(0x21, 0x01, &V4_BLOCK), "unknown family 0x01"),
        (v2(0x21, 0x13, &V4_BLOCK), "unknown family 0x13"),
        (v2(0x21, 0x41, &V4_BLOCK), "unknown family 0x41"),
        (v2(0x21, 0x11, &V4_BLOCK[..11]), "a length of 11 bytes, but addresses of family 0x11 need 12"),
        (v2(0x21, 0x11, &[]), "a length of 0 bytes"),
        (v2(0x21, 0x21, &V4_BLOCK), "of family 0x21 need 36"),
        (v2(0x21, 0x31, &[b'/'; 215]), "of family 0x31 need 216"),
        (v2(0x20, 0x00, &[0; 4097]), "a length of 4097 bytes; at most 4096"),
        ([SIGNATURE, b"\x21\x11\xff\xff"].concat(), "a length of 65535 bytes; at most 4096"),
        (with_tlvs(&[0x02]), "in the middle of a TLV"),
        (with_tlvs(&[0x02, 0]), "in the middle of a TLV"),
        (with_tlvs(&[0x02, 0, 0, NOOP, 0]), "in the middle of a TLV"),
        (with_tlvs(&[0x02, 0, 2, b'h']), "a TLV 0x02 of 2 bytes, but only 1 are left"),
        (with_tlvs(&[NOOP, 0xff, 0xff]), "a TLV 0x04 of 65535 bytes, but only 0 are left"),
        (with_tlvs(&[&[UNIQUE_ID, 0, 129][..], &[b'i'; 129]].concat()), "a unique id of 129 bytes"),
        (with_tlvs(&[CRC32C, 0, 4, 1, 2, 3, 4]), "the checksum 0x01020304"),
        (with_tlvs(&[CRC32C, 0, 3, 1, 2, 3]), "a checksum of 3 bytes"),
        (with_tlvs(&[CRC32C, 0, 5, 1, 2, 3, 4, 5]), "a checksum of 5 bytes"),
        (with(FIXED, 1), "checksum"),
        (with(checksum.len() - 1, 1), "checksum"),
    ] {
        assert_rejected(&header, part);
    }
}

#[track_caller]
fn assert_rejected(bytes: &[u8], part: &str) {
    match parse(bytes) {
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("the PROXY header ") && error.contains(part), "{}: {error}", escape(bytes));
            assert!(error.len() < 400 && !error.contains(char::is_control), "{error:?}");
        }
        other => panic!("{}: {other:?}", escape(bytes)),
    }
}

#[test]
fn no_input_causes_a_panic() {
    // Every header with every byte changed in a few ways: each result is reported.
    for header in valid_headers() {
        for at in 0..header.len().min(300) {
            for change in [1, 0x10, 0x20, 0x80, 0xff] {
                let mut bytes = header.clone();
                bytes[at] ^= change;
                if let Ok(Progress::Done { len, .. }) = parse(&bytes) {
                    assert!(len <= bytes.len());
                }
            }
        }
    }
}
