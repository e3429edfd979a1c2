//! `posthorn sandbox`: every vendor's simulator, until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;

use posthorn_vendors::sandbox::{Sandbox, SandboxConfig};

use super::{Failure, block_on, log, stop_signal};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the control API listens; the vendors get free ports of the same address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where posthorn.toml and the CA go
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Let other machines reach it; it has no password
    #[arg(long)]
    allow_remote: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    log(false, "warn");
    block_on(sandbox(arguments))
}

async fn sandbox(arguments: Arguments) -> Result<(), Failure> {
    let config = SandboxConfig {
        listen: arguments.listen,
        dir: Some(arguments.dir.clone()),
        allow_remote: arguments.allow_remote,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.map_err(|err| Failure::Failed(err.to_string()))?;
    let config = arguments.dir.join("posthorn.toml");
    let control = sandbox.control_url();
    let serve = format!("posthorn serve --config {}", config.display());
    // In one write: whoever reads only the first line may have closed the pipe before a second.
    say!("control API  {control}\nphones       {control}/console/phones\ngateway      {serve}");
    stop_signal().await;
    sandbox.shutdown().await;
    Ok(())
}
