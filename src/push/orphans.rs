//! Parked pushes whose lane is not configured any more: they wait in case it comes back, and end as
//! `expired` when their time is over, as every accepted event must end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dispatch::Lanes;
use super::settle;
use crate::model::{Clock, Millis};
use crate::store::{Changes, ItemKey, Store, StoreError};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Items leased at once.
const BATCH: usize = 256;

pub(super) struct Orphans {
    pub(super) store: Arc<dyn Store>,
    pub(super) lanes: Arc<Lanes>,
}

impl Orphans {
    pub(super) async fn run(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            for (app, lane) in self.store.item_lanes() {
                if self.lanes.get(&app, &lane).is_some() {
                    continue;
                }
                if let Err(err) = self.expire(&app, &lane, clock.now()).await {
                    tracing::warn!(%app, %lane, error = %err, "could not look after a lane that is gone");
                }
            }
        }
    }

    /// Ends what is over its time; gives the rest back.
    async fn expire(&self, app: &str, lane: &str, now: Millis) -> Result<(), StoreError> {
        let mut kept: Vec<ItemKey> = Vec::new();
        let done = loop {
            let items = match self.store.lease_items(app, lane, now, BATCH).await {
                Ok(items) if items.is_empty() => break Ok(()),
                Ok(items) => items,
                Err(err) => break Err(err),
            };
            let mut changes = Changes::default();
            for (key, item) in items {
                if item.deadline <= now {
                    changes.unpark.push(key);
                    settle::expire(item, now, &mut changes);
                } else {
                    kept.push(key);
                }
            }
            let ended = changes.unpark.clone();
            if let Err(err) = self.store.commit(changes.into()).await {
                kept.extend(ended);
                break Err(err);
            }
        };
        self.store.release_items(&kept);
        done
    }
}
