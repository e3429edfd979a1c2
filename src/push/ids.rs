//! The names that do not change when a push is sent again.

use aws_lc_rs::digest::{SHA256, digest};
use posthorn_vendors::Id;

/// One push: this event on this device.
pub(super) fn push_id(app: &str, event: &str, device: &str, token: &str) -> Id {
    hash(&["push", app, event, device, token])
}

/// The place on the screen that an event's notification takes.
pub(super) fn slot_id(app: &str, event: &str) -> Id {
    hash(&["slot", app, event])
}

/// One recipient's burst in a slot.
pub(super) fn burst_id(slot: Id, user: &str) -> Id {
    hash(&["burst", &slot.hex(), user])
}

fn hash(parts: &[&str]) -> Id {
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    // In one call: a context that is fed in pieces costs several allocations.
    let digest = digest(&SHA256, &bytes);
    Id(*digest.as_ref().first_chunk().expect("SHA-256 is longer than 16 bytes"))
}
