//! The memory of recordings.

use std::thread;

use super::*;
use crate::recorder::{Facts, Recorder, Writer};
use crate::script::{MAX_TEXT, Script};
use crate::settings::RecorderSettings;

fn recorder(memory: usize) -> Recorder {
    Recorder::new(RecorderSettings::default().memory(memory).message(64))
}

fn recording(recorder: &Recorder) -> Arc<Recording> {
    let handler =
        RecordedHandler { listener: "main".into(), handler: None, framing: None, redact: Box::new(|_, _| ()) };
    recorder.recording(&Arc::new(handler))
}

fn record(writer: &mut Writer, kind: RecordKind, bytes: &[u8]) {
    writer.record(kind, bytes);
    writer.rest();
}

fn numbers(recording: &Recording) -> Vec<u64> {
    recording.read(0).unwrap().into_iter().map(|record| record.number).collect()
}

#[test]
fn records_are_read_in_their_order_with_their_bytes() {
    let recording = recording(&recorder(1 << 20));
    let mut writer = Writer::new(recording.clone());
    for len in 0..200_usize {
        writer.record(if len % 2 == 0 { RecordKind::Received } else { RecordKind::Sent }, &vec![len as u8; len]);
        if len % 7 == 0 {
            writer.rest();
        }
    }
    writer.rest();
    let records = recording.read(0).unwrap();
    assert_eq!(records.len(), 200);
    for (len, record) in records.iter().enumerate() {
        assert_eq!((record.number, record.len), (len as u64, len));
        assert_eq!(record.bytes, vec![len as u8; len.min(64)]);
        assert_eq!(record.kind == RecordKind::Received, len % 2 == 0);
    }
    assert_eq!(recording.read(198).unwrap().len(), 2);
}

#[test]
fn a_message_that_the_framing_does_not_encode_is_no_record() {
    let recording = recording(&recorder(1 << 20));
    let mut writer = Writer::new(recording.clone());
    writer.record(RecordKind::Received, b"one");
    for fails in [&[0; 5][..], &[0; 500]] {
        writer.record(RecordKind::Sent, fails);
        writer.retract(fails.len());
    }
    record(&mut writer, RecordKind::Received, b"two");
    let records = recording.read(0).unwrap();
    let found: Vec<_> = records.iter().map(|record| (record.number, &*record.bytes)).collect();
    assert_eq!(found, [(0, &b"one"[..]), (1, b"two")]);
}

#[test]
fn records_that_are_in_use_cannot_be_read() {
    let recording = recording(&recorder(1 << 20));
    let mut writer = Writer::new(recording.clone());
    writer.record(RecordKind::Received, b"the handler does not wait");
    assert_eq!(recording.read(0), None);
    writer.rest();
    assert_eq!(recording.read(0).unwrap().len(), 1);
}

#[test]
fn one_connection_keeps_its_last_messages_within_its_share() {
    let recorder = recorder(1 << 20);
    let recording = recording(&recorder);
    let mut writer = Writer::new(recording.clone());
    for _ in 0..10_000 {
        writer.record(RecordKind::Received, &[1; 64]);
    }
    writer.rest();
    let numbers = numbers(&recording);
    assert_eq!(numbers.last(), Some(&9_999));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in the middle");
    let bytes = numbers.len() * 68;
    let share = RecorderSettings::default().connection;
    assert!(share * 3 / 4 < bytes && bytes <= share, "{bytes}");
    let report = recorder.report();
    assert!((share - 2 * 2048..=share).contains(&report.memory_used) && report.connections == 1, "{report:?}");
    drop((writer, recording));
    let report = recorder.report();
    assert_eq!((report.memory_used, report.connections), (0, 0));
}

#[test]
fn new_messages_replace_the_oldest_ones_of_other_connections() {
    let recorder = recorder(1 << 20);
    let all: Vec<_> = (0..2_000).map(|_| recording(&recorder)).collect();
    let mut writers: Vec<_> = all.iter().map(|recording| Writer::new(recording.clone())).collect();
    for writer in &mut writers {
        record(writer, RecordKind::Received, b"hello");
    }
    let has_records: Vec<bool> = all.iter().map(|recording| !numbers(recording).is_empty()).collect();
    let kept = has_records.iter().filter(|has| **has).count();
    assert!((400..=512).contains(&kept), "{kept}");
    assert!(has_records[1_600..].iter().all(|has| *has), "the newest are kept");
    // A connection that has lost its memory gets a part of it again.
    record(&mut writers[0], RecordKind::Received, b"again");
    assert_eq!(numbers(&all[0]), [1]);
}

