//! Decoding and encoding with the built-in framings.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use switchboard::bytes::{Bytes, BytesMut};
use switchboard::framing::{AnyFraming, Delimited, Framing, JsonLines, Length, Lines, Raw};
use switchboard::tokio_util::codec::{Decoder, Encoder};

const LIMIT: usize = 64 * 1024;

/// Number and size of messages: 16 small ones in one read, and a large one.
const AMOUNTS: [(usize, usize); 2] = [(16, 64), (1, 16 * 1024)];
const FRAMINGS: [&str; 5] = ["raw", "lines", "length", "delimited", "json-lines"];

fn cases() -> impl Iterator<Item = String> {
    FRAMINGS.iter().flat_map(|name| AMOUNTS.map(|(count, size)| format!("{name} {count}x{size}")))
}

/// Parses the name of a case into a framing, a message and the number of messages.
fn case(text: &str) -> (AnyFraming, Bytes, usize) {
    let (name, amount) = text.split_once(' ').unwrap();
    let (count, size) = amount.split_once('x').unwrap();
    let (count, size): (usize, usize) = (count.parse().unwrap(), size.parse().unwrap());
    let framing = match name {
        "raw" => AnyFraming::new(Raw::default()),
        "lines" => AnyFraming::new(Lines::default()),
        "length" => AnyFraming::new(Length::default()),
        "delimited" => AnyFraming::new(Delimited::new("||").unwrap()),
        _ => AnyFraming::new(JsonLines::default()),
    };
    let message = format!("\"{}\"", "x".repeat(size - 2)); // A JSON text is valid in every framing.
    (framing, message.into(), count)
}

#[divan::bench(args = cases())]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (framing, message, count) = case(name);
    let mut codec = framing.codec(LIMIT);
    let mut encoded = BytesMut::new();
    for _ in 0..count {
        codec.encode(message.clone(), &mut encoded).unwrap();
    }
    let input = bencher.counter(ItemsCount::new(count));
    input.with_inputs(|| BytesMut::from(&encoded[..])).bench_local_refs(|buffer| {
        while let Some(message) = codec.decode(buffer).unwrap() {
            black_box(message);
        }
    });
}

#[divan::bench(args = cases())]
fn encode(bencher: Bencher<'_, '_>, name: &str) {
    let (framing, message, count) = case(name);
    let mut codec = framing.codec(LIMIT);
    let mut buffer = BytesMut::with_capacity(LIMIT);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        buffer.clear();
        for _ in 0..count {
            codec.encode(message.clone(), &mut buffer).unwrap();
        }
    });
}
