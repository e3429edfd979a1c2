//! A lane's bounded memory: what waits for a permit, calls before chat before bulk.
//!
//! What does not fit is refused, and parked in the store by whoever offered it. Groups that come
//! fresh and groups loaded back from the store take turns, so that neither starves the other.

use std::collections::VecDeque;
use std::sync::Arc;

use posthorn_vendors::Batching;

use super::Group;
use crate::model::{Millis, Priority};

/// Groups that may wait fresh in one lane: half of what the pipeline works on, so that a lane that
/// hangs leaves the other half to the others.
const GROUPS: usize = crate::push::IN_FLIGHT / 2;

/// A run of one group's targets.
pub(super) struct Part {
    pub(super) group: Arc<Group>,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Part {
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }
}

#[derive(Default)]
pub(super) struct Inbox {
    fresh: Side,
    loaded: Side,
    loaded_next: bool,
}

#[derive(Default)]
struct Side {
    by_priority: [VecDeque<Part>; 3],
    targets: usize,
    groups: usize,
}

impl Side {
    fn push(&mut self, group: Arc<Group>) {
        let to = group.item.targets.len();
        self.targets += to;
        self.groups += 1;
        let priority = group.item.priority as usize;
        self.by_priority[priority].push_back(Part { group, from: 0, to });
    }

    /// Up to `max` targets of the first group of this priority.
    fn take(&mut self, priority: Priority, max: usize) -> Option<Part> {
        let queue = &mut self.by_priority[priority as usize];
        let front = queue.front_mut()?;
        let part = if front.len() > max {
            let cut = front.from + max;
            let part = Part { group: front.group.clone(), from: front.from, to: cut };
            front.from = cut;
            part
        } else {
            self.groups -= 1;
            queue.pop_front()?
        };
        self.targets -= part.len();
        Some(part)
    }

    fn oldest(&self) -> Option<Millis> {
        let fronts = self.by_priority.iter().filter_map(VecDeque::front);
        fronts.map(|part| part.group.item.received_at).min()
    }
}

impl Inbox {
    /// Takes a fresh group unless `room` targets, or too many groups, are waiting already.
    pub(super) fn offer(&mut self, group: Arc<Group>, room: usize) -> Result<(), Arc<Group>> {
        if self.fresh.targets >= room || self.fresh.groups >= GROUPS {
            return Err(group);
        }
        self.fresh.push(group);
        Ok(())
    }

    pub(super) fn load(&mut self, group: Arc<Group>) {
        self.loaded.push(group);
    }

    pub(super) fn loaded_targets(&self) -> usize {
        self.loaded.targets
    }

    /// Fresh targets; what was loaded is still counted by the store.
    pub(super) fn waiting(&self) -> usize {
        self.fresh.targets
    }

    pub(super) fn oldest(&self) -> Option<Millis> {
        self.fresh.oldest().into_iter().chain(self.loaded.oldest()).min()
    }

    /// The parts of the next call, as the vendor lets pushes share one. Empty when nothing waits.
    pub(super) fn take(&mut self, batching: Batching) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut room = batching.max();
        while room > 0
            && let Some(part) = self.next(room)
        {
            room -= part.len();
            parts.push(part);
            if !matches!(batching, Batching::Distinct { .. }) {
                break;
            }
        }
        parts
    }

    fn next(&mut self, max: usize) -> Option<Part> {
        self.loaded_next = !self.loaded_next;
        let (first, second) = if self.loaded_next {
            (&mut self.loaded, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.loaded)
        };
        Priority::ALL
            .into_iter()
            .find_map(|priority| first.take(priority, max).or_else(|| second.take(priority, max)))
    }
}
