//! The gateway as what it is: a process that can be killed at any moment.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::{PATIENCE, eventually};

/// Lines of the log that a failing test shows.
const SHOWN: usize = 60;

/// A running `posthorn serve`. Dropping it kills it, and shows its log when the test failed.
pub struct Process {
    child: Child,
    log: Arc<Log>,
    ended: Option<ExitStatus>,
}

/// What the process wrote to stderr.
struct Log {
    file: PathBuf,
    lines: Mutex<Vec<String>>,
    /// How many lines there are; the end of the file closes it.
    grown: watch::Sender<usize>,
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Process {
    /// Starts `posthorn serve`. `listen` overrides the configuration's address; `log` takes
    /// stderr.
    pub fn spawn(config: &Path, listen: SocketAddr, log: PathBuf) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_posthorn"))
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env("POSTHORN__SERVER__LISTEN", listen.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built gateway can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log =
            Arc::new(Log { file: log, lines: Mutex::default(), grown: watch::Sender::new(0) });
        let writer = log.clone();
        // Ends with the process: then the pipe is closed.
        std::thread::spawn(move || follow(stderr, &writer));
        Process { child, log, ended: None }
    }

    /// Waits until it listens and answers where, or fails with its log when it ended instead.
    pub async fn address(&mut self) -> SocketAddr {
        let line = self.logged("\"listening\"").await;
        let line: Value = serde_json::from_str(&line).expect("logs are JSON");
        let address = line["address"].as_str().expect("the line has the address");
        address.parse().expect("the address is one")
    }

    /// Waits for a line of its log that holds `text`.
    pub async fn logged(&mut self, text: &str) -> String {
        let mut grown = self.log.grown.subscribe();
        let found = async {
            loop {
                let known = self.log.lines();
                if let Some(line) = known.iter().find(|line| line.contains(text)) {
                    return Some(line.clone());
                }
                if *grown.borrow_and_update() == usize::MAX {
                    return None;
                }
                grown.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.unwrap_or_else(|_| panic!("the gateway never logged {text}"));
        found.unwrap_or_else(|| panic!("the gateway ended and never logged {text}"))
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.ended = Some(self.child.wait().expect("a child of ours can be waited for"));
    }

    /// Asks it to drain with SIGTERM, and waits for its end.
    pub async fn term(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.exit().await
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> ExitStatus {
        let ended = eventually("the gateway ends", async || {
            self.child.try_wait().expect("a child of ours can be waited for")
        });
        let status = ended.await;
        self.ended = Some(status);
        eventually("its log is read to the end", async || {
            (*self.log.grown.borrow() == usize::MAX).then_some(())
        })
        .await;
        status
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").arg("-c").arg(kill).status();
        assert!(sent.is_ok_and(|status| status.success()), "could not send SIG{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Already gone is as good as killed.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        let lines = self.log.lines();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ({}), its end:", self.log.file.display());
            lines.iter().rev().take(SHOWN).rev().for_each(|line| eprintln!("{line}"));
        } else {
            let panicked = lines.iter().find(|line| line.contains("panicked at"));
            assert!(panicked.is_none(), "the gateway panicked: {panicked:?}");
        }
    }
}

fn follow(stderr: impl std::io::Read, log: &Log) {
    let mut file = File::options().create(true).append(true).open(&log.file).ok();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(file) = &mut file {
            // The copy in memory is what tests read; the file is for people.
            writeln!(file, "{line}").ok();
        }
        log.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        log.grown.send_modify(|count| *count += 1);
    }
    log.grown.send_replace(usize::MAX);
}
