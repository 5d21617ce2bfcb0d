//! The views of the dashboard in a real browser: history, listener, sorted tables, reload with differences, drain, and
//! both widths.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use harness::root;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::page::{client, operated};

const ENTER: &str = "\u{e007}";
const PAGE_UP: &str = "\u{e00e}";
const HOME: &str = "\u{e011}";
const LEFT: &str = "\u{e012}";

/// Serves the dashboard with the history of an hour: in its middle, connections close by errors for a minute.
fn simulated_hour() -> String {
    fn reply(path: &str) -> (&'static str, String) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let rows =
            |row: fn(u64) -> u64| if query.contains("seconds") { (1..=3600).map(row).collect() } else { vec![0; 60] };
        let (zeros, errors) = (rows(|_| 0), rows(|second| if (1800..1860).contains(&second) { 5 } else { 0 }));
        let columns = json!({
            "open": rows(|_| 3), "accepted": errors, "messages": rows(|_| 10), "failed": zeros, "rejected": zeros,
            "errors": errors, "bytes_in": zeros, "bytes_out": zeros, "p50_micros": rows(|_| 10), "p99_micros": rows(|_| 20_000_000),
        });
        let body = match path {
            "/" => return ("text/html", fs::read_to_string(root().join("bin/page/dist/index.html")).unwrap()),
            "/status" => json!({
                "version": "0", "pid": 1, "host": "simulated", "uptime_seconds": 3600.5, "phase": "running",
                "drain": { "announce_seconds": 0, "deadline_seconds": 30, "seconds_left": null }, "listeners": [],
                "bans": { "active": 0, "entries": 100_000, "file": null, "file_error": null },
            }),
            "/history" => json!({
                "pid": 1, "listener": null, "step_seconds": if query.contains("seconds") { 1 } else { 60 },
                "last": if query.contains("seconds") { 3600 } else { 60 }, "last_time": 1_790_000_000, "columns": columns,
            }),
            "/reasons" => json!([{ "reason": "idle", "sentence": "", "is_failure": false }]),
            _ => json!({ "connections": [], "next": null }),
        };
        ("application/json", body.to_string())
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for io in listener.incoming() {
            let mut io = BufReader::new(io.unwrap());
            let (mut request, mut line) = (String::new(), String::new());
            let _ = io.read_line(&mut request);
            while io.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            let Some(path) = request.split(' ').nth(1) else { continue };
            let (kind, body) = reply(path);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = io.get_mut().write_all((head + &body).as_bytes());
        }
    });
    url
}

