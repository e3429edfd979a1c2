//! `posthorn demo`: sandbox and gateway in one process on a temporary store, alice, bob, and bob's
//! phones. With `--once` a scripted scene whose exit code says whether every phone rang right.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use posthorn_vendors::VENDORS;
use posthorn_vendors::sandbox::phones::Phone;
use posthorn_vendors::sandbox::{Sandbox, SandboxConfig, WriteAs, WriteHook};
use posthorn_wire as wire;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Gateway as Client;
use super::{Failure, block_on, log, stop_signal, table};
use crate::app::Gateway;
use crate::config::{self, Config};
use crate::model::{Clock, Millis, SystemClock};

/// How long the scripted scene waits for the phones.
const PATIENCE: Duration = Duration::from_secs(10);
/// A picture without a network: what the phones page draws for alice.
const AVATAR: &str = "https://avatars.example.com/alice.png";
const NICKNAME: &str = "Alice";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Play one scene, print what every phone shows, and exit 0 only if all is right
    #[arg(long)]
    once: bool,
    /// Print JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// The console's port; a free one by default
    #[arg(long, default_value_t = 0)]
    port: u16,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    log(false, "warn");
    block_on(async {
        let demo = Demo::start(arguments.port).await?;
        let played =
            if arguments.once { demo.play(arguments.json).await } else { demo.show().await };
        demo.end().await;
        played
    })
}

/// A sandbox, a gateway over it, and whoever calls the gateway.
struct Demo {
    sandbox: Sandbox,
    gateway: Gateway,
    client: Arc<Client>,
    phones: Vec<Phone>,
    /// Removed when the demo ends.
    _directory: tempfile::TempDir,
}

impl Demo {
    async fn start(port: u16) -> Result<Demo, Failure> {
        let failed = |err: std::io::Error| Failure::Failed(format!("no temporary store: {err}"));
        let directory =
            tempfile::Builder::new().prefix("posthorn-demo").tempdir().map_err(failed)?;
        let client: Arc<OnceLock<Arc<Client>>> = Arc::default();
        let sandbox = Sandbox::start(SandboxConfig {
            listen: ([127, 0, 0, 1], port).into(),
            write: Some(write_hook(client.clone())),
            ..SandboxConfig::default()
        });
        let sandbox = sandbox.await.map_err(|err| Failure::Failed(err.to_string()))?;
        let config = gateway_config(&sandbox, directory.path())?;
        let key = config.apps.first().and_then(|app| app.keys.server_keys.first()).cloned();
        let gateway = Gateway::start(config).await?;
        let caller = Arc::new(Client::at(gateway.address, key)?);
        if client.set(caller.clone()).is_err() {
            unreachable!("the hook's client is set once");
        }
        let phones = VENDORS
            .iter()
            .filter_map(|spec| sandbox.add_phone(spec.id, &format!("bob's {}", spec.name)))
            .collect();
        let demo = Demo { sandbox, gateway, client: caller, phones, _directory: directory };
        demo.introduce().await?;
        Ok(demo)
    }

    /// Alice's looks and bob's devices.
    async fn introduce(&self) -> Result<(), Failure> {
        let profile = json!({"nickname": NICKNAME, "avatar": AVATAR});
        self.call(Method::PUT, "/v1/users/alice/profile", &profile).await?;
        for phone in &self.phones {
            let device = json!({"user_id": "bob", "lane": phone.vendor, "token": phone.token});
            self.call(Method::PUT, &format!("/v1/devices/{}", phone.id), &device).await?;
        }
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<(), Failure> {
        self.client.send(method, path, body).await
    }

    async fn end(self) {
        self.gateway.drain().await;
        self.sandbox.shutdown().await;
    }

    /// Until Ctrl-C: the console's address and a line for whatever a phone shows.
    async fn show(&self) -> Result<(), Failure> {
        say!("Open  {}/console/phones", self.sandbox.control_url());
        say!("      bob's phones, and a box to write to him as alice\n");
        say!("The gateway answers on http://{}; Ctrl-C ends everything.\n", self.gateway.address);
        say(&self.client, "Hi Bob, this is Posthorn").await.map_err(Failure::Failed)?;
        let mut told: HashMap<String, usize> = HashMap::new();
        let mut changes = self.sandbox.phones().watch();
        let mut stop = std::pin::pin!(stop_signal());
        loop {
            self.feed(&mut told);
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = &mut stop => {
                    say!("");
                    return Ok(());
                }
            }
        }
    }

