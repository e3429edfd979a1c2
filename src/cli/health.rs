//! `posthorn health`: for container health checks.

use std::path::PathBuf;

use reqwest::Method;

use super::client::Gateway;
use super::{Failure, block_on};
use crate::config;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The running gateway's configuration; without it 127.0.0.1:8080 is asked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let gateway = match arguments.config {
        Some(file) => Gateway::of(&config::load(&file)?, None)?,
        None => Gateway::at(([127, 0, 0, 1], 8080).into(), None)?,
    };
    let answer: Option<serde_json::Value> =
        block_on(async { gateway.ask(Method::GET, "/readyz", None).await })?;
    match answer {
        Some(_) => {
            say!("ready");
            Ok(())
        }
        None => Err(Failure::Failed("whatever answers there is no Posthorn gateway".to_owned())),
    }
}
