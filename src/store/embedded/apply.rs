//! Turns `Changes` into one write batch, and says what it does to memory once it is committed.
//!
//! Several changes may share a batch (group commit), so what one of them writes the next must see:
//! rows that are read, changed and written go through an overlay.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fjall::{Keyspace, OwnedWriteBatch};

use super::engine::{Engine, broken};
use super::keys;
use super::memory::Memory;
use crate::model::{AppId, Event, Kind, Millis};
use crate::store::records::{
    self, DeadRecord, EventRecord, IdRecord, ItemRecord, OwnerRecord, TombstoneRecord, TraceRecord,
    UserRecord,
};
use crate::store::{
    Appended, Changes, Committed, Item, ItemKey, LeaseKey, Prune, Registered, Registration,
    StoreError, StoreErrorKind, TraceRow, User,
};

/// Sequences set aside by one write to `meta`, so that a restart never hands one out again.
const SEQUENCE_BLOCK: u64 = 1 << 20;

/// Recipients up to which an event has an index row for each; beyond, one row for all.
const INDEXED: usize = 16;

/// The sequence counter; survives the engine.
#[derive(Default)]
pub(super) struct Sequence {
    next: u64,
    reserved: u64,
}

impl Sequence {
    pub(super) fn resume(engine: &Engine) -> Result<Self, StoreError> {
        let stored = engine.meta.get(keys::SEQUENCE).map_err(broken)?;
        let reserved = stored
            .and_then(|bytes| bytes.first_chunk().map(|b| u64::from_be_bytes(*b)))
            .unwrap_or(1);
        Ok(Sequence { next: reserved, reserved })
    }
}

/// A write batch being filled.
pub(super) struct Draft<'e> {
    engine: &'e Engine,
    sequence: &'e mut Sequence,
    now: Millis,
    batch: OwnedWriteBatch,
    ids: HashSet<Vec<u8>>,
    /// What this batch leaves of each row that it read first. Written once, at the end: within one
    /// fjall batch two writes of the same key have no order.
    rows: HashMap<(u64, Vec<u8>), (Keyspace, Option<Vec<u8>>)>,
    pub(super) after: After,
    pub(super) durable: bool,
}

/// What a committed batch does to memory.
#[derive(Default)]
pub(super) struct After {
    appended: Vec<(LeaseKey, Arc<Event>)>,
    acked: Vec<LeaseKey>,
    parked: Vec<(ItemKey, bool)>,
    unparked: Vec<ItemKey>,
    device_delta: i64,
    owners_changed: bool,
}

impl After {
    pub(super) fn changes_owners(&self) -> bool {
        self.owners_changed
    }

    /// Leases the items whose parker goes on working on them before anybody can see them.
    pub(super) fn hold(&self, memory: &mut Memory) {
        for (key, _) in self.parked.iter().filter(|(_, leased)| *leased) {
            memory.lanes.entry(key.lane.clone()).or_default().hold(key);
        }
    }

    /// Takes [`After::hold`] back: nothing was written.
    pub(super) fn let_go(&self, memory: &mut Memory) {
        for (key, _) in self.parked.iter().filter(|(_, leased)| *leased) {
            memory.lanes.entry(key.lane.clone()).or_default().let_go(key);
        }
    }

    pub(super) fn apply(self, memory: &mut Memory) -> bool {
        let has_events = !self.appended.is_empty();
        for (key, event) in self.appended {
            memory.runs.entry((key.priority, key.app)).or_default().append(key.sequence, event);
        }
        for key in self.acked {
            if let Some(run) = memory.runs.get_mut(&(key.priority, key.app)) {
                run.ack(key.sequence);
            }
        }
        for key in self.unparked {
            memory.lanes.entry(key.lane.clone()).or_default().unpark(&key);
        }
        for (key, leased) in self.parked {
            memory.lanes.entry(key.lane.clone()).or_default().park(&key, leased);
        }
        memory.device_count = memory.device_count.saturating_add_signed(self.device_delta);
        has_events
    }
}

impl<'e> Draft<'e> {
    /// An empty draft that is about to hold some `rows`.
    pub(super) fn new(
        engine: &'e Engine,
        sequence: &'e mut Sequence,
        now: Millis,
        rows: usize,
    ) -> Self {
        Draft {
            engine,
            sequence,
            now,
            batch: OwnedWriteBatch::with_capacity(engine.db.clone(), rows),
            ids: HashSet::new(),
            rows: HashMap::new(),
            after: After::default(),
            durable: false,
        }
    }

