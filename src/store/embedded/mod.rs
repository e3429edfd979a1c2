//! The embedded backend: fjall in one data directory, no server.
//!
//! `engine.rs` opens it, `writer.rs` is the one thread that writes, `apply.rs` turns changes into
//! a batch, `memory.rs` holds leases, `keys.rs` every key's shape. Reads go straight to the
//! database from wherever they are asked: they take microseconds.

mod apply;
mod engine;
mod keys;
mod memory;
mod writer;

use std::fs::{File, TryLockError};
use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::oneshot;

use self::apply::number;
use self::engine::{Engine, broken};
use self::memory::Pick;
use self::writer::{Job, Shared};
use super::records::{
    self, DeadRecord, EventRecord, IdRecord, ItemRecord, TombstoneRecord, TraceRecord, UserRecord,
};
use super::{
    Answer, Changes, Commit, Committed, DeadLetter, Device, Health, Item, ItemKey, Items, Lease,
    LeaseKey, Overtaken, Ownership, Queue, Registry, Standing, StoreError, StoreErrorKind, Traces,
    User,
};
use crate::model::{AppId, Clock, Event, EventTrace, Millis, Priority, PushTrace};

/// The store in one directory. Cheap to share behind an `Arc`.
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    /// Keeps other processes out for as long as this one lives.
    _lock: Option<File>,
}

impl Embedded {
    /// Opens the store in `path`, creating it if there is none. An unusable disk (full, read-only)
    /// is no error: the store says "unavailable" and opens once it can. Another process in the
    /// directory, or data of a newer Posthorn, is one.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let engine = match Engine::open(path) {
            Ok(engine) => Ok(Arc::new(engine)),
            Err(err) if err.is_transient() => {
                tracing::error!(error = %err, "the store cannot be opened; trying again until it can");
                Err(err)
            }
            Err(err) => return Err(err),
        };
        let shared = Arc::new(Shared::new(engine, clock));
        if let Ok(engine) = shared.engine() {
            shared.memory().rebuild(&engine)?;
        }
        let jobs = writer::start(shared.clone(), path.to_owned())
            .map_err(|err| StoreError::new(StoreErrorKind::Unavailable, err))?;
        Ok(Embedded { shared, jobs, _lock: lock })
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.shared.engine()
    }

    fn lease_now(&self, max: usize, busy: &[AppId]) -> Result<Vec<Lease>, StoreError> {
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
                    let picks = run.lease(engine, &place, share)?;
                    picked.extend(picks.into_iter().map(|pick| (place.clone(), pick)));
                }
            }
        }
        Ok(picked)
    }

    fn read_users(&self, app: &str, users: &[&str]) -> Result<Vec<User>, StoreError> {
        let engine = self.engine()?;
        // Before reading: what changes later must be seen as a change.
        let as_of = self.shared.memory().epoch;
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            let mut user = read_user(&engine, app, user)?;
            user.as_of = as_of;
            found.push(user);
        }
        Ok(found)
    }

    fn check_owned(
        &self,
        app: &str,
        checks: &[Ownership<'_>],
        as_of: u64,
    ) -> Result<Vec<bool>, StoreError> {
        if self.shared.memory().epoch == as_of {
            return Ok(vec![true; checks.len()]);
        }
        let engine = self.engine()?;
        let mut owned = Vec::with_capacity(checks.len());
        for check in checks {
            let row = engine.users.get(keys::user(app, check.user)).map_err(broken)?;
            owned.push(match row {
                Some(bytes) => records::decode::<UserRecord<'_>>(&bytes)?
                    .devices
                    .iter()
                    .any(|d| d.id == check.device && d.generation == check.generation),
                None => false,
            });
        }
        Ok(owned)
    }

    fn find_device(&self, app: &str, device: &str) -> Result<Option<Device>, StoreError> {
        let engine = self.engine()?;
        let Some(row) = engine.devices.get(keys::device(app, device)).map_err(broken)? else {
            return Ok(None);
        };
        let user: Box<str> = String::from_utf8_lossy(&row).into();
        let known = read_user(&engine, app, &user)?;
        let device = known.devices.into_iter().find(|known| *known.id == *device);
        Ok(device.map(|device| Device { user, device }))
    }

    fn read_trace(&self, app: &str, event: &str) -> Result<Option<EventTrace>, StoreError> {
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

    fn read_events_of(
        &self,
        app: &str,
        user: &str,
        max: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let engine = self.engine()?;
        let prefix = keys::events_of(app, user);
        let mut found = Vec::new();
        for day in engine.days() {
            for row in day.rows.prefix(&prefix).rev() {
                if found.len() == max {
                    return Ok(found);
                }
                let key = row.key().map_err(broken)?;
                let event = key.get(prefix.len() + 8..).unwrap_or_default();
                found.push(String::from_utf8_lossy(event).into());
            }
        }
        Ok(found)
    }

    fn check_overtaken(
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

    fn lease_items_now(
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

    fn read_dead(&self, app: &str, max: usize) -> Result<Vec<DeadLetter>, StoreError> {
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

fn read_user(engine: &Engine, app: &str, user: &str) -> Result<User, StoreError> {
    match engine.users.get(keys::user(app, user)).map_err(broken)? {
        Some(bytes) => records::decode::<UserRecord<'_>>(&bytes)?.user(),
        None => Ok(User::default()),
    }
}

/// Later news of a push replaces earlier ones.
fn join(pushes: &mut Vec<PushTrace>, news: PushTrace) {
    match pushes.iter_mut().find(|known| known.push_id == news.push_id) {
        Some(known) => *known = news,
        None => pushes.push(news),
    }
}

/// Keeps a second process out of the directory. `None` where even the lock file cannot be made:
/// then nothing can be written either, and the engine says so.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    let file: PathBuf = path.join("posthorn.lock");
    let made = std::fs::create_dir_all(path)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&file));
    // Held open for reading only: a disk with a file open for writing cannot be remounted
    // read-only, which an operator who repairs it may want under a running gateway.
    drop(made);
    let Ok(opened) = File::open(&file) else { return Ok(None) };
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::WouldBlock) => Err(StoreError::new(
            StoreErrorKind::Conflict,
            format!(
                "another process uses {}; stop it, or give this one a directory of its own",
                path.display()
            ),
        )),
        Err(TryLockError::Error(err)) => Err(StoreError::new(StoreErrorKind::Unavailable, err)),
    }
}

