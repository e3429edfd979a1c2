//! The phones page, looked at in a real browser: headless Chromium behind chromedriver.

use std::io::{BufRead, BufReader};
use std::panic::AssertUnwindSafe;
use std::process::{Child, ChildStdout, Command, Stdio};

use futures_util::FutureExt as _;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{caller, eventually};

/// A process whose output is read line by line; ended with the test.
struct Talking {
    child: Child,
    /// Kept open: who writes to a closed pipe ends.
    lines: Option<std::io::Lines<BufReader<ChildStdout>>>,
}

impl Talking {
    fn start(program: &str, arguments: &[&str]) -> Talking {
        let mut command = Command::new(program);
        let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|err| panic!("{program} does not start: {err}"));
        let out = child.stdout.take().expect("its output is piped");
        Talking { child, lines: Some(BufReader::new(out).lines()) }
    }

    /// What follows `mark` in the first line that has it, up to a blank.
    async fn says(&mut self, mark: &'static str) -> String {
        let mut lines = self.lines.take().expect("read by one at a time");
        let read = tokio::task::spawn_blocking(move || {
            let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
                let (_, rest) = line.split_once(mark)?;
                rest.split_whitespace().next().map(str::to_owned)
            });
            (said, lines)
        });
        let (said, lines) = read.await.expect("reading does not panic");
        self.lines = Some(lines);
        said.unwrap_or_else(|| panic!("it ended without saying {mark:?}"))
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        // Gone already is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A browser window.
struct Window {
    http: Client,
    session: String,
}

impl Window {
    async fn open(driver: &str) -> Window {
        caller::install_tls();
        let http = Client::new();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = http.post(format!("{driver}/session")).json(&wanted).send().await;
        let answer: Value = answer.expect("chromedriver answers").json().await.expect("JSON");
        let id = answer["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("no browser: {answer}"));
        Window { http, session: format!("{driver}/session/{id}") }
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/{path}", self.session)).json(&body);
        let answer: Value =
            request.send().await.expect("chromedriver answers").json().await.expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    async fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", json!({"script": script, "args": []})).await
    }

    async fn close(self) {
        self.http.delete(&self.session).send().await.expect("chromedriver answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver, which tests/run installs"]
async fn the_phones_page_shows_what_alice_writes_on_every_phone() {
    let mut demo = Talking::start(env!("CARGO_BIN_EXE_posthorn"), &["demo"]);
    let url = demo.says("Open  ").await;
    let mut driver = Talking::start("chromedriver", &["--port=0"]);
    let port = driver.says("successfully on port ").await;
    let window = Window::open(&format!("http://127.0.0.1:{}", port.trim_end_matches('.'))).await;
    let looked = AssertUnwindSafe(look(&window, &url)).catch_unwind().await;
    // Whatever was seen: a browser outlives its driver.
    window.close().await;
    if let Err(panic) = looked {
        std::panic::resume_unwind(panic);
    }
}

async fn look(window: &Window, url: &str) {
    window.ask("url", json!({"url": url})).await;
    let phones = "return document.querySelectorAll('[data-vendor]').length";
    let vendors = posthorn_vendors::VENDORS.len() as u64;
    eventually("a phone of each vendor is drawn", async || {
        (window.run(phones).await.as_u64() == Some(vendors)).then_some(())
    })
    .await;
    let write = "const box = document.querySelector('#text'); box.value = '<u>lunch</u> 午饭 🍜'; \
                 box.form.requestSubmit();";
    window.run(write).await;
    let shown = "return [...document.querySelectorAll('[data-vendor]')] \
                 .filter(phone => phone.textContent.includes('lunch')).length";
    eventually("every phone shows it", async || {
        (window.run(shown).await.as_u64() == Some(vendors)).then_some(())
    })
    .await;
    // Texts are texts: no phone has made an element of one.
    assert_eq!(window.run("return document.querySelectorAll('[data-vendor] u').length").await, 0);
    let log = window.ask("se/log", json!({"type": "browser"})).await;
    let lines: Vec<&str> =
        log.as_array().into_iter().flatten().filter_map(|line| line["message"].as_str()).collect();
    // Alice's picture is on a host that does not exist; the page draws her initial instead.
    let faults: Vec<&&str> =
        lines.iter().filter(|line| !line.contains("avatars.example.com")).collect();
    assert!(faults.is_empty(), "the browser complains: {faults:?}");
}
