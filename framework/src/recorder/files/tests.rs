//! The files of a recorder.

use super::*;

fn facts(connection: u64) -> Facts {
    let reason = Some(CloseReason::Panic);
    Facts { connection, peer: "client".into(), local: "server".into(), reason, error: None }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_new_file_replaces_the_oldest_and_other_files_stay() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/records");
    let files = Files::new(path.clone(), 2);
    files.check().unwrap();
    fs::write(path.join("kept.script"), "").unwrap();
    let written: Vec<_> = (1..=3).map(|id| files.write(&facts(id), "text").unwrap()).collect();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&written[2])), (0o700, 0o600));
    let names = names(&path);
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].ends_with("Z-2-panic.script") && names[1].ends_with("Z-3-panic.script"), "{names:?}");
    assert!(names.iter().take(2).all(|name| is_record(name)) && !is_record("kept.script"));
    assert_eq!(fs::read_to_string(&written[2]).unwrap(), "text");
}

#[test]
fn an_error_names_the_setting_and_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let files = Files::new(file.join("records"), 2);
    let error = files.write(&facts(1), "text").unwrap_err().to_string();
    assert!(error.starts_with("recorder.directory: ") && error.ends_with("Not a directory"), "{error}");
    assert_eq!(files.check().unwrap_err().to_string(), error);
}

#[tokio::test(start_paused = true)]
async fn one_file_per_second_may_be_written() {
    let files = Files::new("unused".into(), 1);
    assert_eq!([files.may_write(), files.may_write()], [true, false]);
    tokio::time::advance(INTERVAL).await;
    assert_eq!([files.may_write(), files.may_write()], [true, false]);
}
