//! Warnings about a valid configuration: files that other users can read or write, secrets in the arguments, and an
//! admin endpoint that others can use.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use switchboard::TlsIdentity;
use switchboard::recorder::Recorder;

use crate::certificates::{self, Certificates};
use crate::config::{Admin, Config, dotted};

/// Whether users other than the owner and the group can read (inode(7)).
fn others_read(mode: u32) -> bool {
    mode & 0o004 != 0
}

fn others_write(mode: u32) -> bool {
    mode & 0o002 != 0
}

/// Whether every user can replace the files of others in a directory. The sticky bit prevents it.
fn others_replace(mode: u32) -> bool {
    others_write(mode) && mode & 0o1000 == 0
}

/// Whether nobody can write, whatever the mode is: Kubernetes mounts a config map with mode 0777, and read-only.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
}

/// One sentence for each problem. They do not make a configuration invalid.
pub(crate) fn of(config: &Config) -> Vec<String> {
    let mut found = BTreeSet::new();
    let secrets = config.effective.secrets();
    if let Some(file) = &config.file {
        let has_secret = secrets.iter().any(|(_, origin)| origin.is_file());
        check(file, if has_secret { Some("a secret") } else { None }, &mut found);
    }
    for (key, origin) in secrets.iter().filter(|(_, origin)| origin.is_flag()) {
        found.insert(format!(
            "{} is set by the {origin}, and every user of this machine can see arguments (ps); set it in a file or in the \
             environment",
            dotted(key)
        ));
    }
    for (file, what) in config.effective.secret_files() {
        check(&file, Some(what), &mut found);
    }
    for tls in config.listeners.values().filter_map(|listener| listener.spec.tls.as_ref()) {
        for TlsIdentity { certificate, key } in std::iter::once(&tls.identity()).chain(tls.sni.values()) {
            check(key, Some("a private key"), &mut found);
            check(certificate, None, &mut found);
        }
        if let Some(authority) = &tls.client_ca {
            check(authority, None, &mut found);
        }
    }
    if let Some(file) = &config.bans.file {
        check(file, None, &mut found);
    }
    found.extend(config.admin.as_ref().and_then(Admin::warning));
    found.into_iter().collect()
}

/// Creates the directory of the recorder, and logs an error. The server runs without records then.
pub(crate) fn check_recorder(recorder: Option<&Recorder>) {
    if let Some(Err(error)) = recorder.map(Recorder::check) {
        tracing::warn!(target: "switchboard::recorder", %error, "records cannot be written");
    }
}

pub(crate) fn log(config: &Config, certificates: &Certificates) {
    for warning in of(config).into_iter().chain(certificates::expiring(certificates)) {
        tracing::warn!(target: "switchboard", "{warning}");
    }
}

/// Checks a file and its directories. `secret` is what must not be read by others.
fn check(path: &Path, secret: Option<&str>, found: &mut BTreeSet<String>) {
    // A missing file is an error elsewhere. A pipe has no permissions that matter.
    let Ok(real) = fs::canonicalize(path) else { return };
    let Some(mode) = mode(&real) else { return };
    let name = path.display();
    if others_write(mode) && !is_read_only(&real) {
        found.insert(format!("every user can write {name} (mode {:04o}); use chmod o-w", mode & 0o7777));
    }
    if let (Some(what), true) = (secret, others_read(mode)) {
        found.insert(format!(
            "every user can read {name} (mode {:04o}), which contains {what}; use chmod o-rwx",
            mode & 0o7777
        ));
    }
    // The directories of a symbolic link matter, too.
    let link = std::path::absolute(path).unwrap_or_default();
    for directory in real.ancestors().chain(link.ancestors()).filter(|directory| directory.is_dir()) {
        let Ok(metadata) = fs::metadata(directory) else { continue };
        let mode = metadata.mode();
        if others_replace(mode) && !is_read_only(directory) {
            found.insert(format!(
                "every user can replace {name}, because every user can write the directory {} (mode {:04o}); use chmod o-w",
                directory.display(),
                mode & 0o7777
            ));
        }
    }
}

fn mode(file: &Path) -> Option<u32> {
    fs::metadata(file).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.mode())
}
