//! The first stage: an event is refused, known, or durably ours. Nothing is answered before the
//! commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::AppRules;
use super::burst::Bursts;
use crate::model::{AppId, Event};
use crate::store::{Appended, Changes, Store, StoreError};
use crate::telemetry::Metrics;

/// Takes events in. Shared by every door.
pub struct Accept {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    bursts: Bursts,
    rules: HashMap<AppId, AppRules>,
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("app {app} has {backlog} events waiting, its limit")]
    Backlog { app: AppId, backlog: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accept {
    pub fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        rules: HashMap<AppId, AppRules>,
    ) -> Self {
        Accept { store, metrics, bursts: Bursts::default(), rules }
    }

    /// Takes events of one app: all are durable or known when this returns, or none is kept.
    pub async fn accept(
        &self,
        app: &AppId,
        mut events: Vec<Event>,
    ) -> Result<Vec<Appended>, AcceptError> {
        let backlog = self.store.backlog(app);
        if let Some(rules) = self.rules.get(app) {
            if backlog + events.len() as u64 > rules.max_backlog {
                return Err(AcceptError::Backlog { app: app.clone(), backlog });
            }
            self.join_bursts(&mut events, rules.burst_window).await?;
        }
        let append = events.into_iter().map(Arc::new).collect();
        let changes = Changes { append, durable: true, ..Changes::default() };
        let appended = self.store.commit(changes.into()).await?.appended;
        let new = appended.iter().filter(|one| **one == Appended::New).count();
        self.metrics.accepted(app, new as u64, (appended.len() - new) as u64);
        Ok(appended)
    }

    /// A repeat is no further message, so known ids do not count.
    async fn join_bursts(&self, events: &mut [Event], window: Duration) -> Result<(), StoreError> {
        let mut seen: HashSet<Box<str>> = HashSet::new();
        for event in events.iter_mut().filter(|event| event.conversation.is_some()) {
            if seen.insert(event.id.clone()) && self.store.is_known(&event.app, &event.id).await? {
                continue;
            }
            self.bursts.join(event, window);
        }
        Ok(())
    }
}
