//! Where events come in: bytes → wire type → `model::Event`, refused here or not at all. Floor 3.

pub mod events;
mod parse;

pub use parse::{Entry, parse};