#[test]
fn a_page_that_is_opened_after_an_incident_shows_it() {
    let url = simulated_hour();
    let Some(browser) = Browser::open(&url) else { return };
    let label = |chart: u32| {
        format!("document.querySelector('#charts figure:nth-child({chart}) .plot').getAttribute('aria-label')")
    };
    browser.until("the last minutes are quiet", &format!("{}?.endsWith('closed by error 0')", label(6)));
    browser.click("[data-seconds='3600']");
    browser.until("the hour has the incident", &format!("{}.endsWith('closed by error 5.0')", label(6)));
    assert_eq!(
        browser.text("#charts figure:nth-child(6) output").replace('\u{a0}', " "),
        "failed 0 · closed by error 0"
    );
    // The lowest and the highest bucket of the histogram are shown as what they are.
    let latency = browser.text("#charts figure:nth-child(4) output");
    assert_eq!(latency, "p50 < 10 µs · p99 > 10 s");
    // Keys: half an hour back, values at the cursor, and back to the present.
    browser.run_script("document.querySelector('#charts figure:nth-child(6) .plot').focus()");
    browser.press(&[PAGE_UP]);
    browser.until("the range is in the past", "document.querySelector('#range-text').innerText.includes(' to ')");
    browser.until(
        "the highest value is shown",
        "document.querySelector('#charts figure:nth-child(6) output').innerText.startsWith('max ')",
    );
    browser.press(&[LEFT, LEFT]);
    browser.until(
        "a value has its time",
        "/^\\d\\d:\\d\\d:\\d\\d: /.test(document.querySelector('#charts figure:nth-child(6) output').innerText)",
    );
    browser.press(&[HOME]);
    browser.until(
        "the range follows the present",
        "document.querySelector('#range-text').innerText.includes('last 5 min')",
    );
    // The mouse selects the half of the hour with the incident. Its data can be saved.
    browser.click("[data-seconds='3600']");
    browser.until("the hour is shown", "document.querySelector('#range-text').innerText.endsWith('last 1 h')");
    browser.drag("#charts figure:nth-child(6) .u-over", 0.4, 0.9);
    browser.until("half an hour is selected", "document.querySelector('#range-text').innerText.includes(' to ')");
    let csv = browser.download("#chart-downloads button[aria-label$='CSV']", "switchboard-history.csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let header = "time,open,messages_per_second,failed_per_second,accepted_per_second,rejected_per_second,\
                  closed_by_error_per_second,bytes_in_per_second,bytes_out_per_second,p50_seconds,p99_seconds";
    assert_eq!(rows[0].join(","), header);
    assert_eq!(rows[1][9..], ["0.00001", "20"]);
    assert!((1700..1900).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows.iter().filter(|row| row[6] == "5").count(), 60, "{csv}");
    assert_eq!(browser.run_script("return document.title"), "simulated · Switchboard");
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn tables_are_sorted_by_keyboard_and_fit_both_widths() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let _clients = [client(&server), client(&server), client(&server)];
    let Some(browser) = Browser::open(&url) else { return };
    browser.until(
        "the connections are listed",
        "document.querySelectorAll('#connections tbody button.danger').length == 3",
    );
    let ids = "[...document.querySelectorAll('#connections tbody th')].map((cell) => Number(cell.textContent))";
    browser.until("the newest is first", &format!("{ids}[0] > {ids}[2]"));
    browser.run_script("document.querySelector('#connections thead button').focus()");
    browser.press(&[ENTER]);
    browser.until("the oldest is first", &format!("{ids}[0] < {ids}[2]"));
    browser.until(
        "the order is announced",
        "document.querySelector('#connections thead th').getAttribute('aria-sort') == 'ascending'",
    );
    browser.until("the focus stays", "document.activeElement.closest('thead')");
    for width in [1280, 390] {
        browser.resize(width, 844);
        for view in ["#/", "#/listener/main", "#/bans", "#/log", "#/configuration"] {
            browser.go(view);
            browser.until("the view is shown", "!document.querySelector(`[data-title=\"${location.hash.split('/')[1] || 'overview'}\"]`).closest('[hidden]')");
            let sideways = browser.run_script("return document.documentElement.scrollWidth > innerWidth");
            assert_eq!(sideways, false, "{view} at {width}");
            let wide_tables = "[...document.querySelectorAll('.table-scroll')]\
                .filter((region) => region.scrollWidth > region.clientWidth).map((region) => region.innerText)";
            browser.until("every table fits", &format!("{wide_tables}.length == 0"));
        }
    }
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn the_page_of_a_listener_shows_the_chain_limits_and_closed_connections() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let mut bad = client(&server);
    bad.get_mut().write_all(&vec![b'x'; 100_000]).unwrap();
    bad.read_to_end(&mut Vec::new()).unwrap_or_default();
    let Some(browser) = Browser::open(&format!("{url}#/listener/main")) else { return };
    let has = |id: &str, text: &str| format!("document.querySelector('{id}').innerText.includes({text:?})");
    browser.until("the chain is shown", &has("#chain", "lines, at most 64KiB; 1 closed by invalid messages"));
    browser.until("the limits are shown", &has("#settings", "limits.connections"));
    browser.until(
        "the close reason has its meaning",
        &has("#listener-reasons", "Error: A message was larger than limits.frame."),
    );
    browser.until("the closed connection is shown", &has("#closed", "a message is larger than 65536 bytes"));
    browser.until("the title names the listener", "document.title.startsWith('main · ')");
    browser.go("#/listener/nobody");
    browser.until("an unknown listener is reported", "!document.querySelector('#listener-missing').hidden");
    browser.go("#/");
    browser.until("the errors are not hidden behind failed messages", &has("#listeners tbody", "main"));
    browser.until("they are counted", &has("#rejections", "connection closed by an error"));
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn a_reload_shows_the_difference_first_and_a_drain_its_progress_and_end() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let file = place.path().join("switchboard.toml");
    let mut busy = client(&server);
    let _idle = client(&server);
    busy.get_mut().write_all(b"A").unwrap();
    let Some(browser) = Browser::open(&url) else { return };
    browser.until("the server is running", "document.querySelector('#phase').innerText == 'running'");
    let changed = fs::read_to_string(&file).unwrap() + "limits.connections = 5\n";
    fs::write(&file, changed).unwrap();
    browser.click("#reload");
    browser.until("the difference is shown", "document.querySelector('#reload-dialog').open");
    let keys = browser.text("#reload-keys");
    assert!(keys.starts_with("listeners.main.limits.connections: 10000 → 5 (switchboard.toml, line"), "{keys}");
    browser.click("#reload-dialog button[value=cancel]");
    assert!(!server.log().iter().any(|event| event["message"] == "reloaded"));
    browser.click("#reload");
    browser.click("#reload-dialog button[value=reload]");
    browser.until(
        "the change is reported",
        "document.querySelector('#notification').innerText.includes('1 listener changed, 0 started, 0 stopped')",
    );
    browser.click("#drain");
    let question = browser.text("#drain-question");
    assert!(question.contains("2 clients on 1 listener") && question.contains("at most 10 min"), "{question}");
    browser.click("#drain-dialog button[value=drain]");
    browser.until(
        "the progress is shown",
        "/1 client left\\. The rest is aborted in \\d+ min/.test(document.querySelector('#drain-text').innerText)",
    );
    busy.get_mut().write_all(b"da\n").unwrap();
    busy.get_ref().shutdown(Shutdown::Write).unwrap();
    busy.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(server.wait().code(), Some(0));
    browser.until(
        "the result is shown",
        "document.querySelector('#unreachable').innerText == \
         'The server has drained and stopped: 2 connections finished or closed, none was aborted.'",
    );
    assert_eq!(browser.text("#phase"), "stopped");
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn an_evacuation_shows_a_preview_its_progress_and_its_result() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let _clients: Vec<_> = (0..100).map(|_| client(&server)).collect();
    let Some(browser) = Browser::open(&url) else { return };
    browser.until("the server is running", "document.querySelector('#phase').innerText == 'running'");
    browser.click("#evacuate");
    let previews = |text: &str| format!("document.querySelector('#evacuation-preview').innerText.startsWith({text:?})");
    browser.until("the preview is shown", &previews("Closes 30 of 100 connections within < 1 s."));
    let enter = |name: &str, value: &str| {
        browser.fill(&format!("#evacuation-{name}"), value);
        browser.run_script(&format!("document.querySelector('#evacuation-{name}').dispatchEvent(new Event('input'))"));
    };
    enter("source", "nowhere");
    browser.until("the error is shown", &previews("invalid query: source: "));
    assert_eq!(browser.run_script("return document.querySelector('#evacuation-confirm').disabled"), true);
    enter("source", "127.0.0.0/8");
    enter("listener", "main");
    enter("rate", "40");
    enter("share", "80");
    browser.until("the preview follows", &previews("Closes 80 of 100 connections within 2 s."));
    browser.click("#evacuation-confirm");
    let has = |id: &str, text: &str| format!("document.querySelector('{id}').innerText.includes({text:?})");
    browser.until("the progress is shown", &has("#evacuation-text", " of 80 connections closed."));
    browser.until("the result is shown", &has("#notification", "Evacuation finished: 80 of 80 connections closed."));
    enter("rate", "1");
    browser.click("#evacuate");
    browser.until("the dialog is open", "document.querySelector('#evacuation-dialog').open");
    browser.click("#evacuation-confirm");
    browser.until("it begins", "!document.querySelector('#evacuation-progress').hidden");
    browser.click("#evacuation-cancel");
    browser.until("it is cancelled", "document.querySelector('#evacuation-progress').hidden");
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn the_page_follows_a_restarted_server() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let Some(browser) = Browser::open(&url) else { return };
    browser.until("the server is running", "document.querySelector('#phase').innerText == 'running'");
    let admin = server.socket("admin");
    let first = server.id();
    drop(server);
    browser.until("the page reports it", "document.querySelector('#phase').innerText == 'unreachable'");
    let (server, _) = {
        let config = format!("[admin]\nlisten = 'tcp://{admin}'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\n");
        fs::write(place.path().join("switchboard.toml"), config).unwrap();
        let server = harness::Program::switchboard().current_dir(place.path()).spawn();
        (server, ())
    };
    browser.until("the page shows the new process", "document.querySelector('#phase').innerText == 'running'");
    assert_ne!(first, server.id());
    assert!(browser.text("#process").contains(&format!("process {}", server.id())));
    assert!(TcpStream::connect(admin).is_ok());
    browser.until("the notice is gone", "document.querySelector('#unreachable').hidden");
}

#[test]
fn bans_are_added_listed_and_removed() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let mut victim = client(&server);
    let Some(browser) = Browser::open(&format!("{url}#/bans")) else { return };
    let text = |id: &str| format!("document.querySelector('{id}').innerText");
    browser.until("there is no ban", &format!("{}.includes('No bans.')", text("#bans")));
    browser.until("the memory is named", &format!("{}.includes('Only in memory')", text("#ban-count")));
    browser.fill("#ban-network", "127.0.0.0/30");
    browser.fill("#ban-duration", "long");
    browser.click("#ban-form button");
    browser.until("an error is shown", &format!("{}.includes('is not a duration')", text("#notification")));
    browser.fill("#ban-duration", "10m");
    browser.fill("#ban-reason", "<b>scan</b>");
    browser.click("#ban-form button");
    browser.until(
        "the ban is confirmed",
        &format!("{}.includes('Banned 127.0.0.0/30 for 10 min')", text("#notification")),
    );
    browser.until("the ban is listed", &format!("{}.includes('<b>scan</b>')", text("#bans tbody")));
    assert_eq!(victim.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    browser.click("#bans tbody button");
    browser.until("the ban is removed", &format!("{}.includes('No bans.')", text("#bans")));
    client(&server);
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}
