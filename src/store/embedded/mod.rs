//! The embedded backend: fjall in one data directory, no server.
//!
//! `engine.rs` opens it, `writer.rs` is the one thread that writes, `apply.rs` turns changes into
//! a batch, `memory.rs` holds leases, `keys.rs` every key's shape. Reads (`leases.rs`,
//! `registry.rs`, `traces.rs`) go straight to the database from wherever they are asked: they take
//! microseconds.

mod apply;
mod engine;
mod keys;
mod leases;
mod memory;
mod registry;
mod traces;
mod writer;

use std::fs::{File, TryLockError};
use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::engine::Engine;
use self::writer::{Job, Shared};
use super::{
    Answer, Changes, Commit, Committed, DeadLetter, Device, Health, Item, ItemKey, Items, LaneKey,
    Lease, LeaseKey, Overtaken, Ownership, Queue, Registry, Standing, StoreError, StoreErrorKind,
    Traces, User,
};
use crate::model::{AppId, Clock, EventTrace, Millis};

/// The store in one directory. Cheap to share behind an `Arc`.
pub struct Embedded {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    writer: Option<(SyncSender<Job>, JoinHandle<()>)>,
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
        let writer = writer::start(shared.clone(), path.to_owned())
            .map_err(|err| StoreError::new(StoreErrorKind::Unavailable, err))?;
        Ok(Embedded { shared, writer: Some(writer), _lock: lock })
    }

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.shared.engine()
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

/// Closes the database before the lock is let go, so that whoever opens or removes the directory next
/// finds nobody in it.
impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.writer.take() {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("the store's writer had panicked");
            }
        }
        self.shared.close();
    }
}

impl Commit for Embedded {
    fn commit(&self, changes: Arc<Changes>) -> Answer<'_, Committed> {
        Box::pin(async move {
            let gone = || StoreError::new(StoreErrorKind::Unavailable, "the writer has ended");
            let (reply, answer) = oneshot::channel();
            let mut job = Job { changes, reply };
            // The channel is bounded; a full one means the disk is behind, and callers wait.
            let Some((jobs, _)) = &self.writer else { return Err(gone()) };
            loop {
                match jobs.try_send(job) {
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

    fn oldest<'a>(&'a self, app: &'a str, lane: &'a str) -> Answer<'a, Option<Millis>> {
        Box::pin(ready(self.read_oldest(app, lane)))
    }

    fn item_lanes(&self) -> Vec<LaneKey> {
        let memory = self.shared.memory();
        memory
            .lanes
            .iter()
            .filter(|(_, items)| items.depth > 0)
            .map(|(lane, _)| lane.clone())
            .collect()
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

    fn is_current(&self, as_of: u64) -> bool {
        self.shared.epoch() == as_of
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

    fn has_news(&self) -> bool {
        // A store that is closed cannot say no.
        self.engine().map_or(true, |engine| engine.has_news())
    }

    fn overtaken<'a>(
        &'a self,
        app: &'a str,
        pushes: &'a [Standing<'a>],
    ) -> Answer<'a, Vec<Option<Overtaken>>> {
        Box::pin(ready(self.check_overtaken(app, pushes)))
    }
}
