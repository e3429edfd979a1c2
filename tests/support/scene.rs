//! One test's world: a sandbox with phones, a directory, and gateways over them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use posthorn::app::Gateway;
use posthorn::config;
use posthorn_vendors::sandbox::phones::Phone;
use posthorn_vendors::sandbox::{Sandbox, SandboxConfig};
use tempfile::TempDir;
use toml::{Table, Value};

use super::caller::{Caller, install_tls};
use super::{Process, eventually};

pub const ANY_PORT: &str = "127.0.0.1:0";
/// The vendors that scenes put phones on: every one.
pub fn vendors() -> impl Iterator<Item = &'static str> {
    posthorn_vendors::VENDORS.iter().map(|spec| spec.id)
}

/// The world of one test; its directory goes with it.
pub struct Scene {
    pub sandbox: Sandbox,
    pub config: Table,
    directory: TempDir,
}

impl Scene {
    /// A sandbox and its configuration, the store in a directory of its own.
    pub async fn start() -> Scene {
        Scene::with(|_| {}).await
    }

    /// [`Scene::start`], the configuration changed by `edit`.
    pub async fn with(edit: impl FnOnce(&mut Table)) -> Scene {
        install_tls();
        let directory = tempfile::Builder::new().prefix("posthorn-it").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox starts");
        let mut config = sandbox.config().clone();
        edit(&mut config);
        let scene = Scene { sandbox, config, directory };
        std::fs::write(scene.config_file(), scene.config.to_string()).expect("a file is written");
        scene
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("posthorn.toml")
    }

    /// A gateway process on a free port; returns once it listens.
    pub async fn spawn(&self) -> (Process, Caller) {
        let mut process = self.spawn_on(ANY_PORT.parse().expect("an address"));
        let address = process.address().await;
        (process, self.caller(address))
    }

    /// A gateway process on this address, however it turns out.
    pub fn spawn_on(&self, listen: SocketAddr) -> Process {
        Process::spawn(&self.config_file(), listen, self.directory.path().join("gateway.log"))
    }

    /// A gateway in this process: quicker to start, cannot be killed.
    pub async fn gateway(&self) -> (Gateway, Caller) {
        let listen = HashMap::from([("POSTHORN__SERVER__LISTEN".to_owned(), ANY_PORT.to_owned())]);
        let config = config::parse(&self.config.to_string(), self.directory.path(), &listen);
        let config = config.unwrap_or_else(|faults| panic!("unsound configuration: {faults:?}"));
        let gateway = Gateway::start(config).await.expect("the gateway starts");
        let caller = self.caller(gateway.address);
        (gateway, caller)
    }

    /// Calls the gateway at `address` with this configuration's keys.
    pub fn caller(&self, address: SocketAddr) -> Caller {
        let server_key = &self.config["apps"]["demo"]["server_keys"][0];
        let admin_key = &self.config["admin"]["key"];
        let word = |key: &Value| key.as_str().expect("sandbox keys are literal").to_owned();
        Caller::new(address, &word(server_key), &word(admin_key))
    }

    /// A new phone, registered for `user` under the phone's own id.
    pub async fn phone(&self, caller: &Caller, vendor: &str, user: &str) -> Phone {
        let phone = self.sandbox.add_phone(vendor, user).expect("the vendor is simulated");
        caller.put_device(&phone.id, user, vendor, &phone.token).await;
        phone
    }

    /// A phone of each vendor for `user`.
    pub async fn phones(&self, caller: &Caller, user: &str) -> Vec<Phone> {
        let mut phones = Vec::new();
        for vendor in vendors() {
            phones.push(self.phone(caller, vendor, user).await);
        }
        phones
    }

    /// The phone as it is now.
    pub fn look(&self, phone: &Phone) -> Phone {
        self.sandbox.phones().get(&phone.id).expect("phones stay")
    }

    /// The texts on the phone's screen, oldest first.
    pub fn shown(&self, phone: &Phone) -> Vec<String> {
        self.look(phone).screen.shown.iter().map(|push| push.body.clone()).collect()
    }

    /// Waits until the phone shows this many; answers their texts.
    pub async fn shows(&self, phone: &Phone, count: usize) -> Vec<String> {
        let what = format!("{} shows {count}", phone.id);
        eventually(&what, async || {
            let shown = self.shown(phone);
            (shown.len() >= count).then_some(shown)
        })
        .await
    }

    /// Waits until every phone of the sandbox together shows this many.
    pub async fn all_show(&self, count: usize) {
        eventually(&format!("all phones together show {count}"), async || {
            let phones = self.sandbox.phones().all();
            let shown: usize = phones.iter().map(|phone| phone.screen.shown.len()).sum();
            (shown >= count).then_some(())
        })
        .await;
    }
}
