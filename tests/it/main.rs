//! Everything that runs the built thing, in one binary: a file a topic.

mod bulkheads;
mod command_line;
mod disk;
mod doors;
mod drain;
mod house;
mod kill;
mod page;
mod store;
mod stories;
#[path = "../support/mod.rs"]
mod support;
