//! The names that do not change when a push is sent again.

use aws_lc_rs::digest::{Context, SHA256};
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
    let mut context = Context::new(&SHA256);
    for part in parts {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        context.update(&(part.len() as u32).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    Id(*digest.as_ref().first_chunk().expect("SHA-256 is longer than 16 bytes"))
}
