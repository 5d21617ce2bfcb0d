//! `switchboard status`.

use crate::certificates;
use crate::client::address::AdminAddress;
use crate::client::commands::Printed;
use crate::client::http::{ClientError, get};
use crate::client::report::{Certificate, Fleet, Listener, Status};
use crate::client::text::{self, Align, Column, escape};

pub(super) async fn status(server: &AdminAddress, json: bool) -> Result<Printed, ClientError> {
    let reply = get(server, "/status").await?;
    let status: Status = reply.json()?;
    Ok(Printed::out(if json { reply.text().trim_end().to_owned() + "\n" } else { render(&status, text::width()) }))
}

/// The server in one line.
pub(super) fn summary(status: &Status) -> String {
    let Status { version, pid, uptime_seconds, phase, .. } = status;
    let (version, phase, uptime) = (escape(version), escape(phase), text::duration(*uptime_seconds));
    format!("switchboard {version}, process {pid}, {phase}, up {uptime}")
}

fn render(status: &Status, width: usize) -> String {
    const STATES: [Column; 3] = [("LISTENER", Align::Left), ("STATE", Align::Left), ("ADDRESS", Align::Left)];
    const COUNTS: [Column; 9] = [
        ("LISTENER", Align::Left),
        ("OPEN", Align::Right),
        ("ACCEPTED", Align::Right),
        ("MESSAGES", Align::Right),
        ("FAILED", Align::Right),
        ("REJECTED", Align::Right),
        ("ERRORS", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
    ];
    let states = |listener: &Listener| vec![listener.name.clone(), listener.state.clone(), listener.address.clone()];
    let counts = |listener: &Listener| {
        vec![
            listener.name.clone(),
            format!("{}/{}", listener.clients(), listener.max_open),
            listener.accepted.to_string(),
            listener.all_messages().to_string(),
            listener.failed().to_string(),
            listener.all_rejected().to_string(),
            listener.errors.to_string(),
            text::size(listener.bytes_in),
            text::size(listener.bytes_out),
        ]
    };
    let rows = |row: &dyn Fn(&Listener) -> Vec<String>| status.listeners.iter().map(row).collect::<Vec<_>>();
    let problems = status.listeners.iter().filter_map(|listener| {
        let problem = listener.problem.as_ref()?;
        Some(format!("problem of {}: {}\n", escape(&listener.name), escape(problem)))
    });
    let problems: String = problems.collect();
    let certificates = status.listeners.iter().filter_map(|listener| {
        let Certificate { subject, not_after, seconds_left } = listener.certificate.as_ref()?;
        let (name, subject, date) = (escape(&listener.name), escape(subject), certificates::date(*not_after));
        Some(format!("certificate of {name}: {subject}, expires {} ({date})\n", certificates::in_days(*seconds_left)))
    });
    let certificates: String = certificates.collect();
    let (states, counts) =
        (text::table(&STATES, &rows(&states), width, 2), text::table(&COUNTS, &rows(&counts), width, 0));
    let fleet = status.fleet.as_ref().map(fleet).unwrap_or_default();
    format!("{}\n{fleet}\n{states}{problems}{certificates}\n{counts}", summary(status))
}

/// The fleet in one line, and one line for each link that is not connected.
fn fleet(fleet: &Fleet) -> String {
    let Fleet { state, instances, error, links } = fleet;
    let plural = if *instances == 1 { "" } else { "s" };
    let reason =
        |error: &Option<String>| error.as_ref().map(|error| format!(": {}", escape(error))).unwrap_or_default();
    let links = links.iter().filter(|link| !link.connected);
    let links = links.map(|link| format!("fleet link {} is down{}\n", escape(&link.name), reason(&link.error)));
    let links: String = links.collect();
    format!("fleet: {}, {instances} instance{plural}{}\n{links}", escape(state), reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::FleetLink;

    #[test]
    fn the_tables_fit_80_columns_and_show_each_problem() {
        let listener = |name: &str, count: u64| {
            let listener = serde_json::json!({
                "name": name, "address": "tcp://[2001:db8:1111:2222:3333:4444:5555:6666]:443", "state": "listening",
                "problem": "address \u{1b} in use", "open": count.min(9_999), "sessions": 0, "max_open": 10_000, "accepted": count,
                "errors": 3,
                "rejected": { "limit": 2, "rate": 3 }, "messages": { "ok": count, "error": 7, "dropped": 2 },
                "message_seconds": { "count": 0, "within": [] }, "bytes_in": count << 20, "bytes_out": 1023,
                "certificate": { "subject": "CN=a\u{1b}", "not_after": 1_798_416_000, "seconds_left": 2_600_000.0 }
            });
            serde_json::from_value(listener).unwrap()
        };
        let status = Status {
            version: "0.1.0".to_owned(),
            pid: 4711,
            uptime_seconds: 3725.0,
            phase: "running".to_owned(),
            evacuation: None,
            fleet: None,
            listeners: vec![listener("main", 1), listener("with-a-long-name", 123_456_789)],
        };
        let text = render(&status, usize::MAX);
        assert!(text.starts_with("switchboard 0.1.0, process 4711, running, up 1h 2m\n\n"), "{text}");
        assert!(text.contains("\nproblem of main: address \\u001B in use\n"), "{text}");
        let certificate = "certificate of main: CN=a\\u001B, expires in 30 days (2026-12-28)\n";
        assert!(text.contains(certificate), "{text}");
        let counts: Vec<&str> = text.lines().rev().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(counts[..7], ["main", "1/10000", "1", "10", "9", "5", "3"], "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let link =
            |name: &str, connected| FleetLink { name: name.to_owned(), connected, error: Some("gone".to_owned()) };
        let fleet = Fleet {
            state: "divided".to_owned(),
            instances: 3,
            error: Some("no\u{1b} answer".to_owned()),
            links: vec![link("bans", true), link("chat:rooms", false)],
        };
        let text = render(&Status { fleet: Some(fleet), ..status.clone() }, 80);
        assert!(
            text.contains("\nfleet: divided, 3 instances: no\\u001B answer\nfleet link chat:rooms is down: gone\n\n"),
            "{text}"
        );
        let text = render(&status, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("tcp://[2001:db8:1111:2222:3333:4444:5555:6666]:443"), "{text}");
    }
}