    /// Adds everything of `changes`.
    pub(super) fn add(&mut self, changes: &Changes) -> Result<Committed, StoreError> {
        let mut found = Committed::default();
        self.durable |= changes.durable;
        for event in &changes.append {
            found.appended.push(self.append(event)?);
        }
        for key in &changes.ack {
            self.batch.remove(&self.engine.queue, keys::queued(key));
            self.after.acked.push(key.clone());
        }
        for key in &changes.unpark {
            self.batch.remove(&self.engine.items, keys::item(key));
            self.after.unparked.push(key.clone());
        }
        for item in &changes.park {
            found.parked.push(self.park(item)?);
        }
        for row in &changes.traces {
            self.trace(row)?;
        }
        for (app, slot, count) in &changes.latest {
            self.mark_latest(app, *slot, *count)?;
        }
        for letter in &changes.bury {
            let key = keys::dead(&letter.app, self.next_sequence());
            self.batch.insert(&self.engine.dead, key, records::encode(&DeadRecord::from(letter)));
        }
        for (app, sequence) in &changes.exhume {
            self.batch.remove(&self.engine.dead, keys::dead(app, *sequence));
        }
        for prune in &changes.prune {
            self.prune(prune)?;
        }
        for registration in &changes.register {
            found.registered.push(self.register(registration)?);
        }
        for (app, device, user) in &changes.unregister {
            found.unregistered.push(self.unregister(app, device, user.as_deref())?);
        }
        for (app, user, preferences) in &changes.preferences {
            self.change_user(app, user, |known| known.preferences = preferences.clone())?;
        }
        for (app, user, profile) in &changes.profiles {
            self.change_user(app, user, |known| known.profile = profile.clone())?;
        }
        Ok(found)
    }

    /// The batch, with how much sequence it used set aside.
    pub(super) fn finish(mut self) -> (OwnedWriteBatch, After, bool) {
        if self.sequence.next >= self.sequence.reserved {
            self.sequence.reserved = self.sequence.next + SEQUENCE_BLOCK;
            let reserved = self.sequence.reserved.to_be_bytes();
            self.batch.insert(&self.engine.meta, keys::SEQUENCE, reserved);
        }
        for ((_, key), (keyspace, row)) in self.rows {
            match row {
                Some(row) => self.batch.insert(&keyspace, key, row),
                None => self.batch.remove(&keyspace, key),
            }
        }
        (self.batch, self.after, self.durable)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence.next += 1;
        self.sequence.next
    }

    fn append(&mut self, event: &Arc<Event>) -> Result<Appended, StoreError> {
        let id = keys::event_id(&event.app, &event.id);
        if self.ids.contains(&id) || self.engine.knows(&id)? {
            return Ok(Appended::Duplicate);
        }
        let day = self.engine.day_of(event.received_at)?;
        let known = IdRecord { received_at: event.received_at.0 };
        self.batch.insert(&day.rows, id.clone(), records::encode(&known));
        self.ids.insert(id);
        let key = LeaseKey {
            priority: event.priority(),
            app: event.app.clone(),
            sequence: self.next_sequence(),
        };
        if event.to.len() > INDEXED {
            let users: Vec<u8> = event.to.iter().flat_map(|user| keys::user_hash(user)).collect();
            let row = keys::broadcast(&event.app, key.sequence, &event.id);
            self.batch.insert(&day.rows, row, users);
        } else {
            for user in &event.to {
                let row = keys::event_of(&event.app, user, key.sequence, &event.id);
                self.batch.insert(&day.rows, row, []);
            }
        }
        self.write_news(event)?;
        let record = records::encode(&EventRecord::from(&**event));
        self.batch.insert(&self.engine.queue, keys::queued(&key), record);
        self.after.appended.push((key, event.clone()));
        Ok(Appended::New)
    }

    /// A recall, an edit, a call's end and a read stand from the moment they are accepted, so that
    /// no push that is still waiting slips past them.
    fn write_news(&mut self, event: &Event) -> Result<(), StoreError> {
        let (tombstone, of) = match &event.kind {
            Kind::Recall { of } => (TombstoneRecord::Recalled, of),
            Kind::Edit { of, .. } => (TombstoneRecord::Edited(&event.id), of),
            Kind::CallEnd { of } => (TombstoneRecord::Ended, of),
            Kind::Read { up_to } => return self.mark_read(event, *up_to),
            Kind::Message(_) | Kind::Call | Kind::FriendRequest(_) | Kind::System(_) => {
                return Ok(());
            }
        };
        let key = keys::tombstone(&event.app, of);
        // What is recalled or over stays so, whatever is edited later.
        if let (TombstoneRecord::Edited(_), Some(known)) = (tombstone, self.news(&key)?)
            && !matches!(records::decode(&known)?, TombstoneRecord::Edited(_))
        {
            return Ok(());
        }
        self.put_news(key, records::encode(&tombstone))
    }

