//! `switchboard init`: writes a commented configuration, and a certificate for trials.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
/// How long a certificate for trials is valid.
const TRIAL_DAYS: u64 = 30;
/// The clock of a client can be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(crate) struct Init {
    /// The file to write; without it the configuration is printed.
    pub(crate) file: Option<PathBuf>,
    /// Replaces files that exist.
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
    let schema = match Path::new(INSTALLED_SCHEMA).exists() {
        true => format!("file://{INSTALLED_SCHEMA}"),
        false => LOCAL_SCHEMA.to_owned(),
    };
    let text = config::starter(registry, &schema, init.tls.then_some(&trial));
    let mut files: Vec<(&Path, u32, String)> = Vec::new();
    if init.tls {
        let (certificate_pem, key_pem) = self_signed().map_err(Failure::new)?;
        files.push((&key, 0o600, key_pem));
        files.push((&certificate, 0o644, certificate_pem));
    }
    if let Some(file) = &init.file {
        files.push((file, 0o644, text.clone()));
    }
    write_all(&files, init.is_forced).map_err(Failure::new)?;
    let mut notes: String = files.iter().map(|(path, ..)| format!("wrote {}\n", path.display())).collect();
    if init.tls {
        notes += &format!("the certificate is self-signed, for trials only, and valid for {TRIAL_DAYS} days\n");
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

/// Writes all files or none.
fn write_all(files: &[(&Path, u32, String)], is_forced: bool) -> Result<(), String> {
    // Before the first file is written; the write itself does not replace a file either.
    let existing = files.iter().find(|(path, ..)| !is_forced && fs::symlink_metadata(path).is_ok());
    if let Some((path, ..)) = existing {
        return Err(cannot_write(path, &io::ErrorKind::AlreadyExists.into()));
    }
    for (index, (path, mode, text)) in files.iter().enumerate() {
        if let Err(error) = write(path, *mode, text, is_forced) {
            let written = files[..index].iter().filter(|_| !is_forced);
            written.for_each(|(path, ..)| drop(fs::remove_file(path)));
            return Err(cannot_write(path, &error));
        }
    }
    Ok(())
}

/// Writes a file beside its path and moves it there, so that nobody reads half of it.
fn write(path: &Path, mode: u32, text: &str, is_forced: bool) -> io::Result<()> {
    let mut file = Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(directory_of(path))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let persisted = if is_forced { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map(drop).map_err(|error| error.error)
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
