//! Fuzz target for the PROXY header: the same result for any read sizes, no read past its end, and errors safe to log.

use switchboard::transport::proxy::header::{HeaderError, MAX_V1_LEN, MAX_V2_BLOCK_LEN, Progress};
use switchboard::transport::proxy::parse;

/// The longest header of any version.
const LONGEST: usize = 16 + MAX_V2_BLOCK_LEN;

/// Parses the first bytes of a connection.
pub fn proxy(data: &[u8]) {
    let whole = parse(data);
    match &whole {
        Ok(Progress::Done { info, len }) => {
            let longest = if data.starts_with(b"PROXY ") { MAX_V1_LEN } else { LONGEST };
            assert!(*len <= longest.min(data.len()), "{len} bytes of {}", data.len());
            assert!(
                info.tlvs.iter().map(|(_, value)| 3 + value.len()).sum::<usize>() <= *len,
                "the TLVs are longer than the header"
            );
            let printed = info.addresses.iter().map(|(client, local)| format!("{client} {local}")).collect::<String>();
            assert!(!printed.chars().any(char::is_control), "{printed:?}");
            let header = &data[..*len];
            for following in [&b""[..], b"\r\n", header] {
                assert_eq!(parse(&[header, following].concat()), whole, "before {}", following.escape_ascii());
            }
            (0..*len).for_each(|cut| assert!(missing(&parse(&data[..cut])) <= len - cut, "{cut} of {len} bytes"));
        }
        Ok(Progress::NeedMore { .. }) => {
            (0..=data.len()).for_each(|cut| assert!(cut + missing(&parse(&data[..cut])) <= LONGEST, "{cut} bytes"));
        }
        Err(error) => {
            check_message(error);
            // Once a prefix is rejected, longer prefixes are too; shorter ones need more bytes.
            let rejected =
                (0..data.len()).find(|cut| parse(&data[..*cut]).map_err(|error| check_message(&error)).is_err());
            let rejected = rejected.unwrap_or(data.len());
            (0..rejected).for_each(|cut| assert!(missing(&parse(&data[..cut])) > 0));
            // An error message shows only a part of the header, so a few bytes more are enough.
            for cut in (rejected..data.len()).take(2 * MAX_V1_LEN) {
                assert!(parse(&data[..cut]).is_err(), "{cut} bytes");
            }
        }
    }
    read_in_steps(data, &whole);
}

/// The minimum number of bytes that an incomplete header still needs.
fn missing(progress: &Result<Progress, HeaderError>) -> usize {
    match progress {
        Ok(Progress::NeedMore { least }) if *least > 0 => *least,
        other => panic!("an incomplete header gave {other:?}"),
    }
}

/// Reads only as many bytes as requested, gets the same result, and reads no byte past the header.
fn read_in_steps(data: &[u8], whole: &Result<Progress, HeaderError>) {
    let mut have = 0;
    loop {
        match (parse(&data[..have]), whole) {
            (Ok(Progress::NeedMore { least }), _) if have + least <= data.len() => have += least,
            (Ok(Progress::NeedMore { .. }), Ok(Progress::NeedMore { .. }) | Err(_)) => return,
            (Ok(Progress::Done { len, .. }), Ok(Progress::Done { len: expected, .. })) => {
                assert_eq!((have, len), (*expected, *expected), "bytes read past the header");
                return;
            }
            (Err(_), Err(_)) => return,
            (found, whole) => panic!("{found:?} in steps, but {whole:?} in one call"),
        }
    }
}

/// An error message is short and has one line.
fn check_message(error: &HeaderError) {
    let message = error.to_string();
    assert!(message.starts_with("the PROXY header ") && message.len() < 500, "{message:?}");
    assert!(!message.chars().any(char::is_control), "{message:?}");
}
