//! Sockets in hostile or changing surroundings: replaced paths, several addresses, lost paths and addresses.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use harness::Client;
use switchboard::prelude::*;
use switchboard_handlers::Echo;
use tokio::net::UnixStream;

use crate::support::socket;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Replaces the path of a socket as soon as it appears, like another user who can write to its directory.
struct Attacker {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Attacker {
    /// `replace` puts something at the path of the server.
    fn start(path: PathBuf, replace: impl Fn(&Path) + Send + 'static) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (stop, swaps) = (stop.clone(), swaps.clone());
            let aside = path.with_extension("aside");
            move || {
                while !stop.load(SeqCst) {
                    let is_socket = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
                    if is_socket && fs::rename(&path, &aside).is_ok() {
                        replace(&path);
                        swaps.fetch_add(1, SeqCst);
                        let _ = fs::remove_file(&aside);
                    }
                }
            }
        });
        Self { stop, swaps, thread: Some(thread) }
    }

    fn swaps(&self) -> usize {
        self.swaps.load(SeqCst)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Starts servers until the attacker had this many chances. A start may fail; the victim keeps its mode.
async fn start_under_attack(scheme: &str, path: &Path, attacker: &Attacker, victim: &Path, attempts: usize) {
    let before = (mode(victim), victim.symlink_metadata().unwrap().gid());
    let mut won = Vec::new();
    for start in 0..attempts {
        let options = socket(|options| (options.mode, options.group) = (0o666, Some("12345".to_owned())));
        let running = Server::bind(format!("{scheme}:{}", path.display())).socket(options).start(Echo).await;
        drop(running);
        if (mode(victim), victim.symlink_metadata().unwrap().gid()) != before {
            won.push(start);
            fs::set_permissions(victim, fs::Permissions::from_mode(before.0)).unwrap();
            std::os::unix::fs::chown(victim, None, Some(before.1)).unwrap();
        }
        let _ = fs::remove_file(path);
    }
    assert!(won.is_empty(), "the attacker won {} of {attempts} times: {won:?}", won.len());
    assert!(attacker.swaps() > 0, "the attacker never replaced the path");
}

#[tokio::test]
async fn a_link_that_replaces_the_path_during_a_start_never_changes_the_mode_of_another_file() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, "secret").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    for scheme in ["unix", "unixgram"] {
        let path = place.path().join(scheme);
        let target = victim.clone();
        let attacker = Attacker::start(path.clone(), move |path| symlink(&target, path).unwrap_or_default());
        start_under_attack(scheme, &path, &attacker, &victim, 1000).await;
    }
}
