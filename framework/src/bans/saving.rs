//! Reads the bans from their file, and writes changes soon after they happen, not on the threads that serve clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::file::{self, BanFileError};
use super::handle::{Bans, WeakBans};

/// Shortest pause between two writes of changed bans.
const MIN_WRITE_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two writes of changed bans. The pause is four times the duration of the last write.
const MAX_WRITE_PAUSE: Duration = Duration::from_secs(2);
/// Pause after the bans could not be written.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

impl Bans {
    /// Reads the file, which replaces the bans in memory. Without a file, nothing changes. It blocks: call it before
    /// the server starts, or through `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// The file is damaged or cannot be read, or its directory cannot be written. Nothing has changed.
    pub fn load(&self) -> Result<(), BanFileError> {
        let Some(path) = &self.store().file else { return Ok(()) };
        let contents = file::read(path, self.settings().entries)?;
        self.replace_with(contents);
        Ok(())
    }

    /// Waits until the file has every change so far. Without a file it returns at once.
    ///
    /// # Errors
    ///
    /// The file cannot be written. The server tries again every 10 s.
    pub async fn save(&self) -> Result<(), BanFileError> {
        let Some(path) = self.store().file.clone() else { return Ok(()) };
        let mut stored = self.store().stored.clone().lock_owned().await;
        let version = self.store().version();
        if *stored == version || self.store().is_suspended() {
            return Ok(());
        }
        let bans = self.clone();
        // Holds the lock, even if the caller stops waiting.
        let writing = tokio::task::spawn_blocking(move || {
            let written = file::write(&path, &bans.contents());
            bans.store().set_error(written.as_ref().err().map(ToString::to_string));
            if written.is_ok() {
                *stored = version;
            }
            written
        });
        writing.await.unwrap_or(Ok(())) // only the end of the runtime cancels it
    }

    /// Writes the last changes, and no more until [`resume_saving`](Self::resume_saving), because another process takes
    /// over the file.
    ///
    /// # Errors
    ///
    /// As for [`save`](Self::save).
    pub async fn suspend_saving(&self) -> Result<(), BanFileError> {
        let saved = self.save().await;
        self.store().set_suspended(true);
        // A write that was in progress has ended.
        drop(self.store().stored.lock().await);
        saved
    }

    /// Writes changes again.
    pub fn resume_saving(&self) {
        self.store().set_suspended(false);
    }

    /// Whether another process takes over the file.
    pub fn is_suspended(&self) -> bool {
        self.store().is_suspended()
    }

    /// Starts the task that writes changes.
    pub(crate) fn start_saving(&self) {
        if self.store().file.is_some() {
            tokio::spawn(save_changes(self.downgrade(), self.store().changed.clone()));
        }
    }
}

async fn save_changes(bans: WeakBans, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        let Some(bans) = bans.upgrade() else { return };
        let began = Instant::now();
        let saved = bans.save().await;
        drop(bans);
        match saved {
            Ok(()) => sleep((began.elapsed() * 4).clamp(MIN_WRITE_PAUSE, MAX_WRITE_PAUSE)).await,
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(target: "switchboard::bans", error, "cannot save the bans; trying again");
                sleep(RETRY_PAUSE).await;
                changed.notify_one();
            }
        }
    }
}
