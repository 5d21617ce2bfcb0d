//! The dashboard in a real browser: live charts and tables, kill, reload, token, log level and drain.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, free_port, root, tool};
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A browser is slow to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser controlled by WebDriver.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    fn open(url: &str) -> Option<Self> {
        let (chromium, driver) = (tool("chromium")?, tool("chromedriver")?);
        let port = free_port();
        let quiet = Stdio::null;
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .process_group(0) // Includes the browser, so that `drop` ends both.
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .spawn()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: String::new(), profile };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the driver does not start");
            thread::yield_now();
        }
        let place = format!("--user-data-dir={}", browser.profile.path().display());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &place,
        ];
        let options = json!({ "binary": chromium, "args": args });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let session = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser.ask("POST", &format!("{}/url", browser.session), &json!({ "url": url }));
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut io = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        io.write_all((head + &body).as_bytes()).unwrap();
        let (mut io, mut head) = (BufReader::new(io), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(io.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let lower = head.to_ascii_lowercase();
        let length =
            lower.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        io.read_exact(&mut body).unwrap();
        let mut value: Value = serde_json::from_slice(&body).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{value:#}");
        value["value"].take()
    }

    /// Runs a script in the page and returns its result.
    fn run_script(&self, script: &str) -> Value {
        self.ask("POST", &format!("{}/execute/sync", self.session), &json!({ "script": script, "args": [] }))
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.run_script(&script).as_str().unwrap().to_owned()
    }

    /// Waits until a script in the page returns true.
    #[track_caller]
    fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run_script(&format!("return !!({script})")) != Value::Bool(true) {
            assert!(Instant::now() < deadline, "{what}: {}", self.text("body"));
        }
    }

    /// Sends a real click. WebDriver fails if the element is not visible.
    fn click(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element = self.ask("POST", &format!("{}/element", self.session), &found);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask("POST", &format!("{}/element/{id}/click", self.session), &json!({}));
    }

    fn fill(&self, selector: &str, text: &str) {
        self.run_script(&format!("document.querySelector({selector:?}).value = {text:?}"));
    }

    /// Errors in the browser's console, violations of the Content-Security-Policy included. HTTP errors are ignored.
    fn console_errors(&self) -> Vec<Value> {
        let log = self.ask("POST", &format!("{}/se/log", self.session), &json!({ "type": "browser" }));
        let bad = |entry: &&Value| entry["level"] == "SEVERE" && entry["source"] != "network";
        log.as_array().unwrap().iter().filter(bad).cloned().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.driver.id().cast_signed()), Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}

fn operated(place: &std::path::Path, admin: &str) -> (Running, String) {
    let config = format!(
        "[admin]\nlisten = 'tcp://127.0.0.1:0'\n{admin}\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n"
    );
    fs::write(place.join("switchboard.toml"), config).unwrap();
    let server = Program::switchboard().current_dir(place).spawn();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let url = format!("http://{}/", server.socket("admin"));
    (server, url)
}

fn client(server: &Running) -> BufReader<TcpStream> {
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
    assert!(page.len() < 100_000, "{}", page.len());
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
    browser.until("both connections are listed", "document.querySelectorAll('#connections tbody button').length == 2");
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
    browser.until("one connection matches", "document.querySelectorAll('#connections tbody button').length == 1");
    browser.click("#connections tbody button");
    browser.until(
        "the connection is closed",
        "document.querySelector('#connections tbody').innerText.includes('No matches')",
    );
    assert_eq!(victim.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(browser.text("#notification").contains("is being closed"));
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
    browser
        .until("it reloads", "document.querySelector('#notification').innerText.startsWith('Configuration reloaded')");
    let good = fs::read_to_string(place.path().join("switchboard.toml")).unwrap();
    fs::write(place.path().join("switchboard.toml"), good + "handler = 'hallo'\n").unwrap();
    browser.click("#reload");
    browser.until("the error is shown", "document.querySelector('#notification li')?.innerText.includes('\"hallo\"')");
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
    browser.until(
        "the dashboard shows that the server is unreachable",
        "document.querySelector('#phase').innerText == 'unreachable'",
    );
}
