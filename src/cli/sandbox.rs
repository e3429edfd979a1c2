//! placeholder
use super::Failure;
#[derive(clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(_: Arguments) -> Result<(), Failure> { Err(Failure::Told) }
