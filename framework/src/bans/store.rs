//! What is known about the file of the bans: the changes that it has, and the last error.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Store {
    pub(super) file: Option<PathBuf>,
    /// The number of changes.
    version: AtomicU64,
    /// The number of changes that the file has. Locked while the file is written.
    pub(super) stored: Arc<tokio::sync::Mutex<u64>>,
    pub(super) changed: Arc<Notify>,
    is_suspended: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Store {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            version: AtomicU64::new(0),
            stored: Arc::default(),
            changed: Arc::default(),
            is_suspended: AtomicBool::new(false),
            error: Mutex::default(),
        }
    }

    /// Counts a change, which the background task writes.
    pub(super) fn change(&self) {
        if self.file.is_some() {
            self.version.fetch_add(1, SeqCst);
            self.changed.notify_one();
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.is_suspended.load(SeqCst)
    }

    pub(super) fn set_suspended(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, SeqCst);
        self.changed.notify_one();
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    pub(super) fn set_error(&self, error: Option<String>) {
        *self.error.lock() = error;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.changed.notify_one(); // ends the background task
    }
}
