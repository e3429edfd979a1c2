//! Which messages belong to one run of messages, so that they count up instead of stacking.
//!
//! Decided when an event is accepted and stored with it: a push that is sent again after a crash
//! keeps its place and its count. Memory holds only the runs of the last few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthorn_vendors::Id;

use super::ids;
use crate::model::{Burst, Event, Kind, Millis};

/// Runs kept before the old ones are swept out.
const SWEEP_AT: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Bursts {
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    /// By app, conversation and recipient, hashed.
    by_key: HashMap<u64, Run>,
    /// How many the last sweep left. The next comes when there are twice as many, so that sweeping
    /// stays cheap while more runs are alive than `SWEEP_AT`.
    swept_to: usize,
}

impl Runs {
    fn sweep(&mut self, now: Millis, window: Duration) {
        if self.by_key.len() >= SWEEP_AT.max(2 * self.swept_to) {
            self.by_key.retain(|_, run| now.since(run.last) <= window);
            self.swept_to = self.by_key.len();
        }
    }
}

#[derive(Clone, Copy)]
struct Run {
    slot: Id,
    count: u32,
    last: Millis,
}

impl Bursts {
    /// Notes this event's recipients, and marks those for whom it continues a run.
    pub(super) fn join(&self, event: &mut Event, window: Duration) {
        let Some(conversation) = event.conversation.clone() else { return };
        if !matches!(event.kind, Kind::Message(_)) || window.is_zero() {
            return;
        }
        let slot = ids::slot_id(&event.app, &event.id);
        let now = event.received_at;
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.sweep(now, window);
        for (place, user) in event.to.iter().enumerate() {
            let fresh = Run { slot, count: 1, last: now };
            let run = runs.by_key.entry(key(&event.app, &conversation, user)).or_insert(fresh);
            if now.since(run.last) > window || run.slot == slot {
                *run = fresh;
                continue;
            }
            *run = Run { count: run.count + 1, last: now, ..*run };
            event.bursts.push((place as u16, Burst { slot: run.slot, count: run.count }));
        }
    }
}

fn key(app: &str, conversation: &str, user: &str) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one((app, conversation, user))
}
