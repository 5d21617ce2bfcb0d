//! Tests of `bans/file.rs`.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

fn contents() -> Contents {
    let ban = |network: &str, origin, reason: &str, times, seconds| Ban {
        network: network.parse().expect(network),
        reason: reason.into(),
        origin,
        times,
        began: UNIX_EPOCH + Duration::from_secs(1_000),
        until: Instant::now() + Duration::from_secs(seconds),
    };
    let bans = vec![
        ban("192.0.2.7", BanOrigin::Operator, "a \"port\" scan \\ ä", 0, 60),
        ban("2001:db8::/64", BanOrigin::Strikes, "", 3, 3_600),
        ban("10.0.0.0/8", BanOrigin::Fail2ban, "sshd", 0, 31_536_000),
    ];
    let source = Source::of("2001:db8::1".parse().expect("an address"));
    Contents { bans, repeats: vec![Repeat { source, times: 3, until: Instant::now() + Duration::from_secs(7_200) }] }
}

/// The times of a file are whole seconds.
#[track_caller]
fn assert_near(read: Instant, written: Instant) {
    let difference = read.max(written) - read.min(written);
    assert!(difference <= Duration::from_secs(1), "{difference:?}");
}

#[tokio::test]
async fn a_written_file_is_read_again_and_only_its_owner_can_read_it() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("bans.json");
    assert_eq!(read(&path, 10), Ok(Contents::default()), "a missing file has no bans");
    fs::write(place.path().join("bans.json.new"), "of a crash").expect("written");
    let written = contents();
    write(&path, &written).expect("written");
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(place.path()).expect("there").count(), 1, "no other file is left");
    assert_eq!(fs::read_to_string(&path).expect("text").lines().count(), 9, "one line per entry");
    let read = read(&path, 3).expect("readable");
    for (read, written) in read.bans.iter().zip(&written.bans) {
        assert_near(read.until, written.until);
        assert_eq!(Ban { until: written.until, ..read.clone() }, *written);
    }
    assert_eq!((read.bans.len(), read.repeats.len(), read.repeats[0].times), (3, 1, 3));
    assert_eq!(read.repeats[0].source, written.repeats[0].source);
    assert_near(read.repeats[0].until, written.repeats[0].until);
    let link = place.path().join("link.json");
    symlink(&path, &link).expect("linked");
    write(&link, &Contents::default()).expect("written");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "the link stays");
    assert_eq!(super::read(&path, 3), Ok(Contents::default()));
}

#[tokio::test]
async fn writing_what_was_read_keeps_the_end_of_a_ban() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("bans.json");
    write(&path, &contents()).expect("written");
    let first = fs::read_to_string(&path).expect("text");
    for _ in 0..20 {
        write(&path, &read(&path, 3).expect("readable")).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("text"), first);
    }
}

#[tokio::test]
async fn ended_bans_are_not_read() {
    let ended = r#"{ "version": 1, "bans": [{ "network": "192.0.2.7", "began": 1, "until": 2, "origin": "operator",
        "reason": "", "times": 0 }], "repeats": [{ "source": "192.0.2.7", "times": 1, "until": 2 }] }"#;
    assert_eq!(parse(ended), Ok(Contents::default()));
}

#[test]
fn every_invalid_file_is_an_error_that_says_what_to_do() {
    let entry = |network: &str| {
        let rest = r#""began": 1, "until": 99999999999, "origin": "operator", "reason": "", "times": 0"#;
        format!("{{\"version\": 1, \"bans\": [{{\"network\": \"{network}\", {rest}}}], \"repeats\": []}}")
    };
    assert!(parse(&entry("192.0.2.7")).is_ok());
    for (text, part) in [
        (String::new(), "it is damaged: EOF"),
        ("{\n\"version\": 1,\n\"bans\": [\n{\"network\"".to_owned(), "line 4 column 10"),
        (entry("192.0.2.7/8"), "host bits"),
        (entry("nobody"), "\"nobody\" is not a network"),
        (entry("0.0.0.0/0"), "0.0.0.0/0 contains every client"),
        ("{\"version\": 2, \"bans\": {}}".to_owned(), "it has version 2, and this program reads version 1"),
        ("{\"bans\": []}".to_owned(), "missing field `version`"),
        ("[]".to_owned(), "it is damaged"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(part), "{error}");
        assert!(error.ends_with(RESTORE), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_that_names_the_path() {
    let place = tempfile::tempdir().expect("a directory");
    let error = |path: &Path, entries| read(path, entries).expect_err("not usable").to_string();
    let missing = place.path().join("missing/bans.json");
    assert!(error(&missing, 1).contains("there is no directory"), "{}", error(&missing, 1));
    assert!(error(&missing, 1).starts_with(&missing.display().to_string()));
    let file = place.path().join("bans.json");
    fs::write(&file, [0xff, 0xfe]).expect("written");
    assert!(error(&file, 1).contains("valid UTF-8"), "{}", error(&file, 1));
    let large = File::create(&file).expect("created");
    large.set_len(MAX_REPEATS + MAX_ENTRY + 1).expect("extended");
    assert!(error(&file, 1).contains("raise bans.entries"), "{}", error(&file, 1));
    assert!(error(&file.join("below"), 1).contains("is not a directory"), "{}", error(&file.join("below"), 1));
    let written = write(place.path(), &Contents::default()).expect_err("a directory");
    assert!(written.to_string().contains("cannot write it"), "{written}");
}
