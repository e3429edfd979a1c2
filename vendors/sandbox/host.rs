//! The sandbox as one thing that can be started: every vendor on a TLS port, and the control API.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use toml::Table;

use super::authority::Authority;
use super::booth::{Booth, SeenRequest};
use super::configuration::{self, Ca};
use super::control::{self, WriteHook};
use super::faults::Fault;
use super::phones::{Phone, Phones};
use super::serve;
use crate::{Spec, VENDORS};

/// What a sandbox is started with.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where the control API listens. The vendors listen on the same IP address, on free ports.
    pub listen: SocketAddr,
    /// Where `posthorn.toml` and `ca.pem` go; made when missing.
    pub dir: Option<PathBuf>,
    /// The vendors that are simulated.
    pub vendors: Vec<&'static Spec>,
    /// Lets the console's visitor write as somebody.
    pub write: Option<WriteHook>,
    /// Says yes to a `listen` that other machines can reach. The control API has no password.
    pub allow_remote: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        SandboxConfig {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            dir: None,
            vendors: VENDORS.to_vec(),
            write: None,
            allow_remote: false,
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not loopback and `allow_remote` is off.
    #[error("{0} can be reached from other machines, and the control API has no password")]
    Remote(SocketAddr),
    /// A socket could not be bound.
    #[error("could not listen on {addr}: {source}")]
    Listen {
        /// The address wanted.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate authority could not be made.
    #[error("could not make the sandbox's certificates: {0}")]
    Certificates(String),
    /// A file could not be written.
    #[error("could not write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The client that posts receipts could not be made.
    #[error("could not make the client that posts receipts: {0}")]
    Client(String),
}

/// A running sandbox. Dropping it ends everything at once.
pub struct Sandbox {
    world: Arc<World>,
    tasks: JoinSet<()>,
    control: SocketAddr,
}

/// What the control API and the methods of [`Sandbox`] work on.
pub(super) struct World {
    pub(super) booths: Vec<Arc<Booth>>,
    pub(super) phones: Phones,
    pub(super) config: Table,
    pub(super) write: Option<WriteHook>,
    pub(super) allow_remote: bool,
    pub(super) receipts: reqwest::Client,
    ca_pem: String,
}

impl Sandbox {
    /// Starts it. When this returns, the files are written and every socket answers.
    pub async fn start(config: SandboxConfig) -> Result<Self, StartError> {
        if !config.listen.ip().is_loopback() && !config.allow_remote {
            return Err(StartError::Remote(config.listen));
        }
        let ip = config.listen.ip();
        let authority =
            Authority::new(ip).map_err(|err| StartError::Certificates(err.to_string()))?;
        let phones = Phones::default();
        let mut tasks = JoinSet::new();
        let mut booths = Vec::new();
        for spec in &config.vendors {
            let (listener, addr) = listen(SocketAddr::new(ip, 0)).await?;
            let base_url = format!("https://{}", reachable(addr));
            let booth = Arc::new(Booth::new(spec, base_url, phones.clone()));
            let tls = authority
                .server(booth.simulator.alpn())
                .map_err(|err| StartError::Certificates(err.to_string()))?;
            tasks.spawn(serve::listen(listener, tls, booth.clone()));
            booths.push(booth);
        }
        // Bound before anything is written, served after everything is.
        let (listener, control) = listen(config.listen).await?;
        let table = gateway_config(&config, &booths, authority.ca_pem()).await?;
        let world = Arc::new(World {
            booths,
            phones,
            config: table,
            write: config.write,
            allow_remote: config.allow_remote,
            receipts: super::receipts::client().map_err(StartError::Client)?,
            ca_pem: authority.ca_pem().to_owned(),
        });
        tasks.spawn(control::listen(listener, world.clone()));
        Ok(Sandbox { world, tasks, control })
    }

    /// Where the control API and the console are.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// `http://` and the control address.
    pub fn control_url(&self) -> String {
        format!("http://{}", reachable(self.control))
    }

    /// Every virtual phone.
    pub fn phones(&self) -> &Phones {
        &self.world.phones
    }

    /// A new phone of this vendor; `None` when the vendor is not simulated.
    pub fn add_phone(&self, vendor: &str, name: &str) -> Option<Phone> {
        self.world.add_phone(vendor, name)
    }

    /// The gateway's configuration as a table.
    pub fn config(&self) -> &Table {
        &self.world.config
    }

    /// The gateway's configuration as a file's text.
    pub fn config_text(&self) -> String {
        self.world.config.to_string()
    }

    /// What a vendor's `build` takes to reach its simulator, the CA as text.
    pub fn lane(&self, vendor: &str) -> Option<Table> {
        let booth = self.world.booth(vendor)?;
        let mut lane = booth.simulator.lane(&booth.base_url);
        lane.insert("ca".to_owned(), self.world.ca_pem.as_str().into());
        Some(lane)
    }

    /// Where a vendor's simulator listens, `https://127.0.0.1:…`.
    pub fn base_url(&self, vendor: &str) -> Option<&str> {
        self.world.booth(vendor).map(|booth| booth.base_url.as_str())
    }

    /// The certificate that clients of the simulators must trust.
    pub fn ca_pem(&self) -> &str {
        &self.world.ca_pem
    }

    /// Sets a vendor's fault, or clears it. False when the vendor is not simulated.
    pub fn set_fault(&self, vendor: &str, fault: Option<Fault>) -> bool {
        let booth = self.world.booth(vendor);
        booth.map(|booth| booth.set_fault(fault)).is_some()
    }

    /// The last requests a vendor saw, oldest first; empty when the vendor is not simulated.
    pub fn requests(&self, vendor: &str, limit: usize) -> Vec<SeenRequest> {
        self.world.booth(vendor).map(|booth| booth.last(limit)).unwrap_or_default()
    }

    /// Ends it and waits until every socket is closed.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

impl World {
    pub(super) fn booth(&self, vendor: &str) -> Option<&Arc<Booth>> {
        self.booths.iter().find(|booth| booth.spec.id == vendor)
    }

    pub(super) fn add_phone(&self, vendor: &str, name: &str) -> Option<Phone> {
        let booth = self.booth(vendor)?;
        Some(self.phones.add(booth.spec.id, name, |serial| booth.simulator.token(serial)))
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// How a bound address is spelled for those who connect.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port()),
        false => addr,
    }
}

async fn gateway_config(
    config: &SandboxConfig,
    booths: &[Arc<Booth>],
    ca_pem: &str,
) -> Result<Table, StartError> {
    let gateway = configuration::free_address()
        .map_err(|source| StartError::Listen { addr: config.listen, source })?;
    let Some(dir) = &config.dir else {
        return Ok(configuration::table(booths, &Ca::Literal(ca_pem), gateway));
    };
    let table = configuration::table(booths, &Ca::File, gateway);
    let failed = |name: &str| {
        let path = dir.join(name);
        |source| StartError::Write { path, source }
    };
    tokio::fs::create_dir_all(dir).await.map_err(failed(""))?;
    configuration::put(dir, "ca.pem", ca_pem).await.map_err(failed("ca.pem"))?;
    let text =
        format!("# Written by `posthorn sandbox`; `posthorn serve` takes it as it is.\n\n{table}");
    configuration::put(dir, "posthorn.toml", &text).await.map_err(failed("posthorn.toml"))?;
    Ok(table)
}
