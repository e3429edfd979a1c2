//! What the embedded store keeps in memory: who holds which lease, and where unleased work begins.
//!
//! Leases live here only: after a restart everything unacked is due. The sizes follow what is
//! leased, not what is queued.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::engine::{Engine, broken};
use super::keys;
use crate::model::{AppId, Event, Millis, Priority};
use crate::store::{ItemKey, LaneKey, LeaseKey, StoreError};

/// Freshly appended events kept at hand, so that leasing them reads nothing; beyond it the queue
/// is read from disk.
const HOT: usize = 1024;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) runs: BTreeMap<(Priority, AppId), Run>,
    pub(super) lanes: HashMap<LaneKey, LaneItems>,
    /// Which app goes first in the next lease.
    pub(super) turn: usize,
    pub(super) device_count: u64,
}

/// One app's queue at one priority.
#[derive(Default)]
pub(super) struct Run {
    /// No unleased event lies below this, but for `redo`.
    next: u64,
    /// Unleased events from `next` on.
    pub(super) fresh: u64,
    /// The first of them, without a gap.
    hot: VecDeque<(u64, Arc<Event>)>,
    /// Given back.
    redo: BTreeSet<u64>,
    leased: HashSet<u64>,
}

/// An event to lease: at hand, or to be read.
pub(super) enum Pick {
    Hot(u64, Arc<Event>),
    Stored(u64),
}

impl Run {
    pub(super) fn backlog(&self) -> u64 {
        self.fresh + (self.redo.len() + self.leased.len()) as u64
    }

    pub(super) fn leasable(&self) -> u64 {
        self.fresh + self.redo.len() as u64
    }

    pub(super) fn append(&mut self, sequence: u64, event: Arc<Event>) {
        // Only a gapless run from the front is of use.
        if self.hot.len() as u64 == self.fresh && self.hot.len() < HOT {
            self.hot.push_back((sequence, event));
        }
        self.fresh += 1;
    }

    pub(super) fn ack(&mut self, sequence: u64) {
        self.leased.remove(&sequence);
    }

    pub(super) fn release(&mut self, sequence: u64) {
        if self.leased.remove(&sequence) {
            self.redo.insert(sequence);
        }
    }

    /// Leases up to `max`, reading keys from `engine` where memory does not reach.
    pub(super) fn lease(
        &mut self,
        engine: &Engine,
        place: &(Priority, AppId),
        max: usize,
    ) -> Result<Vec<Pick>, StoreError> {
        let mut picks = Vec::with_capacity(max.min(self.leasable() as usize));
        while picks.len() < max {
            if let Some(sequence) = self.redo.pop_first() {
                picks.push(Pick::Stored(sequence));
            } else if let Some((sequence, event)) = self.hot.pop_front() {
                self.next = sequence + 1;
                self.fresh -= 1;
                picks.push(Pick::Hot(sequence, event));
            } else {
                break;
            }
        }
        if picks.len() < max
            && self.fresh > 0
            && let Err(err) = self.lease_stored(engine, place, max, &mut picks)
        {
            // What was picked before is leased all the same; nobody else would.
            if picks.is_empty() {
                return Err(err);
            }
            tracing::warn!(error = %err, "could not read all of the queue that was asked for");
        }
        for pick in &picks {
            let (Pick::Hot(sequence, _) | Pick::Stored(sequence)) = pick;
            self.leased.insert(*sequence);
        }
        Ok(picks)
    }

    fn lease_stored(
        &mut self,
        engine: &Engine,
        place: &(Priority, AppId),
        max: usize,
        picks: &mut Vec<Pick>,
    ) -> Result<(), StoreError> {
        let at = |sequence| LeaseKey { priority: place.0, app: place.1.clone(), sequence };
        let from = keys::queued(&at(self.next));
        let to = keys::queued(&at(u64::MAX));
        for row in engine.queue.range(from..=to) {
            if picks.len() == max {
                break;
            }
            let key = row.key().map_err(broken)?;
            let Some(sequence) = keys::sequence_of(&key) else { continue };
            self.next = sequence + 1;
            // Leased before the store was reopened: its holder goes on with it.
            if self.leased.contains(&sequence) {
                continue;
            }
            self.fresh = self.fresh.saturating_sub(1);
            picks.push(Pick::Stored(sequence));
        }
        if picks.is_empty() {
            self.fresh = 0;
        }
        Ok(())
    }
}

/// One lane's parked items.
#[derive(Default)]
pub(super) struct LaneItems {
    /// By priority: no unleased item lies below.
    floors: [(Millis, u64); 3],
    pub(super) depth: u64,
    leased: HashSet<(Priority, Millis, u64)>,
}

impl LaneItems {
    pub(super) fn park(&mut self, key: &ItemKey, leased: bool) {
        self.depth += 1;
        if leased {
            self.hold(key);
        } else {
            self.lower(key);
        }
    }

    pub(super) fn hold(&mut self, key: &ItemKey) {
        self.leased.insert((key.priority, key.due, key.sequence));
    }

