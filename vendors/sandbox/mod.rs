//! The sandbox: every vendor's simulator over TLS on loopback, virtual phones, and faults on demand.
//!
//! `simulator.rs` is what a vendor's simulator implements (pure: request in, reply out),
//! `phones.rs` what each phone's screen shows. Strict by default: a simulator that is laxer than
//! the vendor hides bugs.

pub mod phones;
pub mod simulator;

pub use phones::{Phones, Screen, ShownPush};
pub use simulator::{After, Exchange, ReceiptKind, Reply, Simulator};
