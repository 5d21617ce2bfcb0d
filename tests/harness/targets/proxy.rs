//! The PROXY header: the same answer however the bytes come, never a byte read past its end, and sentences that can be logged.

use switchboard::transport::proxy::header::{HeaderError, LONGEST_V1, LONGEST_V2_BLOCK, Progress, parse};

/// The longest header of any version.
const LONGEST: usize = 16 + LONGEST_V2_BLOCK;

/// What a connection begins with.
pub fn proxy(data: &[u8]) {
    let whole = parse(data);
    match &whole {
        Ok(Progress::Done { info, len }) => {
            let longest = if data.starts_with(b"PROXY ") { LONGEST_V1 } else { LONGEST };
            assert!(*len <= longest.min(data.len()), "{len} bytes of {}", data.len());
            assert!(info.tlvs.iter().map(|(_, value)| 3 + value.len()).sum::<usize>() <= *len, "more than there was");
            let printed = info.addresses.iter().map(|(client, local)| format!("{client} {local}")).collect::<String>();
            assert!(!printed.chars().any(char::is_control), "{printed:?}");
            let header = &data[..*len];
            for behind in [&b""[..], b"\r\n", header] {
                assert_eq!(parse(&[header, behind].concat()), whole, "before {}", behind.escape_ascii());
            }
            (0..*len).for_each(|cut| assert!(missing(&parse(&data[..cut])) <= len - cut, "{cut} of {len} bytes"));
        }
        Ok(Progress::NeedMore { .. }) => {
            (0..=data.len()).for_each(|cut| assert!(cut + missing(&parse(&data[..cut])) <= LONGEST, "{cut} bytes"));
        }
        Err(error) => {
            check_message(error);
            // Once refused is refused for good; until then more is asked for.
            let refused =
                (0..data.len()).find(|cut| parse(&data[..*cut]).map_err(|error| check_message(&error)).is_err());
            let refused = refused.unwrap_or(data.len());
            (0..refused).for_each(|cut| assert!(missing(&parse(&data[..cut])) > 0));
            // What a sentence shows ends long before.
            for cut in (refused..data.len()).take(2 * LONGEST_V1) {
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
        other => panic!("a part of a header is {other:?}"),
    }
}

/// Who reads what is asked for, and no more, comes to the same, with nothing read of what follows.
fn read_in_steps(data: &[u8], whole: &Result<Progress, HeaderError>) {
    let mut have = 0;
    loop {
        match (parse(&data[..have]), whole) {
            (Ok(Progress::NeedMore { least }), _) if have + least <= data.len() => have += least,
            (Ok(Progress::NeedMore { .. }), Ok(Progress::NeedMore { .. }) | Err(_)) => return,
            (Ok(Progress::Done { len, .. }), Ok(Progress::Done { len: expected, .. })) => {
                assert_eq!((have, len), (*expected, *expected), "more was read than the header has");
                return;
            }
            (Err(_), Err(_)) => return,
            (found, whole) => panic!("{found:?} in reads, and {whole:?} at once"),
        }
    }
}

/// A sentence for a log: bounded, and of one line.
fn check_message(error: &HeaderError) {
    let sentence = error.to_string();
    assert!(sentence.starts_with("the PROXY header ") && sentence.len() < 500, "{sentence:?}");
    assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
}
