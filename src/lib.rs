#![doc = include_str!("ARCHITECTURE.md")]

pub mod model;
pub mod push;
pub mod store;
pub mod telemetry;
