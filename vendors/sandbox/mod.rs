//! The sandbox: every vendor's simulator over TLS on loopback, virtual phones, and faults on demand.
//!
//! `simulator.rs` is what a vendor's simulator implements (pure: request in, reply out),
//! `phones.rs` what each phone's screen shows. `host.rs` puts them on sockets: `serve.rs` is the
//! vendors' side with `booth.rs` for what each of them remembers and `faults.rs` for what goes
//! wrong, `control/` the tester's. Strict by default: a simulator that is laxer than the vendor
//! hides bugs.

mod authority;
mod booth;
mod configuration;
mod control;
mod faults;
pub(crate) mod frames;
mod host;
pub mod phones;
mod receipts;
mod serve;
pub mod simulator;

pub use authority::Authority;
pub use booth::{SeenReply, SeenRequest};
pub use control::{WriteAs, WriteHook};
pub use faults::{Fault, Mode};
pub use host::{Sandbox, SandboxConfig, StartError};
pub use phones::{Phones, Screen, ShownPush};
pub use simulator::{After, Exchange, ReceiptKind, Reply, Simulator};
