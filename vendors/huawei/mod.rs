//! placeholder, being written

use std::sync::Arc;

use crate::{Spec, Vendor, kit::settings::Fault};

/// Placeholder.
pub const SPEC: Spec =
    Spec { id: "huawei", name: "huawei", build, wire, simulator, impossible: &[] };
fn build(_: toml::Table) -> Result<Arc<dyn Vendor>, Vec<Fault>> {
    Err(vec![Fault::new("", "not written yet")])
}
fn wire(_: toml::Table) -> Result<Box<dyn crate::Wire>, Vec<Fault>> {
    Err(vec![])
}
fn simulator() -> Box<dyn crate::sandbox::Simulator> {
    unreachable!()
}
