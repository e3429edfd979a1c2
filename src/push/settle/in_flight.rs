//! How many events are being worked on, so that memory is bounded and no app takes all of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::AppId;

/// Events leased and not yet acked, by app; tells the pump when there is room.
#[derive(Default)]
pub(in crate::push) struct InFlight {
    total: AtomicUsize,
    by_app: Mutex<HashMap<AppId, usize>>,
    freed: Notify,
}

impl InFlight {
    pub(in crate::push) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    pub(in crate::push) fn add(&self, app: &AppId, count: usize) {
        self.total.fetch_add(count, Ordering::AcqRel);
        *self.lock().entry(app.clone()).or_default() += count;
    }

    pub(in crate::push) fn remove(&self, app: &AppId, count: usize) {
        self.total.fetch_sub(count, Ordering::AcqRel);
        if let Some(known) = self.lock().get_mut(app) {
            *known = known.saturating_sub(count);
        }
        self.freed.notify_one();
    }

    /// Apps that hold `share` or more.
    pub(in crate::push) fn busy(&self, share: usize) -> Vec<AppId> {
        let by_app = self.lock();
        by_app.iter().filter(|(_, count)| **count >= share).map(|(app, _)| app.clone()).collect()
    }

    pub(in crate::push) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, usize>> {
        self.by_app.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
