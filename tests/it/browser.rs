//! A browser that a test controls by WebDriver.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Signal, free_port, tool};
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A browser is slow to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A browser controlled by WebDriver.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn open(url: &str) -> Option<Self> {
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
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
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
        if head.starts_with("HTTP/1.1 200") { Ok(value["value"].take()) } else { Err(value["value"].take()) }
    }

    /// Runs a script in the page and returns its result.
    pub(crate) fn run_script(&self, script: &str) -> Value {
        self.ask("POST", &format!("{}/execute/sync", self.session), &json!({ "script": script, "args": [] }))
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.run_script(&script).as_str().unwrap().to_owned()
    }

    /// Waits until a script in the page returns true.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run_script(&format!("return !!({script})")) != Value::Bool(true) {
            assert!(Instant::now() < deadline, "{what}: {}", self.text("body"));
        }
    }

    /// Sends a real click, when the element can be clicked.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element = self.ask("POST", &format!("{}/element", self.session), &found);
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        let path = format!("{}/element/{id}/click", self.session);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_ask("POST", &path, &json!({})) {
            let is_hidden = ["element not interactable", "element click intercepted"].map(Value::from);
            assert!(is_hidden.contains(&error["error"]) && Instant::now() < deadline, "{selector}: {error:#}");
        }
    }

    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.run_script(&format!("document.querySelector({selector:?}).value = {text:?}"));
    }

    /// Presses and releases keys in the focused element.
    pub(crate) fn press(&self, keys: &[&str]) {
        let presses: Vec<_> = keys
            .iter()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": presses }] });
        self.ask("POST", &format!("{}/actions", self.session), &actions);
    }

    /// Sets the size of the page, as of a telephone if it is narrow.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Drags from one part of the width of an element to another one.
    pub(crate) fn drag(&self, selector: &str, from: f64, to: f64) {
        let place = self.run_script(&format!(
            "const element = document.querySelector({selector:?}); element.scrollIntoView({{ block: 'center' }});
             const {{ left, top, width, height }} = element.getBoundingClientRect();
             return [left, top + height / 2, width]"
        ));
        let at = |index: usize| place[index].as_f64().unwrap();
        let x = |part: f64| (at(0) + part * at(2)).round();
        let move_to = |x: f64| json!({ "type": "pointerMove", "duration": 50, "x": x, "y": at(1).round() });
        let button = |action: &str| json!({ "type": action, "button": 0 });
        let steps = [move_to(x(from)), button("pointerDown"), move_to(x(to)), button("pointerUp")];
        let actions = json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": steps }] });
        self.ask("POST", &format!("{}/actions", self.session), &actions);
    }

    /// Clicks a button that saves a file, and returns its text.
    pub(crate) fn download(&self, selector: &str, name: &str) -> String {
        let place = self.profile.path().join("downloads");
        self.devtools("Browser.setDownloadBehavior", &json!({ "behavior": "allow", "downloadPath": place }));
        self.click(selector);
        let deadline = Instant::now() + PATIENCE;
        // The browser renames the file when it is complete.
        loop {
            if let Ok(text) = fs::read_to_string(place.join(name)) {
                return text;
            }
            assert!(Instant::now() < deadline, "{name} is not saved");
            thread::yield_now();
        }
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let command = json!({ "cmd": command, "params": parameters });
        self.ask("POST", &format!("{}/goog/cdp/execute", self.session), &command);
    }

    /// Goes to another view of the page.
    pub(crate) fn go(&self, hash: &str) {
        self.run_script(&format!("location.hash = {hash:?}"));
    }

    /// Errors in the browser's console, violations of the Content-Security-Policy included. HTTP errors are ignored.
    pub(crate) fn console_errors(&self) -> Vec<Value> {
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
