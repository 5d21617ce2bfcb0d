use std::sync::mpsc::channel;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_read_that_never_ends_is_abandoned_at_the_deadline_and_the_number_of_such_reads_is_bounded() {
    let readers = Readers::default();
    let mut writers = Vec::new();
    for _ in 0..MAX_READERS {
        let (writer, reader) = channel::<()>();
        writers.push(writer);
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        let read = readers.read(deadline, move || reader.recv().is_ok());
        // The paused clock does not advance by itself while a thread blocks.
        let (read, ()) = tokio::join!(read, tokio::time::advance(RELOAD_TIMEOUT));
        let error = read.unwrap_err();
        assert!(error.contains("not read within 30 s") && error.contains("FIFO"), "{error}");
    }
    let error = readers.read(Instant::now() + RELOAD_TIMEOUT, || ()).await.unwrap_err();
    assert!(error.contains("4 earlier reloads still wait for a file"), "{error}");
    // A file system that responds again makes room.
    writers.clear();
    while readers.read(Instant::now() + RELOAD_TIMEOUT, || ()).await.is_err() {
        tokio::task::yield_now().await;
    }
}
