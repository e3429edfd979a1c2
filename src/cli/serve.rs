//! `posthorn serve`: the gateway, until SIGTERM.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, block_on, log, stop_signal};
use crate::app::Gateway;
use crate::config;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration; config/posthorn.toml shows every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Log in one readable line instead of JSON
    #[arg(long)]
    log_plain: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    // The engine tells at `info` of every file it writes.
    log(!arguments.log_plain, "info,fjall=warn,lsm_tree=warn");
    block_on(serve(config, arguments.config))
}

async fn serve(config: config::Config, file: PathBuf) -> Result<(), Failure> {
    let gateway = Gateway::start(config).await?;
    tracing::info!(address = %gateway.address, "listening");
    let mut hang_up = signal(SignalKind::hangup())
        .map_err(|err| Failure::Failed(format!("could not listen for SIGHUP: {err}")))?;
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        tokio::select! {
            _ = hang_up.recv() => reload(&gateway, &file),
            () = &mut stop => break,
        }
    }
    tracing::info!("draining");
    gateway.drain().await;
    tracing::info!("drained");
    Ok(())
}

fn reload(gateway: &Gateway, file: &std::path::Path) {
    match config::load(file) {
        Ok(config) => {
            gateway.reload(config);
            tracing::info!("lanes and credentials reloaded");
        }
        Err(err) => tracing::error!(error = %err, "the new configuration is not used"),
    }
}
