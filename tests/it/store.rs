//! The embedded store: the suite that every backend passes, and what only this one does.

use std::path::Path;
use std::sync::Arc;

use posthorn::model::clock::ManualClock;
use posthorn::model::{Clock, Millis};
use posthorn::store::embedded::Embedded;
use posthorn::store::suite::Bed;
use posthorn::store::{Commit, Health, Store, StoreErrorKind};
use tempfile::TempDir;

use crate::support::{dice, eventually};

posthorn::store_suite!(bed);

/// A directory of its own.
struct Directory {
    directory: TempDir,
    seed: u64,
}

fn bed() -> Directory {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    Directory { directory, seed: dice::seed("store suite") }
}

impl Bed for Directory {
    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        // The store dropped before closes its files a moment later.
        let store = eventually("the directory is free and opens", async || {
            let store = Embedded::open(self.directory.path(), clock.clone());
            let store = store.expect("the directory can be opened");
            (store.health() == Health::Ready).then_some(store)
        });
        Arc::new(store.await)
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

fn open(path: &Path) -> Result<Embedded, posthorn::store::StoreError> {
    Embedded::open(path, Arc::new(ManualClock::at(Millis(0))))
}

#[test]
fn a_directory_in_use_is_refused_with_its_path() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let _first = open(directory.path()).expect("an empty directory opens");
    let refused = open(directory.path()).err().expect("the second is refused");
    assert_eq!(refused.kind, StoreErrorKind::Conflict);
    assert!(refused.detail.contains(&*directory.path().to_string_lossy()), "{refused}");
}

#[test]
fn a_directory_of_a_newer_posthorn_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    {
        let database = fjall::Database::builder(directory.path()).open().expect("it opens");
        let meta = database.keyspace("meta", Default::default).expect("it opens");
        meta.insert("format", 99u32.to_be_bytes()).expect("it is written");
        database.persist(fjall::PersistMode::SyncAll).expect("it is written");
    }
    for _ in 0..2 {
        let refused = open(directory.path()).err().expect("it is refused");
        assert_eq!(refused.kind, StoreErrorKind::Corrupt);
        assert!(refused.detail.contains("newer Posthorn (format 99"), "{refused}");
    }
}