    fn feed(&self, told: &mut HashMap<String, usize>) {
        for phone in &self.phones {
            let Some(phone) = self.sandbox.phones().get(&phone.id) else { continue };
            let seen = phone.screen.shown.len() + phone.screen.replaced.len();
            if told.insert(phone.id.clone(), seen) == Some(seen) {
                continue;
            }
            if let Some(shown) = phone.screen.shown.last() {
                say!("{:<18} {}: {}", phone.name, shown.title, shown.body);
            }
        }
    }

    /// Alice writes once; every phone must show it once, with her nickname.
    async fn play(&self, as_json: bool) -> Result<(), Failure> {
        let started = SystemClock.now();
        say(&self.client, "Are you free for lunch at 12:30?").await.map_err(Failure::Failed)?;
        let give_up = Instant::now() + PATIENCE;
        let mut changes = self.sandbox.phones().watch();
        while !self.all_rang() && Instant::now() < give_up {
            let left = give_up - Instant::now();
            // A time-out ends the loop by its condition.
            drop(tokio::time::timeout(left, changes.changed()).await);
        }
        let rows: Vec<Rang> =
            self.phones.iter().filter_map(|phone| self.rang(phone, started)).collect();
        if as_json {
            say!("{}", json!(rows.iter().map(Rang::json).collect::<Vec<_>>()));
        } else {
            let cells: Vec<Vec<String>> = rows.iter().map(Rang::cells).collect();
            table::print(&["vendor", "shown", "title", "accept→shown ms"], &cells);
        }
        if rows.len() == VENDORS.len() && rows.iter().all(Rang::is_right) {
            Ok(())
        } else {
            Err(Failure::Failed("not every phone shows exactly one notification from Alice".into()))
        }
    }

    fn all_rang(&self) -> bool {
        self.phones.iter().all(|phone| {
            self.sandbox.phones().get(&phone.id).is_some_and(|p| !p.screen.shown.is_empty())
        })
    }

    fn rang(&self, phone: &Phone, started: Millis) -> Option<Rang> {
        let phone = self.sandbox.phones().get(&phone.id)?;
        let first = phone.screen.shown.first();
        Some(Rang {
            vendor: phone.vendor,
            shown: phone.screen.shown.len(),
            title: first.map(|shown| shown.title.clone()).unwrap_or_default(),
            after_ms: first.map(|shown| shown.received_at.saturating_sub(started.0)),
        })
    }
}

/// What one phone came to show.
struct Rang {
    vendor: &'static str,
    shown: usize,
    title: String,
    after_ms: Option<u64>,
}

impl Rang {
    fn is_right(&self) -> bool {
        // Where a vendor forbids a title that is only a nickname, the nickname stands in it.
        self.shown == 1 && self.title.contains(NICKNAME)
    }

    fn cells(&self) -> Vec<String> {
        let after = self.after_ms.map_or("-".to_owned(), |ms| ms.to_string());
        vec![self.vendor.to_owned(), self.shown.to_string(), self.title.clone(), after]
    }

    fn json(&self) -> Value {
        json!({"vendor": self.vendor, "shown": self.shown, "title": self.title,
               "accept_to_shown_ms": self.after_ms})
    }
}

/// The sandbox's configuration, on a free port and a store of its own.
fn gateway_config(sandbox: &Sandbox, directory: &Path) -> Result<Config, Failure> {
    let overrides =
        HashMap::from([("POSTHORN__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned())]);
    config::parse(&sandbox.config_text(), directory, &overrides).map_err(|faults| {
        let told: Vec<String> =
            faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect();
        Failure::Failed(format!("the sandbox's configuration is unsound: {}", told.join("; ")))
    })
}

/// What the box on the phones page does.
fn write_hook(client: Arc<OnceLock<Arc<Client>>>) -> WriteHook {
    Arc::new(move |written: WriteAs| {
        let client = client.get().cloned();
        Box::pin(async move {
            let client = client.ok_or("the gateway is still starting")?;
            say(&client, &written.text).await
        })
    })
}

/// Alice writes to bob; answers the event's id.
async fn say(client: &Client, text: &str) -> Result<String, String> {
    let now = SystemClock.now();
    let id = format!("demo-{}", jiff::Timestamp::now().as_microsecond());
    let event = json!({
        "id": id, "kind": "message", "to": ["bob"], "from": {"user_id": "alice"},
        "conversation": "c2c:alice:bob", "message": {"type": "text", "text": text},
        "sent_at": now.0, "badge": 1, "push": {"data": {"event_id": id}},
    });
    let answer: Result<Option<wire::Receipt>, Failure> =
        client.ask(Method::POST, "/v1/events", Some(&event)).await;
    match answer {
        Ok(_) => Ok(id),
        Err(Failure::Usage(why) | Failure::Failed(why)) => Err(why),
        Err(Failure::Told) => Err("the gateway did not take it".to_owned()),
    }
}
