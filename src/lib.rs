#![doc = include_str!("ARCHITECTURE.md")]

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod ingest;
pub mod model;
pub mod push;
pub mod store;
pub mod telemetry;