    /// What the newest day that speaks of this key says: the one that readers go by.
    fn news(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for day in self.engine.days().iter().filter(|day| day.has_news()) {
            if let Some(row) = self.row(&day.rows, key)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn put_news(&mut self, key: Vec<u8>, row: Vec<u8>) -> Result<(), StoreError> {
        let day = self.engine.day_of(self.now)?;
        day.expect_news();
        self.put(&day.rows, key, row);
        Ok(())
    }

    /// Raises a number that only grows, on whatever day it was written last.
    fn raise(&mut self, key: Vec<u8>, to: u64) -> Result<(), StoreError> {
        let before = self.news(&key)?.map_or(0, |bytes| number(&bytes));
        self.put_news(key, to.max(before).to_be_bytes().to_vec())
    }

    fn mark_read(&mut self, event: &Event, up_to: Millis) -> Result<(), StoreError> {
        let Some(conversation) = &event.conversation else { return Ok(()) };
        for user in &event.to {
            self.raise(keys::read_mark(&event.app, user, conversation), up_to.0)?;
        }
        Ok(())
    }

    fn mark_latest(
        &mut self,
        app: &str,
        slot: posthorn_vendors::Id,
        count: u32,
    ) -> Result<(), StoreError> {
        self.raise(keys::latest(app, slot), u64::from(count))
    }

    fn park(&mut self, item: &Item) -> Result<ItemKey, StoreError> {
        let key = ItemKey {
            lane: (item.app.clone(), item.lane.clone()),
            priority: item.priority,
            due: item.due,
            sequence: self.next_sequence(),
        };
        let record = records::encode(&ItemRecord::from(item));
        self.batch.insert(&self.engine.items, keys::item(&key), record);
        self.after.parked.push((key.clone(), item.leased));
        Ok(key)
    }

    fn trace(&mut self, row: &TraceRow) -> Result<(), StoreError> {
        let day = self.engine.day_of(row.received_at)?;
        let key = keys::trace_part(&row.app, &row.event, self.next_sequence());
        self.batch.insert(&day.rows, key, records::encode(&TraceRecord::of(row)));
        Ok(())
    }

    fn prune(&mut self, prune: &Prune) -> Result<(), StoreError> {
        let owner = &prune.owner;
        let mut user = match self.user(&prune.app, &owner.user) {
            Ok(user) => user,
            // The verdicts it comes with must be written all the same.
            Err(err) if err.kind == StoreErrorKind::Corrupt => {
                tracing::error!(error = %err, "a user's row cannot be read; its dead token stays");
                return Ok(());
            }
            Err(err) => return Err(err),
        };
        let dead = |device: &crate::model::Device| {
            device.id == owner.device
                && device.generation == owner.generation
                && prune.since.is_none_or(|since| device.registered_at <= since)
        };
        let Some(at) = user.devices.iter().position(dead) else { return Ok(()) };
        let device = user.devices.remove(at);
        self.forget_device(&prune.app, &device);
        self.put_user(&prune.app, &owner.user, &user);
        Ok(())
    }

    fn register(&mut self, registration: &Registration) -> Result<Registered, StoreError> {
        let Registration { app, user, device, must_prove } = registration;
        let mut device = device.clone();
        if let Some(holder) = self.holder(app, &device.id)?
            && *holder != **user
        {
            let mut theirs = self.user(app, &holder)?;
            if let Some(at) = theirs.devices.iter().position(|known| known.id == device.id) {
                if *must_prove && theirs.devices[at].token != device.token {
                    return Ok(Registered::Foreign);
                }
                let taken = theirs.devices.remove(at);
                self.forget_device(app, &taken);
                self.put_user(app, &holder, &theirs);
            }
        }
        self.take_token(app, user, &device)?;
        let mut mine = self.user(app, user)?;
        let known = mine.devices.iter().position(|known| known.id == device.id);
        let refreshed = known.is_some_and(|at| {
            mine.devices[at].lane == device.lane && mine.devices[at].token == device.token
        });
        device.generation = match known {
            Some(at) if refreshed => mine.devices[at].generation,
            _ => self.next_sequence(),
        };
        let generation = device.generation;
        if let Some(at) = known {
            let old = mine.devices.remove(at);
            self.forget_device(app, &old);
        }
        self.know_device(app, user, &device);
        mine.devices.push(device);
        self.put_user(app, user, &mine);
        Ok(if refreshed {
            Registered::Refreshed { generation }
        } else {
            Registered::Created { generation }
        })
    }

    /// A token has one owner: whoever had it loses it.
    fn take_token(
        &mut self,
        app: &str,
        user: &str,
        device: &crate::model::Device,
    ) -> Result<(), StoreError> {
        let key = keys::owner(app, &device.lane, device.token.expose());
        let Some(bytes) = self.row(&self.engine.owners, &key)? else { return Ok(()) };
        let owner: OwnerRecord<'_> = records::decode(&bytes)?;
        if owner.user == user && owner.device == &*device.id {
            return Ok(());
        }
        let mut theirs = self.user(app, owner.user)?;
        if let Some(at) = theirs.devices.iter().position(|known| *known.id == *owner.device) {
            let taken = theirs.devices.remove(at);
            self.forget_device(app, &taken);
            self.put_user(app, owner.user, &theirs);
        }
        Ok(())
    }

    fn unregister(
        &mut self,
        app: &AppId,
        device: &str,
        only: Option<&str>,
    ) -> Result<bool, StoreError> {
        let Some(holder) = self.holder(app, device)? else { return Ok(false) };
        if only.is_some_and(|user| *user != *holder) {
            return Ok(false);
        }
        let mut user = self.user(app, &holder)?;
        let Some(at) = user.devices.iter().position(|known| *known.id == *device) else {
            return Ok(false);
        };
        let gone = user.devices.remove(at);
        self.forget_device(app, &gone);
        self.put_user(app, &holder, &user);
        Ok(true)
    }

    fn holder(&self, app: &str, device: &str) -> Result<Option<Box<str>>, StoreError> {
        let row = self.row(&self.engine.devices, &keys::device(app, device))?;
        Ok(row.map(|bytes| String::from_utf8_lossy(&bytes).into()))
    }

    fn know_device(&mut self, app: &str, user: &str, device: &crate::model::Device) {
        let owner = OwnerRecord { user, device: &device.id };
        let key = keys::owner(app, &device.lane, device.token.expose());
        self.put(&self.engine.owners, key, records::encode(&owner));
        self.put(&self.engine.devices, keys::device(app, &device.id), user.as_bytes().to_vec());
        self.count_devices(1);
    }

    fn forget_device(&mut self, app: &str, device: &crate::model::Device) {
        let key = keys::owner(app, &device.lane, device.token.expose());
        self.remove(&self.engine.owners, key);
        self.remove(&self.engine.devices, keys::device(app, &device.id));
        self.count_devices(-1);
    }

    fn count_devices(&mut self, by: i64) {
        self.after.device_delta += by;
        self.after.owners_changed = true;
    }

    /// Writes the device count, given what it was before this draft.
    pub(super) fn write_device_count(&mut self, before: u64) {
        if self.after.owners_changed {
            let count = before.saturating_add_signed(self.after.device_delta);
            self.batch.insert(&self.engine.meta, keys::DEVICE_COUNT, count.to_be_bytes());
        }
    }

    fn change_user(
        &mut self,
        app: &str,
        user: &str,
        change: impl FnOnce(&mut User),
    ) -> Result<(), StoreError> {
        let mut known = self.user(app, user)?;
        change(&mut known);
        self.put_user(app, user, &known);
        Ok(())
    }

    fn user(&self, app: &str, user: &str) -> Result<User, StoreError> {
        match self.row(&self.engine.users, &keys::user(app, user))? {
            Some(bytes) => records::decode::<UserRecord<'_>>(&bytes)?.user(),
            None => Ok(User::default()),
        }
    }

    fn put_user(&mut self, app: &str, user: &str, known: &User) {
        let record = records::encode(&UserRecord::of(known));
        self.put(&self.engine.users, keys::user(app, user), record);
    }

    fn row(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((_, row)) = self.rows.get(&(keyspace.id(), key.to_vec())) {
            return Ok(row.clone());
        }
        Ok(keyspace.get(key).map_err(broken)?.map(|bytes| bytes.to_vec()))
    }

    fn put(&mut self, keyspace: &Keyspace, key: Vec<u8>, row: Vec<u8>) {
        self.rows.insert((keyspace.id(), key), (keyspace.clone(), Some(row)));
    }

    fn remove(&mut self, keyspace: &Keyspace, key: Vec<u8>) {
        self.rows.insert((keyspace.id(), key), (keyspace.clone(), None));
    }
}

/// A stored big-endian number.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}
