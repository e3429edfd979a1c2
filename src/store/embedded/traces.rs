//! Reading what became of events, and what has overtaken them.

use super::Embedded;
use super::apply::number;
use super::engine::broken;
use super::keys;
use crate::model::{EventTrace, Millis, PushTrace};
use crate::store::records::{self, IdRecord, TombstoneRecord, TraceRecord};
use crate::store::{Overtaken, Standing, StoreError};

/// Events with many recipients that are looked through for one user.
const BROADCASTS: usize = 2000;

impl Embedded {
    pub(super) fn read_trace(
        &self,
        app: &str,
        event: &str,
    ) -> Result<Option<EventTrace>, StoreError> {
        let engine = self.engine()?;
        for day in engine.days() {
            let id = day.rows.get(keys::event_id(app, event)).map_err(broken)?;
            let Some(bytes) = id else { continue };
            let known: IdRecord = records::decode(&bytes)?;
            let mut trace = EventTrace {
                id: event.into(),
                received_at: Millis(known.received_at),
                pushes: Vec::new(),
                settled: false,
            };
            for row in day.rows.prefix(keys::trace(app, event)) {
                let bytes = row.value().map_err(broken)?;
                let part: TraceRecord<'_> = records::decode(&bytes)?;
                trace.settled |= part.settles;
                for push in part.pushes()? {
                    join(&mut trace.pushes, push);
                }
            }
            return Ok(Some(trace));
        }
        Ok(None)
    }

    /// Events that name few users have a row a user; those that name many share one row, which
    /// holds the users' hashes. Of the latter the newest are looked through.
    pub(super) fn read_events_of(
        &self,
        app: &str,
        user: &str,
        max: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let engine = self.engine()?;
        let prefix = keys::events_of(app, user);
        let broadcasts = keys::broadcasts(app);
        let hash = keys::user_hash(user);
        let mut looked = 0;
        let mut found: Vec<(u64, Box<str>)> = Vec::new();
        for day in engine.days() {
            for row in day.rows.prefix(&prefix).rev().take(max) {
                let key = row.key().map_err(broken)?;
                found.extend(event_in(&key, prefix.len()));
            }
            for row in day.rows.prefix(&broadcasts).rev().take(BROADCASTS - looked) {
                looked += 1;
                let (key, users) = row.into_inner().map_err(broken)?;
                if users.chunks_exact(hash.len()).any(|known| known == hash) {
                    found.extend(event_in(&key, broadcasts.len()));
                }
            }
            if found.len() >= max {
                break;
            }
        }
        found.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        found.truncate(max);
        Ok(found.into_iter().map(|(_, event)| event).collect())
    }

    pub(super) fn check_overtaken(
        &self,
        app: &str,
        pushes: &[Standing<'_>],
    ) -> Result<Vec<Option<Overtaken>>, StoreError> {
        let engine = self.engine()?;
        let days: Vec<_> = engine.days().into_iter().filter(|day| day.has_news()).collect();
        if days.is_empty() {
            return Ok(vec![None; pushes.len()]);
        }
        let newest = |key: Vec<u8>| -> Result<Option<fjall::Slice>, StoreError> {
            for day in &days {
                if let Some(row) = day.rows.get(&key).map_err(broken)? {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        };
        let check = |push: &Standing<'_>| -> Result<Option<Overtaken>, StoreError> {
            if let Some(row) = newest(keys::tombstone(app, push.event))? {
                return Ok(Some(match records::decode(&row)? {
                    TombstoneRecord::Recalled => Overtaken::Recalled,
                    TombstoneRecord::Edited(_) => Overtaken::Edited,
                    TombstoneRecord::Ended => Overtaken::Ended,
                }));
            }
            if let Some(original) = push.edits
                && let Some(row) = newest(keys::tombstone(app, original))?
            {
                match records::decode(&row)? {
                    TombstoneRecord::Recalled => return Ok(Some(Overtaken::Recalled)),
                    TombstoneRecord::Ended => return Ok(Some(Overtaken::Ended)),
                    TombstoneRecord::Edited(by) if by == push.event => {}
                    TombstoneRecord::Edited(_) => return Ok(Some(Overtaken::Edited)),
                }
            }
            if let (Some(user), Some(conversation)) = (push.user, push.conversation)
                && let Some(row) = newest(keys::read_mark(app, user, conversation))?
                && push.sent_at.0 <= number(&row)
            {
                return Ok(Some(Overtaken::Read));
            }
            if let Some((slot, count)) = push.burst
                && let Some(row) = newest(keys::latest(app, slot))?
                && u64::from(count) < number(&row)
            {
                return Ok(Some(Overtaken::Superseded));
            }
            Ok(None)
        };
        pushes.iter().map(check).collect()
    }
}

/// The sequence and the event id at the end of an index row's key.
fn event_in(key: &[u8], prefix: usize) -> Option<(u64, Box<str>)> {
    let (sequence, event) = key.get(prefix..)?.split_at_checked(8)?;
    Some((number(sequence), String::from_utf8_lossy(event).into()))
}

/// Later news of a push replaces earlier ones.
fn join(pushes: &mut Vec<PushTrace>, news: PushTrace) {
    match pushes.iter_mut().find(|known| known.push_id == news.push_id) {
        Some(known) => *known = news,
        None => pushes.push(news),
    }
}
