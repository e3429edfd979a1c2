//! Everything that runs the built thing, in one binary: a file a topic.

mod disk;
mod drain;
mod kill;
mod store;
#[path = "../support/mod.rs"]
mod support;