#[test]
fn a_busy_connection_keeps_its_memory_and_a_closed_one_gives_it_back() {
    let recorder = recorder(RecorderSettings::MIN_MEMORY);
    let busy: Vec<_> = (0..30).map(|_| recording(&recorder)).collect();
    let mut writers: Vec<_> = busy.iter().map(|recording| Writer::new(recording.clone())).collect();
    writers.iter_mut().for_each(|writer| writer.record(RecordKind::Received, b"hello"));
    let late = recording(&recorder);
    let mut writer = Writer::new(late.clone());
    (0..3).for_each(|_| record(&mut writer, RecordKind::Received, b"late"));
    writers.iter_mut().for_each(Writer::rest);
    assert!(busy.iter().all(|recording| numbers(recording) == [0]));
    assert!(late.read(0).unwrap().len() <= 3);
    drop((writers, busy));
    record(&mut writer, RecordKind::Received, b"late");
    assert_eq!(numbers(&late).last(), Some(&3));
    let other = recording(&recorder);
    record(&mut Writer::new(other.clone()), RecordKind::Sent, b"free");
    assert_eq!(numbers(&other), [0]);
}

#[test]
fn a_reader_never_sees_the_records_of_another_connection() {
    let recorder = recorder(RecorderSettings::MIN_MEMORY);
    let all: Vec<_> = (0..100_u8).map(|_| recording(&recorder)).collect();
    thread::scope(|scope| {
        for half in [0, 50] {
            let all = &all[half..half + 50];
            scope.spawn(move || {
                let mut writers: Vec<_> = all.iter().map(|recording| Writer::new(recording.clone())).collect();
                for round in 0..200 {
                    for (nth, writer) in writers.iter_mut().enumerate() {
                        (0..5).for_each(|_| writer.record(RecordKind::Sent, &[(half + nth) as u8; 60]));
                        if round % 3 == 0 {
                            writer.rest();
                        }
                    }
                }
            });
        }
        for _ in 0..50 {
            for (nth, recording) in all.iter().enumerate() {
                for record in recording.read(0).unwrap_or_default() {
                    assert_eq!(record.bytes, [nth as u8; 60]);
                }
            }
        }
    });
}

fn facts() -> Facts {
    let reason = Some(crate::close_reason::CloseReason::Panic);
    Facts { connection: 1, peer: "a".into(), local: "b".into(), reason, error: Some("ä".repeat(70_000)) }
}

fn info(script: &Script, name: &str) -> Option<String> {
    script.info.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone())
}

#[test]
fn a_script_has_the_newest_messages_that_a_reader_accepts() {
    let settings = RecorderSettings::default().memory(24 << 20).connection(24 << 20).message(64 << 10);
    let recording = recording(&Recorder::new(settings));
    let mut writer = Writer::new(recording.clone());
    let message: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
    (0..180).for_each(|_| writer.record(RecordKind::Received, &message));
    writer.record(RecordKind::Received, b"the last one");
    writer.rest();
    let script = recording.script(&facts()).unwrap();
    let text = script.to_string();
    assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT * 9 / 10, "{}", text.len());
    assert_eq!(text.parse::<Script>().unwrap(), script);
    assert!(text.ends_with("> \"the last one\"\n< closed panic\n"));
    let missing: usize = info(&script, "missing").unwrap().parse().unwrap();
    assert_eq!(script.steps.len(), 181 - missing + 1);
}

#[test]
fn a_script_says_that_all_messages_are_missing() {
    let recorder = recorder(RecorderSettings::MIN_MEMORY);
    let first = recording(&recorder);
    let mut writer = Writer::new(first.clone());
    (0..3).for_each(|_| record(&mut writer, RecordKind::Received, b"lost"));
    let others: Vec<_> = (0..100).map(|_| recording(&recorder)).collect();
    for other in &others {
        record(&mut Writer::new(other.clone()), RecordKind::Received, b"other");
    }
    assert_eq!(info(&first.script(&facts()).unwrap(), "missing").as_deref(), Some("3"));
}
