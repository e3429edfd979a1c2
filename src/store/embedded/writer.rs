//! The one writer: a thread that commits whatever has come together, with one fsync.
//!
//! Callers send their changes and wait; the thread takes all that are waiting, fills one batch,
//! commits it, updates memory, and answers. When a commit fails, fjall is poisoned: the thread
//! closes the database and reopens it as soon as the disk allows, and answers "unavailable"
//! meanwhile. What was answered before is on disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::PersistMode;
use tokio::sync::{Notify, oneshot};

use super::apply::{Draft, Sequence};
use super::engine::{Engine, broken};
use super::memory::Memory;
use crate::model::Clock;
use crate::store::{Changes, Committed, Health, StoreError, StoreErrorKind};

/// Most changes in one commit, so that a commit's length stays bounded.
const GROUP: usize = 1024;
/// Changes waiting for the writer before callers wait to be let in.
const WAITING: usize = 4096;
/// A commit older than this is a hang (fjall-rs/fjall#323), not a slow disk.
const STALL: Duration = Duration::from_secs(10);
const REOPEN_EVERY: Duration = Duration::from_millis(500);

pub(super) type Reply = oneshot::Sender<Result<Committed, StoreError>>;

pub(super) struct Job {
    pub(super) changes: Arc<Changes>,
    pub(super) reply: Reply,
}

/// What the writer shares with readers.
pub(super) struct Shared {
    engine: RwLock<Result<Arc<Engine>, StoreError>>,
    memory: Mutex<Memory>,
    pub(super) events: Notify,
    pub(super) clock: Arc<dyn Clock>,
    /// Grows with every change of a device's owner; names a reading of the registry.
    epoch: AtomicU64,
    started: Instant,
    /// When the running commit began, in milliseconds after `started`, plus one; 0 when idle.
    committing: AtomicU64,
}

impl Shared {
    pub(super) fn new(engine: Result<Arc<Engine>, StoreError>, clock: Arc<dyn Clock>) -> Self {
        Shared {
            engine: RwLock::new(engine),
            memory: Mutex::default(),
            events: Notify::new(),
            clock,
            epoch: AtomicU64::new(1),
            started: Instant::now(),
            committing: AtomicU64::new(0),
        }
    }

    /// The open database, or why there is none.
    pub(super) fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn health(&self) -> Health {
        let began = self.committing.load(Ordering::Acquire);
        let now = self.started.elapsed().as_millis() as u64;
        if began > 0 && now.saturating_sub(began) > STALL.as_millis() as u64 {
            return Health::Stalled;
        }
        match self.engine() {
            Ok(_) => Health::Ready,
            Err(err) => Health::Unavailable(err.to_string()),
        }
    }

    /// Closes the database for good.
    pub(super) fn close(&self) {
        self.set_engine(Err(StoreError::new(StoreErrorKind::Unavailable, "the store is closed")));
    }

    fn set_engine(&self, engine: Result<Arc<Engine>, StoreError>) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = engine;
    }
}

/// Starts the writer over what `shared` holds.
pub(super) fn start(
    shared: Arc<Shared>,
    path: PathBuf,
) -> std::io::Result<(SyncSender<Job>, JoinHandle<()>)> {
    let (jobs, inbox) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
        let mut writer = Writer { shared, path, sequence: None, day: 0 };
        writer.run(&inbox);
    })?;
    Ok((jobs, thread))
}

struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    /// `None` until read from the engine in use.
    sequence: Option<Sequence>,
    /// The last day that old days were dropped on.
    day: u32,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Job>) {
        loop {
            let first = match inbox.recv_timeout(REOPEN_EVERY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut group: Vec<Job> = first.into_iter().collect();
            while group.len() < GROUP
                && let Ok(job) = inbox.try_recv()
            {
                group.push(job);
            }
            match self.shared.engine() {
                Ok(engine) if !group.is_empty() => self.commit(&engine, group),
                Ok(_) => {}
                Err(why) => {
                    refuse(group, &why);
                    self.reopen();
                }
            }
        }
    }

    fn commit(&mut self, engine: &Arc<Engine>, group: Vec<Job>) {
        let now = self.shared.started.elapsed().as_millis() as u64 + 1;
        self.shared.committing.store(now, Ordering::Release);
        let changes: Vec<Arc<Changes>> = group.iter().map(|job| job.changes.clone()).collect();
        let written = self.write(engine, &changes);
        self.shared.committing.store(0, Ordering::Release);
        match written {
            Ok(found) => {
                for (job, committed) in group.into_iter().zip(found) {
                    // A caller that went away does not want to know.
                    drop(job.reply.send(Ok(committed)));
                }
            }
            // A row that cannot be read was found before anything was written: it concerns whoever
            // needed it, not the others of the group.
            Err(err) if err.kind == StoreErrorKind::Corrupt && group.len() > 1 => {
                for job in group {
                    self.commit(engine, vec![job]);
                }
            }
            Err(err) if err.kind == StoreErrorKind::Corrupt => refuse(group, &err),
            Err(err) => {
                tracing::error!(error = %err, "a commit failed; the store is closed and reopened");
                refuse(group, &err);
                self.close(err);
            }
        }
    }

    fn write(
        &mut self,
        engine: &Arc<Engine>,
        changes: &[Arc<Changes>],
    ) -> Result<Vec<Committed>, StoreError> {
        if self.sequence.is_none() {
            self.sequence = Some(Sequence::resume(engine)?);
        }
        let sequence = self.sequence.get_or_insert_default();
        let now = self.shared.clock.now();
        if now.day() != self.day {
            engine.drop_old_days(now)?;
            self.day = now.day();
        }
        let rows = changes.iter().map(|changes| changes.rows()).sum();
        let mut draft = Draft::new(engine, sequence, now, rows);
        let mut found = Vec::with_capacity(changes.len());
        for change in changes {
            found.push(draft.add(change)?);
        }
        draft.write_device_count(self.shared.memory().device_count);
        let (batch, after, durable) = draft.finish();
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        // A row can be read as soon as it is committed, before memory knows of it.
        after.hold(&mut self.shared.memory());
        if let Err(err) = batch.durability(Some(mode)).commit() {
            after.let_go(&mut self.shared.memory());
            return Err(broken(err));
        }
        if after.changes_owners() {
            self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        }
        let has_events = after.apply(&mut self.shared.memory());
        if has_events {
            self.shared.events.notify_one();
        }
        Ok(found)
    }

    /// Gives up the broken engine. Readers hold it for one call only, so its files and its lock
    /// are free soon after.
    fn close(&mut self, why: StoreError) {
        let why = StoreError::new(StoreErrorKind::Unavailable, why.detail);
        self.shared.set_engine(Err(why));
        self.sequence = None;
    }

    fn reopen(&mut self) {
        let opened = Engine::open(&self.path).and_then(|engine| {
            // What is poisoned by a full disk opens while it is still full; a write tells.
            engine.probe()?;
            self.shared.memory().rebuild(&engine)?;
            Ok(Arc::new(engine))
        });
        match opened {
            Ok(engine) => {
                tracing::info!("the store is open again");
                self.shared.set_engine(Ok(engine));
                self.shared.events.notify_one();
            }
            Err(err) => tracing::debug!(error = %err, "the store cannot be opened yet"),
        }
    }
}

fn refuse(group: Vec<Job>, why: &StoreError) {
    for job in group {
        // A caller that went away does not want to know.
        drop(job.reply.send(Err(why.clone())));
    }
}
