//! Leasing events and items.

use std::sync::Arc;

use super::Embedded;
use super::engine::{Engine, broken};
use super::keys;
use super::memory::Pick;
use crate::model::{AppId, Event, Millis, Priority};
use crate::store::records::{self, DeadRecord, EventRecord, ItemRecord};
use crate::store::{DeadLetter, Item, ItemKey, Lease, LeaseKey, StoreError};

/// Items first due that are looked at for the oldest, at each priority.
const LOOKED_AT: usize = 64;

impl Embedded {
    pub(super) fn lease_now(&self, max: usize, busy: &[AppId]) -> Result<Vec<Lease>, StoreError> {
        let engine = self.engine()?;
        let picks = self.pick(&engine, max, busy)?;
        let mut leases = Vec::with_capacity(picks.len());
        for ((priority, app), pick) in picks {
            let (sequence, event) = match pick {
                Pick::Hot(sequence, event) => (sequence, event),
                Pick::Stored(sequence) => {
                    let key = LeaseKey { priority, app: app.clone(), sequence };
                    match read_event(&engine, &key) {
                        Ok(Some(event)) => (sequence, event),
                        Ok(None) => continue,
                        Err(err) => {
                            // Kept in the queue and leased to nobody: another build may read it.
                            tracing::error!(error = %err, app = %app, sequence, "a queued event cannot be read");
                            continue;
                        }
                    }
                }
            };
            leases.push(Lease { key: LeaseKey { priority, app, sequence }, event });
        }
        Ok(leases)
    }

    /// Calls before chat before bulk; within a priority the apps take turns.
    fn pick(
        &self,
        engine: &Engine,
        max: usize,
        busy: &[AppId],
    ) -> Result<Vec<((Priority, AppId), Pick)>, StoreError> {
        let mut memory = self.shared.memory();
        memory.turn = memory.turn.wrapping_add(1);
        let turn = memory.turn;
        let mut picked = Vec::new();
        for priority in Priority::ALL {
            let mut waiting: Vec<AppId> = memory
                .runs
                .iter()
                .filter(|((p, app), run)| {
                    *p == priority && run.leasable() > 0 && !busy.contains(app)
                })
                .map(|((_, app), _)| app.clone())
                .collect();
            if waiting.is_empty() {
                continue;
            }
            let first = turn % waiting.len();
            waiting.rotate_left(first);
            let mut left = waiting.len();
            for app in waiting {
                let share = (max - picked.len()).div_ceil(left);
                left -= 1;
                let place = (priority, app);
                if let Some(run) = memory.runs.get_mut(&place) {
                    match run.lease(engine, &place, share) {
                        Ok(picks) => {
                            picked.extend(picks.into_iter().map(|pick| (place.clone(), pick)));
                        }
                        Err(err) if picked.is_empty() => return Err(err),
                        Err(err) => {
                            tracing::warn!(error = %err, "could not read all of the queue");
                        }
                    }
                }
            }
        }
        Ok(picked)
    }

    pub(super) fn lease_items_now(
        &self,
        app: &str,
        lane: &str,
        now: Millis,
        max: usize,
    ) -> Result<Vec<(ItemKey, Item)>, StoreError> {
        let engine = self.engine()?;
        let place = (AppId::from(app), lane.into());
        let leased = match self.shared.memory().lanes.get_mut(&place) {
            Some(items) if items.depth > 0 => items.lease(&engine, &place, now, max)?,
            Some(_) | None => return Ok(Vec::new()),
        };
        let mut found = Vec::with_capacity(leased.len());
        for (key, bytes) in leased {
            match records::decode::<ItemRecord<'_>>(&bytes).and_then(|r| r.item(&place, key.due)) {
                Ok(item) => found.push((key, item)),
                Err(err) => {
                    tracing::error!(error = %err, app, lane, "a parked push cannot be read");
                }
            }
        }
        Ok(found)
    }

    pub(super) fn read_oldest(&self, app: &str, lane: &str) -> Result<Option<Millis>, StoreError> {
        let engine = self.engine()?;
        let place = (AppId::from(app), lane.into());
        let firsts = match self.shared.memory().lanes.get(&place) {
            Some(items) if items.depth > 0 => items.firsts(),
            Some(_) | None => return Ok(None),
        };
        let mut oldest: Option<Millis> = None;
        for (priority, first) in Priority::ALL.into_iter().zip(firsts) {
            let from = keys::item_at(&place, priority, first.0, first.1);
            let to = keys::item_at(&place, priority, Millis(u64::MAX), u64::MAX);
            for row in engine.items.range(from..=to).take(LOOKED_AT) {
                let bytes = row.value().map_err(broken)?;
                let item = records::decode::<ItemRecord<'_>>(&bytes)?.item(&place, Millis(0))?;
                oldest = Some(oldest.map_or(item.received_at, |at| at.min(item.received_at)));
            }
        }
        Ok(oldest)
    }

    pub(super) fn read_dead(&self, app: &str, max: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let engine = self.engine()?;
        let place = AppId::from(app);
        let prefix = keys::user(app, "");
        let mut found = Vec::new();
        for row in engine.dead.prefix(&prefix[..prefix.len() - 1]).rev().take(max) {
            let (key, bytes) = row.into_inner().map_err(broken)?;
            let sequence = keys::sequence_of(&key).unwrap_or_default();
            found.push(records::decode::<DeadRecord<'_>>(&bytes)?.letter(&place, sequence)?);
        }
        Ok(found)
    }
}

fn read_event(engine: &Engine, key: &LeaseKey) -> Result<Option<Arc<Event>>, StoreError> {
    let Some(bytes) = engine.queue.get(keys::queued(key)).map_err(broken)? else {
        return Ok(None);
    };
    let event = records::decode::<EventRecord<'_>>(&bytes)?.event(&key.app)?;
    Ok(Some(Arc::new(event)))
}
