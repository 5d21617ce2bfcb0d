//! `switchboard init`: writes a commented configuration, and a certificate for trials.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::{Gid, Group, geteuid};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use switchboard::Registry;
use tempfile::Builder;

use crate::config::{self, TrialFiles};
use crate::exit;
use crate::failure::Failure;

/// The schema that the package installs.
const INSTALLED_SCHEMA: &str = "/usr/share/switchboard/switchboard.schema.json";
/// The schema otherwise.
const LOCAL_SCHEMA: &str = "./switchboard.schema.json";
/// The group of the service: that of the Debian package and of `switchboard.sysusers`.
const SERVICE_GROUP: &str = "switchboard";
/// The admin socket of the service, in the directory that its unit creates.
const SERVICE_SOCKET: &str = "/run/switchboard/admin.sock";
/// The name of the admin socket elsewhere.
const ADMIN_SOCKET: &str = "admin.sock";
/// The longest path of a Unix socket (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// How long a certificate for trials is valid.
const TRIAL_DAYS: u64 = 30;
/// The clock of a client can be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(crate) struct Init {
    /// The file to write; without it the configuration is printed.
    pub(crate) file: Option<PathBuf>,
    /// Replaces a configuration that exists, but never a key or certificate.
    pub(crate) is_forced: bool,
    /// Creates a certificate and its key beside the file.
    pub(crate) tls: bool,
}

/// Writes the files. Returns the text for standard output, and notes for standard error.
pub(crate) fn init(init: &Init, registry: &Registry) -> Result<(String, String), Failure> {
    let extension = init.file.as_deref().and_then(Path::extension).map(|extension| extension.to_ascii_lowercase());
    if let Some(file) = &init.file
        && extension.is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|other| extension == *other))
    {
        let what = format!(
            "{} would be read as JSON or YAML, but init writes TOML; name it like switchboard.toml",
            file.display()
        );
        return Err(Failure::usage(what));
    }
    let directory = init.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    // Relative paths in a configuration start at the working directory of the server.
    let absolute = |name: &str| {
        let path = directory.join(name);
        std::path::absolute(&path).map_err(|error| Failure::new(cannot_write(&path, &error)))
    };
    let (certificate, key) = (absolute("cert.pem")?, absolute("key.pem")?);
    let trial = TrialFiles { certificate: &certificate, key: &key };
    let admin = admin_socket(&absolute(ADMIN_SOCKET)?);
    let schema = match Path::new(INSTALLED_SCHEMA).exists() {
        true => format!("file://{INSTALLED_SCHEMA}"),
        false => LOCAL_SCHEMA.to_owned(),
    };
    let text = config::starter(registry, &schema, &admin, init.tls.then_some(&trial));
    let mut files: Vec<NewFile<'_>> = Vec::new();
    let group = service_group();
    if init.tls {
        let (certificate_pem, key_pem) = self_signed().map_err(Failure::new)?;
        let mode = if group.is_some() { 0o640 } else { 0o600 };
        files.push(NewFile { path: &key, mode, group, text: key_pem, is_of_certificate: true, replaces: false });
        let (text, is_of_certificate) = (certificate_pem, true);
        files.push(NewFile { path: &certificate, mode: 0o644, group: None, text, is_of_certificate, replaces: false });
    }
    if let Some(file) = &init.file {
        let (text, replaces) = (text.clone(), init.is_forced);
        files.push(NewFile { path: file, mode: 0o644, group: None, text, is_of_certificate: false, replaces });
    }
    write_all(&files).map_err(Failure::new)?;
    let mut notes: String = files.iter().map(|file| format!("wrote {}\n", file.path.display())).collect();
    if init.tls {
        notes += &format!("the certificate is self-signed, for trials only, and valid for {TRIAL_DAYS} days\n");
        notes += &match group {
            Some(_) => format!("the group {SERVICE_GROUP} can read the key\n"),
            None => format!(
                "only its owner can read the key; for the service, as root: chgrp {SERVICE_GROUP} {0} && chmod 0640 {0}\n",
                key.display()
            ),
        };
    }
    if let Some(file) = &init.file {
        if schema == LOCAL_SCHEMA {
            notes += "for completion in an editor: switchboard schema >switchboard.schema.json\n";
        }
        notes += &format!("start the server: switchboard --config {}\n", file.display());
        return Ok((notes, String::new()));
    }
    Ok((text, notes))
}

struct NewFile<'a> {
    path: &'a Path,
    mode: u32,
    group: Option<Gid>,
    text: String,
    /// A key or a certificate.
    is_of_certificate: bool,
    /// A file that exists is replaced.
    replaces: bool,
}

/// Writes all files or none.
fn write_all(files: &[NewFile<'_>]) -> Result<(), String> {
    // Before the first file is written; the write itself does not replace a file either.
    let existing = files.iter().find(|file| !file.replaces && fs::symlink_metadata(file.path).is_ok());
    if let Some(NewFile { path, is_of_certificate, .. }) = existing {
        let hint = match is_of_certificate {
            true => ", and init never replaces a key or certificate; move it away, or write to another directory",
            false => "; --force replaces it",
        };
        return Err(format!("cannot write {}: it exists{hint}", path.display()));
    }
    for (index, file) in files.iter().enumerate() {
        if let Err(error) = write(file) {
            let written = files[..index].iter().filter(|file| !file.replaces);
            written.for_each(|file| drop(fs::remove_file(file.path)));
            return Err(cannot_write(file.path, &error));
        }
    }
    Ok(())
}

/// Writes a file beside its path and moves it there, so that nobody reads half of it.
fn write(NewFile { path, mode, group, text, replaces, .. }: &NewFile<'_>) -> io::Result<()> {
    let permissions = fs::Permissions::from_mode(*mode);
    let mut file = Builder::new().permissions(permissions).tempfile_in(directory_of(path))?;
    file.write_all(text.as_bytes())?;
    if let Some(group) = group {
        fchown(file.as_file(), None, Some(group.as_raw()))?;
    }
    file.as_file().sync_all()?;
    let persisted = if *replaces { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map(drop).map_err(|error| error.error)
}

/// The group of the service, if it exists and this user can give it a file.
fn service_group() -> Option<Gid> {
    let group = Group::from_name(SERVICE_GROUP).ok().flatten().filter(|_| geteuid().is_root());
    group.map(|group| group.gid)
}

/// The address of the admin endpoint: beside the configuration, or in the directory that the unit creates.
fn admin_socket(beside: &Path) -> String {
    let is_short = beside.as_os_str().len() <= MAX_SOCKET_PATH;
    let path = if beside.starts_with("/etc") || !is_short { Path::new(SERVICE_SOCKET) } else { beside };
    format!("unix:{}", path.display())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::AlreadyExists => "it exists; --force replaces it".to_owned(),
        io::ErrorKind::NotFound if !directory_of(path).exists() => "its directory does not exist; create it".to_owned(),
        _ => exit::reason(error),
    };
    format!("cannot write {}: {what}", path.display())
}

/// A certificate for this machine, and its key, as PEM.
fn self_signed() -> Result<(String, String), String> {
    let failed = |error: rcgen::Error| format!("cannot create a certificate: {error}");
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    // A name that a certificate cannot contain is left out.
    let is_name = |host: &String| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    names.extend(host.filter(|host| !host.is_empty() && is_name(host) && !names.contains(host)));
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "switchboard trial");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + Duration::from_secs(TRIAL_DAYS * 24 * 60 * 60)).into();
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
