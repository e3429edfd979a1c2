//! What every row plays on: a sandbox and a gateway, each a process of its own, with phones.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Client, request};
use crate::process::Process;
use crate::sender::Told;

pub(crate) const JSON: &str = "application/json";
/// Longer than any row takes to drain.
const PATIENCE: Duration = Duration::from_secs(120);
const POSTHORN: &str = env!("CARGO_BIN_EXE_posthorn");

/// The vendors' simulators and the configuration that fits them.
pub(crate) struct Sandbox {
    _process: Process,
    control: SocketAddr,
    dir: TempDir,
    address: SocketAddr,
    server_key: String,
    admin_key: String,
}

impl Sandbox {
    pub(crate) fn start() -> anyhow::Result<Sandbox> {
        let dir = tempfile::Builder::new().prefix("posthorn-bench-").tempdir()?;
        let mut command = Command::new(POSTHORN);
        command.args(["sandbox", "--dir"]).arg(dir.path()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let stdout = process.child.stdout.take().context("no stdout")?;
        let mut control = String::new();
        let mut told = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(url) = line.strip_prefix("control API  http://") {
                control = url.to_owned();
            }
            if line.starts_with("gateway") {
                told = line;
                break;
            }
        }
        anyhow::ensure!(!told.is_empty(), "the sandbox did not start");
        let config: toml::Table =
            std::fs::read_to_string(dir.path().join("posthorn.toml"))?.parse()?;
        let text = |value: &toml::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Sandbox {
            _process: process,
            control: control.parse()?,
            address: text(&config["server"]["listen"]).parse()?,
            server_key: text(&config["apps"]["demo"]["server_keys"][0]),
            admin_key: text(&config["admin"]["key"]),
            dir,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a sender of its own process against this sandbox.
    pub(crate) fn run_sender(&self, kind: &str, count: usize) -> anyhow::Result<Told> {
        let output = Command::new(std::env::current_exe()?)
            .args(["sender", kind])
            .arg(self.dir())
            .arg(count.to_string())
            .stderr(Stdio::inherit())
            .output()?;
        anyhow::ensure!(output.status.success(), "the {kind} sender failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Adds phones of this vendor and returns their ids and tokens.
    pub(crate) async fn add_phones(
        &self,
        vendor: &str,
        count: usize,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let mut client = Client::connect(self.control).await?;
        let body = serde_json::json!({"vendor": vendor, "name": vendor}).to_string();
        let add = request("POST", "/phones", "", JSON, body.as_bytes());
        let mut phones = Vec::with_capacity(count);
        for _ in 0..count {
            let phone: Value = serde_json::from_slice(client.expect(&add).await?)?;
            let text = |key: &str| phone[key].as_str().unwrap_or_default().to_owned();
            phones.push((text("id"), text("token")));
        }
        Ok(phones)
    }

    /// Sets a fault of this vendor, or clears all.
    pub(crate) async fn fault(&self, fault: Option<(&str, &str)>) -> anyhow::Result<()> {
        let mut client = Client::connect(self.control).await?;
        let call = match fault {
            Some((vendor, mode)) => {
                let body = serde_json::json!({"mode": mode}).to_string();
                request("PUT", &format!("/faults/{vendor}"), "", JSON, body.as_bytes())
            }
            None => request("DELETE", "/faults", "", JSON, b""),
        };
        client.expect(&call).await?;
        Ok(())
    }

    /// What this phone shows or has shown: body and arrival in milliseconds since 1970.
    pub(crate) async fn screen(&self, phone: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let mut client = Client::connect(self.control).await?;
        let call = request("GET", &format!("/phones/{phone}"), "", JSON, b"");
        let phone: Value = serde_json::from_slice(client.expect(&call).await?)?;
        let pushes = |key: &str| phone[key].as_array().cloned().unwrap_or_default();
        let all = pushes("shown").into_iter().chain(pushes("replaced"));
        let one = |push: Value| {
            let body = push["body"].as_str().unwrap_or_default().to_owned();
            (body, push["received_at"].as_f64().unwrap_or(f64::NAN))
        };
        Ok(all.map(one).collect())
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) server_key: String,
    admin_key: String,
    /// From the start of the process to /readyz answering 200.
    pub(crate) ready_after: Duration,
}

impl Gateway {
    /// Starts a gateway on the store in `store`.
    pub(crate) async fn start(sandbox: &Sandbox, store: &Path) -> anyhow::Result<Gateway> {
        let mut command = Command::new(POSTHORN);
        command
            .args(["serve", "--log-plain", "--config"])
            .arg(sandbox.dir().join("posthorn.toml"))
            .env("POSTHORN__STORE__URL", format!("embedded:{}", store.display()))
            .env("POSTHORN_LOG", "warn");
        let started = Instant::now();
        let process = Process::start(&mut command)?;
        let ready = request("GET", "/readyz", "", JSON, b"");
        loop {
            if let Ok(mut client) = Client::connect(sandbox.address).await
                && client.expect(&ready).await.is_ok()
            {
                break;
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "the gateway does not get ready");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Gateway {
            process,
            address: sandbox.address,
            server_key: sandbox.server_key.clone(),
            admin_key: sandbox.admin_key.clone(),
            ready_after: started.elapsed(),
        })
    }

    /// Registers one device a user: `PREFIX0`, `PREFIX1`, …
    pub(crate) async fn register(
        &self,
        lane: &str,
        prefix: &str,
        phones: &[(String, String)],
    ) -> anyhow::Result<()> {
        let registration = |at: usize, token: &str| {
            let body = serde_json::json!({
                "user_id": format!("{prefix}{at}"), "lane": lane, "token": token,
                "locale": "zh-Hans-CN", "time_zone": "Asia/Shanghai",
            });
            let path = format!("/v1/devices/{prefix}{at}-phone");
            request("PUT", &path, &self.server_key, JSON, body.to_string().as_bytes())
        };
        let calls =
            phones.iter().enumerate().map(|(at, (_, token))| registration(at, token)).collect();
        crate::load::feed(self.address, calls, 64).await.map(drop)
    }

    /// The sum of a metric's values over the lines that hold all of `words`.
    pub(crate) async fn metric(&self, name: &str, words: &[&str]) -> anyhow::Result<f64> {
        let mut client = Client::connect(self.address).await?;
        let call = request("GET", "/metrics", &self.admin_key, JSON, b"");
        let page = String::from_utf8(client.expect(&call).await?.to_vec())?;
        let fits =
            |line: &&str| line.starts_with(name) && words.iter().all(|word| line.contains(word));
        let value = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok());
        Ok(page.lines().filter(fits).filter_map(value).sum())
    }

    pub(crate) async fn sent(&self) -> anyhow::Result<f64> {
        self.metric("posthorn_verdicts_total", &["class=\"sent\""]).await
    }

    /// Waits until `count` pushes have the verdict `sent`.
    pub(crate) async fn wait_sent(&self, count: f64) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let sent = self.sent().await?;
            if sent >= count {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let all = self.metric("posthorn_verdicts_total", &[]).await?;
                anyhow::bail!("{sent} of {count} pushes sent; {all} verdicts");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sandbox, gateway and phones, torn down in order.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) sandbox: Sandbox,
    pub(crate) apns: Vec<(String, String)>,
    pub(crate) huawei: Vec<(String, String)>,
}

impl Stage {
    /// `apns` users `a0`… and `huawei` users `h0`…, a phone each.
    pub(crate) async fn set(apns: usize, huawei: usize) -> anyhow::Result<Stage> {
        let sandbox = Sandbox::start()?;
        let store: PathBuf = sandbox.dir().join("store");
        let gateway = Gateway::start(&sandbox, &store).await?;
        let apns = sandbox.add_phones("apns", apns).await?;
        let huawei = sandbox.add_phones("huawei", huawei).await?;
        gateway.register("apns", "a", &apns).await?;
        gateway.register("huawei", "h", &huawei).await?;
        let tokens: Vec<&str> = apns.iter().map(|(_, token)| token.as_str()).collect();
        std::fs::write(sandbox.dir().join("apns-tokens"), tokens.join("\n"))?;
        Ok(Stage { gateway, sandbox, apns, huawei })
    }
}
