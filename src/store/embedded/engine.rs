//! The open database: its keyspaces, and one keyspace a day for what goes after seven days.
//!
//! One fjall database holds everything, because a queue entry and what belongs to it must commit
//! together. At least four workers: with fewer an upstream deadlock (fjall-rs/fjall#323) is easy
//! to reach.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::keys;
use crate::model::{Millis, event::RETENTION};
use crate::store::{StoreError, StoreErrorKind};

/// The format of the directory; a newer one is refused.
const FORMAT: u32 = 1;
const WORKERS: usize = 4;
const CACHE_BYTES: u64 = 48 << 20;
const PROBE: usize = 256 << 10;
/// For what is looked up for long: devices and users.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// For what comes and goes: most queue rows are acked before they would be flushed, and fjall makes
/// writers wait in steps of 100 ms once four full memtables of a keyspace wait for their flush.
const HOT_MEMTABLE_BYTES: u64 = 64 << 20;

pub(super) struct Engine {
    pub(super) db: Database,
    pub(super) meta: Keyspace,
    pub(super) queue: Keyspace,
    pub(super) items: Keyspace,
    pub(super) users: Keyspace,
    pub(super) devices: Keyspace,
    pub(super) owners: Keyspace,
    pub(super) dead: Keyspace,
    /// Newest last.
    days: RwLock<BTreeMap<u32, Arc<Day>>>,
}

/// What one day's keyspace holds: event ids, traces, late news.
pub(super) struct Day {
    pub(super) rows: Keyspace,
    /// Whether any late news was ever written; most lookups end here.
    has_news: AtomicBool,
}

impl Day {
    fn open(db: &Database, day: u32) -> Result<Self, fjall::Error> {
        let rows = db.keyspace(&keys::day_name(day), hot_options)?;
        let has_news = rows.prefix(keys::NEWS).next().is_some();
        Ok(Day { rows, has_news: AtomicBool::new(has_news) })
    }

    pub(super) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// Before the news itself is written, so that no reader passes over it.
    pub(super) fn expect_news(&self) {
        self.has_news.store(true, Ordering::Release);
    }
}

fn options() -> KeyspaceCreateOptions {
    partitioned().max_memtable_size(MEMTABLE_BYTES)
}

fn hot_options() -> KeyspaceCreateOptions {
    partitioned().max_memtable_size(HOT_MEMTABLE_BYTES)
}

/// Filters and indexes in small blocks. Whole, a large table's filter is several megabytes, more than
/// one shard of the cache holds: every look-up of a new event id then read it from disk again.
fn partitioned() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
}

impl Engine {
    /// Opens the database in `path`, creating it if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(path)
            .worker_threads(WORKERS)
            .cache_size(CACHE_BYTES)
            .open()
            .map_err(broken)?;
        let keyspace = |name: &str| db.keyspace(name, options).map_err(broken);
        let hot = |name: &str| db.keyspace(name, hot_options).map_err(broken);
        let engine = Engine {
            meta: keyspace("meta")?,
            queue: hot("queue")?,
            items: hot("items")?,
            users: keyspace("users")?,
            devices: keyspace("devices")?,
            owners: keyspace("owners")?,
            dead: keyspace("dead")?,
            days: RwLock::default(),
            db,
        };
        engine.check_format(path)?;
        engine.open_days()?;
        Ok(engine)
    }

    fn check_format(&self, path: &Path) -> Result<(), StoreError> {
        let corrupt = |detail: String| StoreError::new(StoreErrorKind::Corrupt, detail);
        match self.meta.get(keys::FORMAT).map_err(broken)? {
            None => {
                self.meta.insert(keys::FORMAT, FORMAT.to_be_bytes()).map_err(broken)?;
                self.db.persist(PersistMode::SyncAll).map_err(broken)
            }
            Some(format) => match <[u8; 4]>::try_from(&*format).map(u32::from_be_bytes) {
                Ok(FORMAT) => Ok(()),
                Ok(newer) if newer > FORMAT => Err(corrupt(format!(
                    "{} was written by a newer Posthorn (format {newer}; this one reads up to \
                     {FORMAT}): start that version, or point store.url elsewhere",
                    path.display()
                ))),
                Ok(_) | Err(_) => {
                    Err(corrupt(format!("{} is not a Posthorn store", path.display())))
                }
            },
        }
    }

    /// Writes and syncs a probe: fails while the disk takes nothing. Large enough that the little
    /// room a reopened journal frees is not taken for a disk with room.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        self.meta.insert("probe", vec![0u8; PROBE]).map_err(broken)?;
        self.db.persist(PersistMode::SyncData).map_err(broken)
    }

    fn open_days(&self) -> Result<(), StoreError> {
        for name in self.db.list_keyspace_names() {
            if let Some(day) = keys::parse_day_name(&name) {
                self.open_day(day)?;
            }
        }
        Ok(())
    }

    fn open_day(&self, day: u32) -> Result<Arc<Day>, StoreError> {
        let opened = Arc::new(Day::open(&self.db, day).map_err(broken)?);
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        days.insert(day, opened.clone());
        Ok(opened)
    }

    /// The keyspace of the day that `at` falls in, created if there is none.
    pub(super) fn day_of(&self, at: Millis) -> Result<Arc<Day>, StoreError> {
        let day = at.day();
        let known = self.days.read().unwrap_or_else(PoisonError::into_inner).get(&day).cloned();
        match known {
            Some(open) => Ok(open),
            None => self.open_day(day),
        }
    }

    /// Whether any day holds late news.
    pub(super) fn has_news(&self) -> bool {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        days.values().any(|day| day.has_news())
    }

    /// Every day within the retention, newest first.
    pub(super) fn days(&self) -> Vec<Arc<Day>> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        days.values().rev().cloned().collect()
    }

    /// Whether any day holds this event id.
    pub(super) fn knows(&self, id: &[u8]) -> Result<bool, StoreError> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        for day in days.values().rev() {
            if day.rows.contains_key(id).map_err(broken)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops the days that lie wholly before the retention.
    pub(super) fn drop_old_days(&self, now: Millis) -> Result<(), StoreError> {
        let oldest = (now - RETENTION).day();
        let old = {
            let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
            let kept = days.split_off(&oldest);
            std::mem::replace(&mut *days, kept)
        };
        for day in old.into_values() {
            self.db.delete_keyspace(day.rows.clone()).map_err(broken)?;
        }
        Ok(())
    }
}

/// A fjall error in our words. After a failed flush or commit fjall refuses everything
/// ("poisoned") and must be reopened.
pub(super) fn broken(err: fjall::Error) -> StoreError {
    let full = |io: &std::io::Error| {
        matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    };
    let kind = match &err {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) if full(io) => {
            StoreErrorKind::Full
        }
        fjall::Error::Io(_)
        | fjall::Error::Poisoned
        | fjall::Error::Locked
        | fjall::Error::Storage(fjall::LsmError::Io(_)) => StoreErrorKind::Unavailable,
        fjall::Error::InvalidVersion(_)
        | fjall::Error::JournalRecovery(_)
        | fjall::Error::Unrecoverable => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, err)
}
