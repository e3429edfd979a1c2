//! The gateway's configuration that fits this sandbox: app `demo`, a lane per vendor, literal keys.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use toml::{Table, Value};

use super::booth::Booth;

/// The app of every sandbox.
pub(super) const APP: &str = "demo";

/// How the configuration names the sandbox's CA.
pub(super) enum Ca<'a> {
    /// `ca.pem` beside the configuration file.
    File,
    /// The PEM text itself, where there is no file.
    Literal(&'a str),
}

/// A complete configuration.
pub(super) fn table(booths: &[std::sync::Arc<Booth>], ca: &Ca<'_>, listen: SocketAddr) -> Table {
    let mut lanes = Table::new();
    for booth in booths {
        lanes.insert(booth.spec.id.to_owned(), lane(booth, ca).into());
    }
    let mut demo = Table::new();
    demo.insert("sdk_app_id".into(), Value::Integer(1_400_000_001));
    demo.insert("user_sig_key".into(), hex_key(32).into());
    demo.insert("server_keys".into(), Value::Array(vec![hex_key(16).into()]));
    demo.insert("admins".into(), Value::Array(vec!["administrator".into()]));
    demo.insert("lanes".into(), lanes.into());

    let mut config = Table::new();
    config.insert("server".into(), server(listen).into());
    config.insert("store".into(), one("url", "embedded:data".to_owned()).into());
    config.insert("admin".into(), one("key", hex_key(16)).into());
    config.insert("apps".into(), one(APP, demo).into());
    config
}

fn server(listen: SocketAddr) -> Table {
    let mut server = one("listen", listen.to_string());
    server.insert("public_url".into(), format!("http://{listen}").into());
    server
}

fn lane(booth: &Booth, ca: &Ca<'_>) -> Table {
    let mut lane = booth.simulator.lane(&booth.base_url);
    let ca = match ca {
        Ca::File => "file:ca.pem",
        Ca::Literal(pem) => pem,
    };
    lane.insert("vendor".into(), booth.spec.id.into());
    lane.insert("receipt_key".into(), hex_key(16).into());
    lane.insert("ca".into(), ca.into());
    lane
}

fn one(key: &str, value: impl Into<Value>) -> Table {
    Table::from_iter([(key.to_owned(), value.into())])
}

fn hex_key(bytes: usize) -> String {
    let mut key = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut key).expect("the system's random source never fails once it is up");
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address on this machine that nobody listens on now, for a gateway that starts later.
pub(super) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?.local_addr()
}

/// Puts a file in place whole or not at all, readable by its owner only.
pub(super) async fn put(dir: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let draft = dir.join(format!(".{name}.new"));
    // Left over from a start that was cut short; its mode may be wrong.
    tokio::fs::remove_file(&draft).await.ok();
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&draft).await?;
    tokio::io::AsyncWriteExt::write_all(&mut file, text.as_bytes()).await?;
    file.sync_all().await?;
    tokio::fs::rename(&draft, dir.join(name)).await
}
