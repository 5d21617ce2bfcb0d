//! The dashboard in a real browser: live charts and tables, kill, reload, token, log level and drain.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use harness::{Program, Running, TEST_TIMEOUT, root, tool};
use serde_json::Value;

use crate::browser::{Browser, PATIENCE};

pub(crate) fn operated(place: &std::path::Path, admin: &str) -> (Running, String) {
    // The times are longer than a starved browser needs for its next step.
    let config = format!(
        "drain.deadline = '10m'\ntimeouts.frame = '10m'\n[admin]\nlisten = 'tcp://127.0.0.1:0'\n{admin}\n\
         [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n"
    );
    fs::write(place.join("switchboard.toml"), config).unwrap();
    let server = Program::switchboard().current_dir(place).spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let url = format!("http://{}/", server.socket("admin"));
    (server, url)
}

pub(crate) fn client(server: &Running) -> BufReader<TcpStream> {
    let io = TcpStream::connect(server.socket("main")).unwrap();
    io.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = BufReader::new(io);
    client.read_line(&mut String::new()).unwrap();
    client
}

#[test]
fn the_page_is_one_document_with_a_strict_content_security_policy() {
    let place = tempfile::tempdir().unwrap();
    let (server, _) = operated(place.path(), "");
    let mut io = TcpStream::connect(server.socket("admin")).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io.write_all(b"GET / HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    for part in [
        "200 OK",
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
    for elsewhere in ["src=\"", "http://", "https://", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(page.len() <= 120 * 1024, "{}", page.len());
}

#[test]
fn the_page_is_built_from_the_current_sources() {
    let Some(sum) = tool("sha256sum") else { return };
    let page = root().join("bin/page");
    let mut modules: Vec<_> = fs::read_dir(page.join("src")).unwrap().map(|file| file.unwrap().path()).collect();
    modules.sort();
    let first = ["index.html", "style.css", "build.mjs", "package-lock.json"].map(|file| page.join(file));
    let sources: Vec<u8> = first.iter().chain(&modules).flat_map(|file| fs::read(file).unwrap()).collect();
    let output = Program::at(&sum).input(sources).run().stdout;
    let sources = output.split(' ').next().unwrap();
    let built = fs::read_to_string(page.join("dist/index.html")).unwrap();
    assert!(built.contains(&format!("sources {sources}.")), "npm ci && npm run build in bin/page, for {sources}");
}

#[test]
fn the_page_shows_live_load_and_removes_a_killed_connection() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "");
    let mut victim = client(&server);
    let mut busy = client(&server);
    let Some(browser) = Browser::open(&url) else { return };
    browser.until("the server is running", "document.querySelector('#phase').innerText == 'running'");
    browser.until(
        "both connections are listed",
        "document.querySelectorAll('#connections tbody button.danger').length == 2",
    );
    let ends = Arc::new(AtomicBool::new(false));
    let talk = thread::spawn({
        let ends = ends.clone();
        move || {
            while !ends.load(SeqCst) {
                busy.get_mut().write_all(b"Ada\n").unwrap();
                busy.read_line(&mut String::new()).unwrap();
            }
            busy
        }
    });
    let now = "document.querySelector('#charts figure output').innerText";
    browser.until("messages are counted", &format!("parseFloat({now}.replace(/,/g, '')) > 50"));
    let label = "document.querySelector('#charts .plot').getAttribute('aria-label')";
    browser
        .until("the label for screen readers is updated", &format!("/Messages per second: now [1-9]/.test({label})"));
    browser.until("all charts are drawn", "document.querySelectorAll('#charts canvas').length == 6");
    ends.store(true, SeqCst);
    let _busy = talk.join().unwrap();
    // Kills the silent connection.
    let peer = victim.get_ref().local_addr().unwrap().to_string();
    browser.fill("#filter", &peer);
    browser.run_script("document.querySelector('#filter').dispatchEvent(new Event('input'))");
    browser
        .until("one connection matches", "document.querySelectorAll('#connections tbody button.danger').length == 1");
    browser.click("#connections tbody button.danger");
    browser.until(
        "the connection is closed",
        "document.querySelector('#connections tbody').innerText.includes('No matches')",
    );
    assert_eq!(victim.read_to_end(&mut Vec::new()).unwrap(), 0);
    browser
        .until("the reply is shown", "document.querySelector('#notification').innerText.includes('is being closed')");
    browser
        .until("the close reason is counted", "document.querySelector('#close-reasons').innerText.includes('killed')");
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}

#[test]
fn the_buttons_reload_and_drain_and_prompt_for_the_token() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), "token = 'hunter2'");
    let Some(browser) = Browser::open(&url) else { return };
    browser.until("the server is running", "document.querySelector('#phase').innerText == 'running'");
    assert_eq!(browser.run_script("return document.querySelector('#token-form').hidden"), true);
    browser.click("#reload");
    browser.until("the token is asked for", "!document.querySelector('#token-form').hidden");
    browser.fill("#token", "hunter2");
    browser.click("#token-form button");
    browser.until("the dry run is shown", "document.querySelector('#reload-dialog').open");
    assert!(browser.text("#reload-summary").starts_with("No key differs"));
    browser.click("#reload-dialog button[value=reload]");
    browser
        .until("it reloads", "document.querySelector('#notification').innerText.startsWith('Configuration reloaded')");
    let good = fs::read_to_string(place.path().join("switchboard.toml")).unwrap();
    fs::write(place.path().join("switchboard.toml"), good + "handler = 'hallo'\n").unwrap();
    browser.click("#reload");
    browser.until("the error is shown", "document.querySelector('#notification li')?.innerText.includes('\"hallo\"')");
    browser.go("#/log");
    browser.until("the log is shown", "document.querySelector('#log-lines').innerText.includes('reloaded')");
    browser.fill("#log-level", "debug");
    browser.click("#log-level-form button");
    browser.until("the level is set", "document.querySelector('#notification').innerText == 'Log level set to debug'");
    browser.fill("#log-level", "loud");
    browser.click("#log-level-form button");
    browser
        .until("an invalid level is rejected", "document.querySelector('#notification').classList.contains('error')");
    let _held = client(&server);
    browser.click("#drain");
    browser.click("#drain-dialog button[value=cancel]");
    browser.click("#drain");
    browser.click("#drain-dialog button[value=drain]");
    server.wait_for_event(|event| event["message"] == "draining");
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
    assert_eq!(server.wait().code(), Some(0));
    browser.until("the end is shown", "document.querySelector('#phase').innerText == 'stopped'");
    let end = browser.text("#unreachable");
    assert!(end.starts_with("The server has drained and stopped: 1 connection"), "{end}");
}
