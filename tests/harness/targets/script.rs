//! Fuzz targets for conversation scripts: any text is read or rejected with errors that have a place, and any bytes are
//! written so that they are read back.

use std::time::Duration;

use switchboard::CloseReason;
use switchboard::script::{Action, Data, Script, ScriptFile, Step};

use super::input::Input;

/// The text of a script, without its first line.
pub fn script(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let text = format!("switchboard script 1\n{body}");
    match ScriptFile::parse(&*text) {
        Ok(file) => {
            check_round_trip(file.script());
            for (step, index) in file.script().steps.iter().zip(0..) {
                let Step::Peer(_, Action::Send(data) | Action::Expect(data)) = step else { continue };
                for byte in [0, 1, data.len() / 2, data.len()] {
                    let (place, span) = (file.byte_span(index, byte), file.step_span(index));
                    assert!(span.start <= place.start && place.end <= span.end);
                    // Each byte of the data is written somewhere.
                    assert!(byte >= data.len() || !file.text()[place].is_empty(), "{byte} of {data}");
                }
            }
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            for error in errors.iter() {
                let line = text.split('\n').nth(error.line - 1).expect("the line of an error exists");
                assert!(error.column <= line.chars().count() + 1, "{error}");
                assert!(text.get(error.span.clone()).is_some(), "{error}");
                assert!(error.message.contains(' ') && !error.message.chars().any(char::is_control), "{error:?}");
            }
        }
    }
}

/// A script that is built from arbitrary steps.
pub fn script_steps(data: &[u8]) {
    let mut input = Input(data);
    let mut script = Script::default();
    while !input.0.is_empty() && script.steps.len() < 64 {
        let step = match input.byte() % 8 {
            0 => Step::Wait(Duration::from_micros(u64::from(input.byte()) * 250)),
            1 => Step::Timeout(Duration::from_millis(u64::from(input.byte()) * 40)),
            2 => Step::Peer(0, Action::ExpectNothing(Duration::from_secs(input.byte().into()))),
            3 => {
                let reason = CloseReason::ALL[usize::from(input.byte()) % CloseReason::ALL.len()];
                script.steps.push(Step::Peer(0, Action::ExpectClosed(Some(reason))));
                Step::Peer(0, Action::Open)
            }
            4 | 5 => Step::Peer(0, Action::Send(bytes(&mut input))),
            _ => Step::Peer(0, Action::Expect(bytes(&mut input))),
        };
        script.steps.push(step);
    }
    check_round_trip(&script);
}

/// A sequence of known and unknown bytes.
fn bytes(input: &mut Input<'_>) -> Data {
    let mut data = Data::new();
    for _ in 0..input.byte() % 4 {
        let (count, times) = (usize::from(input.byte() % 48), usize::from(input.byte() % 4) + 1);
        data.push(&input.some(count).repeat(times * times));
        data.push_unknown(usize::from(input.byte() / 64));
    }
    data
}

fn check_round_trip(script: &Script) {
    let printed = script.to_string();
    let read = printed.parse::<Script>().unwrap_or_else(|error| panic!("{error}\nin\n{printed}"));
    assert_eq!(&read, script, "{printed}");
    assert_eq!(read.to_string(), printed);
}
