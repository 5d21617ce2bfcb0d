//! Tests of `log/writer.rs`.

use std::io::{BufWriter, Read};
use std::os::fd::OwnedFd;
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::*;

fn writer(out: Option<File>, max_wait: u64) -> (BufWriter<LineWriter>, Arc<WriterState>) {
    let state = Arc::new(WriterState::default());
    (BufWriter::new(LineWriter::new(out, Duration::from_secs(max_wait), state.clone())), state)
}

/// The ends of a pipe; the write end does not block.
fn pipe() -> (io::PipeReader, File) {
    let (reader, writer) = io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    (reader, File::from(writer))
}

#[test]
fn lines_that_cannot_be_written_are_dropped_and_counted() {
    let (reader, closed) = pipe();
    drop(reader);
    let read_only = File::open("/dev/null").unwrap();
    for (what, out) in [("no output", None), ("a closed pipe", Some(closed)), ("a read-only file", Some(read_only))] {
        let (mut writer, state) = writer(out, 60);
        for count in [2, 4] {
            writer.write_all(b"one\ntwo\n").and_then(|()| writer.flush()).unwrap();
            assert_eq!(state.dropped.load(Relaxed), count, "{what}");
            assert!(writer.buffer().is_empty());
        }
    }
}

#[test]
fn a_full_pipe_is_waited_for_and_no_line_is_lost_or_mixed() {
    let (mut reader, out) = pipe();
    let (mut writer, state) = writer(Some(out), 60);
    let lines: Vec<String> = (0..20_000).map(|nth| format!("line {nth} {}\n", "x".repeat(nth % 300))).collect();
    let expected = lines.concat();
    let thread = thread::spawn(move || {
        for line in lines {
            writer.write_all(line.as_bytes()).unwrap();
        }
    });
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    thread.join().unwrap();
    assert!(got == expected, "{} bytes instead of {}", got.len(), expected.len());
    assert_eq!(state.dropped.load(Relaxed), 0);
}

#[test]
fn after_a_partial_line_the_next_line_begins_on_a_new_one() {
    let (mut reader, mut out) = pipe();
    while out.write(&[b'.'; 4096]).is_ok() {} // until the pipe is full
    reader.read_exact(&mut [0; 4096]).unwrap();
    let (mut writer, state) = writer(Some(out), 0);
    // A write of more than 4096 bytes can be partial (PIPE_BUF, pipe(7)).
    let line = |nth: usize| format!("{nth} {}\n", "x".repeat(1500));
    writer.write_all((1..=5).map(line).collect::<String>().as_bytes()).and_then(|()| writer.flush()).unwrap();
    assert_eq!(state.dropped.load(Relaxed), 3, "the third is partial");
    writer.write_all(b"6\n").and_then(|()| writer.flush()).unwrap();
    assert_eq!(state.dropped.load(Relaxed), 4);
    let mut got = vec![0; 1 << 20];
    let count = reader.read(&mut got).unwrap();
    got.truncate(count);
    for last in ["7\n", "8\n"] {
        writer.write_all(last.as_bytes()).and_then(|()| writer.flush()).unwrap();
    }
    drop(writer);
    reader.read_to_end(&mut got).unwrap();
    let got = String::from_utf8(got).unwrap();
    let lines: Vec<_> = got.trim_start_matches('.').split_inclusive('\n').collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (5, &*line(1), &*line(2)));
    assert!(line(3).starts_with(lines[2].trim_end()), "{:?}", lines[2]);
    assert_eq!(lines[3..], ["7\n", "8\n"]);
}