    pub(super) fn let_go(&mut self, key: &ItemKey) {
        self.leased.remove(&(key.priority, key.due, key.sequence));
    }

    pub(super) fn unpark(&mut self, key: &ItemKey) {
        self.depth = self.depth.saturating_sub(1);
        self.leased.remove(&(key.priority, key.due, key.sequence));
    }

    pub(super) fn release(&mut self, key: &ItemKey) {
        if self.leased.remove(&(key.priority, key.due, key.sequence)) {
            self.lower(key);
        }
    }

    fn lower(&mut self, key: &ItemKey) {
        let floor = &mut self.floors[key.priority as usize];
        *floor = (*floor).min((key.due, key.sequence));
    }

    /// By priority: where the lane's items begin, leased ones included. What lies below is gone, and
    /// would be walked over, deleted row by deleted row.
    pub(super) fn firsts(&self) -> [(Millis, u64); 3] {
        let all_leased = self.depth == self.leased.len() as u64;
        let mut firsts = if all_leased { [(Millis(u64::MAX), 0); 3] } else { self.floors };
        for (priority, due, sequence) in &self.leased {
            let first = &mut firsts[*priority as usize];
            *first = (*first).min((*due, *sequence));
        }
        firsts
    }

    /// Leases up to `max` due items: their keys and stored bytes.
    pub(super) fn lease(
        &mut self,
        engine: &Engine,
        lane: &LaneKey,
        now: Millis,
        max: usize,
    ) -> Result<Vec<(ItemKey, fjall::Slice)>, StoreError> {
        let mut taken = Vec::new();
        for priority in Priority::ALL {
            if taken.len() == max {
                break;
            }
            let floor = self.floors[priority as usize];
            let from = keys::item_at(lane, priority, floor.0, floor.1);
            let to = keys::item_at(lane, priority, now, u64::MAX);
            if from > to {
                continue;
            }
            let mut is_through = true;
            for row in engine.items.range(from..=to) {
                if taken.len() == max {
                    is_through = false;
                    break;
                }
                let (key, bytes) = row.into_inner().map_err(broken)?;
                let Some((_, _, _, due, sequence)) = keys::parse_item(&key) else { continue };
                self.floors[priority as usize] = (due, sequence + 1);
                if self.leased.insert((priority, due, sequence)) {
                    taken.push((ItemKey { lane: lane.clone(), priority, due, sequence }, bytes));
                }
            }
            if is_through {
                let floor = &mut self.floors[priority as usize];
                *floor = (*floor).max((now, u64::MAX));
            }
        }
        Ok(taken)
    }

    pub(super) fn next_due(
        &self,
        engine: &Engine,
        lane: &LaneKey,
    ) -> Result<Option<Millis>, StoreError> {
        let mut next: Option<Millis> = None;
        if self.depth <= self.leased.len() as u64 {
            return Ok(None);
        }
        for priority in Priority::ALL {
            let floor = self.floors[priority as usize];
            let from = keys::item_at(lane, priority, floor.0, floor.1);
            let to = keys::item_at(lane, priority, Millis(u64::MAX), u64::MAX);
            for row in engine.items.range(from..=to) {
                let key = row.key().map_err(broken)?;
                let Some((_, _, _, due, sequence)) = keys::parse_item(&key) else { continue };
                if !self.leased.contains(&(priority, due, sequence)) {
                    next = Some(next.map_or(due, |known| known.min(due)));
                    break;
                }
            }
        }
        Ok(next)
    }
}

impl Memory {
    /// Reads from `engine` what is queued and parked. Leases held now stay held.
    pub(super) fn rebuild(&mut self, engine: &Engine) -> Result<(), StoreError> {
        let mut runs: BTreeMap<(Priority, AppId), Run> = BTreeMap::new();
        for row in engine.queue.iter() {
            let key = row.key().map_err(broken)?;
            let Some((priority, app, sequence)) = keys::parse_queued(&key) else { continue };
            let place = (priority, AppId::from(app));
            let held = self.runs.get(&place).is_some_and(|run| run.leased.contains(&sequence));
            let run = runs.entry(place).or_default();
            if held {
                run.leased.insert(sequence);
            } else {
                run.fresh += 1;
            }
        }
        let mut lanes: HashMap<LaneKey, LaneItems> = HashMap::new();
        for row in engine.items.iter() {
            let key = row.key().map_err(broken)?;
            let Some((app, lane, priority, due, sequence)) = keys::parse_item(&key) else {
                continue;
            };
            let lane: LaneKey = (app.into(), lane.into());
            let place = (priority, due, sequence);
            let held = self.lanes.get(&lane).is_some_and(|items| items.leased.contains(&place));
            let items = lanes.entry(lane).or_default();
            items.depth += 1;
            if held {
                items.leased.insert(place);
            }
        }
        self.runs = runs;
        self.lanes = lanes;
        self.device_count = match engine.meta.get(keys::DEVICE_COUNT).map_err(broken)? {
            Some(count) => count.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
            None => 0,
        };
        Ok(())
    }
}
