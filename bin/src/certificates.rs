//! The certificates of listeners: what a reload changes, and which of them expire soon.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use switchboard::transport::tls::{CertificateInfo, LoadedCertificates, TlsAcceptor};

use crate::admin::Difference;
use crate::config::{Config, dotted};

/// A certificate that expires earlier is warned about.
const WARNING_TIME: Duration = Duration::from_secs(14 * 86400);
/// Authorities of clients that a difference names. Further ones are counted.
const MAX_NAMED: usize = 3;

/// The certificates of each listener with TLS, by its name.
pub(crate) type Certificates = BTreeMap<String, LoadedCertificates>;

/// Loads the certificates of a configuration. A file that cannot be used is an error elsewhere.
pub(crate) fn load(config: &Config) -> Certificates {
    let settings = config.listeners.iter().filter_map(|(name, listener)| Some((name, listener.spec.tls.as_ref()?)));
    settings.filter_map(|(name, tls)| Some((name.clone(), TlsAcceptor::load(tls).ok()?.certificates()))).collect()
}

/// The certificates whose content differs, for the listeners that have TLS before and after.
pub(crate) fn differences(before: &Certificates, after: &Certificates) -> Vec<Difference> {
    let mut found = Vec::new();
    for (listener, new) in after {
        let Some(old) = before.get(listener) else { continue };
        let mut compare = |key: &[&str], old: &[&CertificateInfo], new: &[&CertificateInfo]| {
            // An addition or removal is a difference of the configuration.
            if old != new && !old.is_empty() && !new.is_empty() {
                found.push(difference(listener, key, old, new));
            }
        };
        for new in new.own.iter() {
            let old: Vec<_> = old.own.iter().filter(|old| old.host == new.host).collect();
            match &new.host {
                Some(host) => compare(&["sni", host, "certificate"], &old, &[new]),
                None => compare(&["certificate"], &old, &[new]),
            }
        }
        let [old, new] = [old, new].map(|loaded| loaded.client_authorities.iter().collect::<Vec<_>>());
        compare(&["client_ca"], &old, &new);
    }
    found
}

fn difference(listener: &str, key: &[&str], old: &[&CertificateInfo], new: &[&CertificateInfo]) -> Difference {
    let key = [&["listeners", listener, "tls"], key].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (mut before, mut after) = (describe_all(old, false), describe_all(new, false));
    if before == after {
        (before, after) = (describe_all(old, true), describe_all(new, true));
    }
    Difference {
        key: dotted(&key),
        before: Some(before.into()),
        after: Some(after.into()),
        origin: None,
        needs_restart: false,
        is_file_content: true,
    }
}

fn describe_all(certificates: &[&CertificateInfo], with_serial: bool) -> String {
    let describe = |certificate: &&CertificateInfo| {
        let CertificateInfo { subject, serial, .. } = certificate;
        let serial = if with_serial { format!(", serial number {serial}") } else { String::new() };
        format!("{subject}, expires {}{serial}", date(certificate.not_after))
    };
    let named: Vec<_> = certificates.iter().take(MAX_NAMED).map(describe).collect();
    match certificates.len().saturating_sub(MAX_NAMED) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// A sentence for each certificate that expires soon.
pub(crate) fn expiring(certificates: &Certificates) -> Vec<String> {
    let now = unix_time(SystemTime::now());
    let mut found = Vec::new();
    for (listener, loaded) in certificates {
        for certificate in loaded.own.iter() {
            let left = certificate.not_after as f64 - now;
            if left < WARNING_TIME.as_secs_f64() {
                let mut key = vec!["listeners", listener, "tls"];
                key.extend(certificate.host.iter().flat_map(|host| ["sni", host]));
                key.push("certificate");
                let key: Vec<_> = key.into_iter().map(str::to_owned).collect();
                found.push(format!(
                    "{}: the certificate {} expires {} ({}); after that, clients reject it, and a start or reload fails; \
                     renew it and reload",
                    dotted(&key),
                    certificate.subject,
                    in_days(left),
                    date(certificate.not_after),
                ));
            }
        }
    }
    found
}

/// `in 13 days`, `today`
pub(crate) fn in_days(seconds_left: f64) -> String {
    let days = (seconds_left / 86400.0).floor();
    match days {
        ..0.0 => "in the past".to_owned(),
        0.0..1.0 => "within a day".to_owned(),
        1.0..2.0 => "in 1 day".to_owned(),
        _ => format!("in {days:.0} days"),
    }
}

/// The date of a Unix time, in UTC: `2026-12-28`
pub(crate) fn date(unix_time: i64) -> String {
    let time = u64::try_from(unix_time).ok().and_then(|time| UNIX_EPOCH.checked_add(Duration::from_secs(time)));
    // The year of humantime has four digits.
    let time = time.filter(|_| unix_time < 253_402_300_800);
    time.map_or_else(
        || unix_time.to_string(),
        |time| {
            let mut text = humantime::format_rfc3339_seconds(time).to_string();
            text.truncate(10);
            text
        },
    )
}

/// A certificate as JSON.
pub(crate) fn json(certificate: &CertificateInfo, now: f64) -> Json {
    json!({
        "host": certificate.host,
        "subject": certificate.subject,
        "not_after": certificate.not_after,
        "seconds_left": certificate.not_after as f64 - now,
    })
}

pub(crate) fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
