//! What is on its way: events with their groups, groups with their targets.

use std::sync::Arc;

use crate::model::{Event, PushTrace};
use crate::push::dispatch::{Fate, Group};
use crate::store::{ItemKey, ItemTarget, LeaseKey};

/// An event with pushes on their way.
pub(super) struct OpenEvent {
    pub(super) lease: LeaseKey,
    pub(super) event: Arc<Event>,
    pub(super) rows: Vec<PushTrace>,
    /// Numbers of its groups that are not settled.
    pub(super) groups: Vec<u64>,
}

/// A group with targets on their way.
pub(super) struct OpenGroup {
    pub(super) group: Arc<Group>,
    targets: Vec<Target>,
    pub(super) left: usize,
    pub(super) home: Home,
}

/// How far one target of a group is.
enum Target {
    Waiting,
    /// What follows is not written yet.
    Answered(Fate),
    /// What follows is written, or in the draft.
    Settled,
}

impl OpenGroup {
    pub(super) fn new(group: Arc<Group>, home: Home) -> Self {
        let left = group.item.targets.len();
        let targets = std::iter::repeat_with(|| Target::Waiting).take(left).collect();
        OpenGroup { group, targets, left, home }
    }

    /// Notes the fates of a run of targets.
    pub(super) fn note(&mut self, from: usize, fates: Vec<Fate>) {
        for (target, fate) in self.targets[from..].iter_mut().zip(fates) {
            if matches!(target, Target::Waiting) {
                *target = Target::Answered(fate);
                self.left -= 1;
            }
        }
    }

    /// Takes the fates that nothing was drafted for yet.
    pub(super) fn take_answered(&mut self) -> Vec<(ItemTarget, Fate)> {
        let mut answered = Vec::with_capacity(self.targets.len());
        for (target, state) in self.group.item.targets.iter().zip(&mut self.targets) {
            match std::mem::replace(state, Target::Settled) {
                Target::Answered(fate) => answered.push((target.clone(), fate)),
                other @ (Target::Waiting | Target::Settled) => *state = other,
            }
        }
        answered
    }

    /// The targets that no fate is known of.
    pub(super) fn waiting(&self) -> Vec<ItemTarget> {
        let targets = self.group.item.targets.iter().zip(&self.targets);
        let waiting = targets.filter(|(_, state)| matches!(state, Target::Waiting));
        waiting.map(|(target, _)| target.clone()).collect()
    }
}

/// Who keeps a group durable.
pub(super) enum Home {
    /// Its event, which is not acked yet.
    Event(u64),
    /// An item in the store.
    Item(ItemKey),
    /// An item that the write being drafted creates.
    Parking,
}