impl Commit for Embedded {
    fn commit(&self, changes: Arc<Changes>) -> Answer<'_, Committed> {
        Box::pin(async move {
            let gone = || StoreError::new(StoreErrorKind::Unavailable, "the writer has ended");
            let (reply, answer) = oneshot::channel();
            let mut job = Job { changes, reply };
            // The channel is bounded; a full one means the disk is behind, and callers wait.
            loop {
                match self.jobs.try_send(job) {
                    Ok(()) => break,
                    Err(TrySendError::Full(back)) => {
                        job = back;
                        tokio::task::yield_now().await;
                    }
                    Err(TrySendError::Disconnected(_)) => return Err(gone()),
                }
            }
            answer.await.map_err(|_| gone())?
        })
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

impl Queue for Embedded {
    fn lease<'a>(&'a self, max: usize, busy: &'a [AppId]) -> Answer<'a, Vec<Lease>> {
        Box::pin(ready(self.lease_now(max, busy)))
    }

    fn release(&self, leases: &[LeaseKey]) {
        let mut memory = self.shared.memory();
        for key in leases {
            if let Some(run) = memory.runs.get_mut(&(key.priority, key.app.clone())) {
                run.release(key.sequence);
            }
        }
        self.shared.events.notify_one();
    }

    fn wait_for_events(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shared.events.notified())
    }

    fn backlog(&self, app: &str) -> u64 {
        let memory = self.shared.memory();
        memory.runs.iter().filter(|((_, name), _)| **name == *app).map(|(_, r)| r.backlog()).sum()
    }
}

impl Items for Embedded {
    fn lease_items<'a>(
        &'a self,
        app: &'a str,
        lane: &'a str,
        now: Millis,
        max: usize,
    ) -> Answer<'a, Vec<(ItemKey, Item)>> {
        Box::pin(ready(self.lease_items_now(app, lane, now, max)))
    }

    fn release_items(&self, items: &[ItemKey]) {
        let mut memory = self.shared.memory();
        for key in items {
            if let Some(lane) = memory.lanes.get_mut(&key.lane) {
                lane.release(key);
            }
        }
    }

    fn next_due<'a>(&'a self, app: &'a str, lane: &'a str) -> Answer<'a, Option<Millis>> {
        let place = (AppId::from(app), lane.into());
        let due = self.engine().and_then(|engine| match self.shared.memory().lanes.get(&place) {
            Some(items) => items.next_due(&engine, &place),
            None => Ok(None),
        });
        Box::pin(ready(due))
    }

    fn depth(&self, app: &str, lane: &str) -> u64 {
        let place = (AppId::from(app), lane.into());
        self.shared.memory().lanes.get(&place).map_or(0, |items| items.depth)
    }

    fn dead<'a>(&'a self, app: &'a str, max: usize) -> Answer<'a, Vec<DeadLetter>> {
        Box::pin(ready(self.read_dead(app, max)))
    }
}

impl Registry for Embedded {
    fn users<'a>(&'a self, app: &'a str, users: &'a [&'a str]) -> Answer<'a, Vec<User>> {
        Box::pin(ready(self.read_users(app, users)))
    }

    fn still_owned<'a>(
        &'a self,
        app: &'a str,
        checks: &'a [Ownership<'a>],
        as_of: u64,
    ) -> Answer<'a, Vec<bool>> {
        Box::pin(ready(self.check_owned(app, checks, as_of)))
    }

    fn device_owner<'a>(&'a self, app: &'a str, device: &'a str) -> Answer<'a, Option<Device>> {
        Box::pin(ready(self.find_device(app, device)))
    }

    fn device_count(&self) -> u64 {
        self.shared.memory().device_count
    }
}

impl Traces for Embedded {
    fn is_known<'a>(&'a self, app: &'a str, event: &'a str) -> Answer<'a, bool> {
        let known = self.engine().and_then(|engine| engine.knows(&keys::event_id(app, event)));
        Box::pin(ready(known))
    }

    fn trace<'a>(&'a self, app: &'a str, event: &'a str) -> Answer<'a, Option<EventTrace>> {
        Box::pin(ready(self.read_trace(app, event)))
    }

    fn events_of<'a>(
        &'a self,
        app: &'a str,
        user: &'a str,
        max: usize,
    ) -> Answer<'a, Vec<Box<str>>> {
        Box::pin(ready(self.read_events_of(app, user, max)))
    }

    fn overtaken<'a>(
        &'a self,
        app: &'a str,
        pushes: &'a [Standing<'a>],
    ) -> Answer<'a, Vec<Option<Overtaken>>> {
        Box::pin(ready(self.check_overtaken(app, pushes)))
    }
}
