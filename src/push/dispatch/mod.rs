//! The third stage: lanes. A lane is one vendor with one set of credentials, with its own queue
//! share, concurrency, rate and breaker, so that what one vendor does touches no other.
//!
//! `lane.rs` runs one; `inbox.rs` is its bounded memory; `breaker.rs` its patience; `check.rs`
//! what is looked at last before a call. Only this room calls a vendor.

mod breaker;
mod check;
mod inbox;
mod lane;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use posthorn_vendors::{Outcome, Vendor};

pub(super) use self::breaker::Effect;
pub(super) use self::lane::{Context, Lane};
use crate::model::{AppId, LaneName, Millis};
use crate::store::{Item, ItemKey, Overtaken};

/// What the operator set for one lane.
#[derive(Clone)]
pub struct LaneSettings {
    pub app: AppId,
    pub name: LaneName,
    pub vendor_id: &'static str,
    pub vendor: Arc<dyn Vendor>,
    /// Vendor calls in the air at once; the vendor's own default when absent.
    pub concurrency: Option<usize>,
    /// Calls or targets a second, as the vendor counts.
    pub rate_per_sec: Option<u32>,
    /// The longest a vendor call may take.
    pub timeout: Duration,
}

/// Pushes of one event for one lane, on their way.
pub(super) struct Group {
    /// Names the group among all that this process works on.
    pub(super) number: u64,
    pub(super) item: Item,
    pub(super) lane: Arc<Lane>,
    /// The reading of the registry that the targets come from; 0 when they come from the store.
    pub(super) as_of: u64,
    /// Its place in the store, if it was loaded from there.
    pub(super) stored: Option<ItemKey>,
}

impl Group {
    pub(super) fn new(lane: Arc<Lane>, item: Item, as_of: u64, stored: Option<ItemKey>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        // A name, not state: nothing depends on which number a group gets.
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Group { number, item, lane, as_of, stored }
    }
}

/// What became of one target in dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The vendor, or the connection to it, answered.
    Answered(Outcome),
    /// Late news came first.
    Overtaken(Overtaken),
    /// The token belongs to somebody else now, or to nobody.
    Moved,
    /// Its time ran out.
    Expired,
}

/// Fates of `group.item.targets[from..from + fates.len()]`.
pub(super) struct Answered {
    pub(super) group: Arc<Group>,
    pub(super) from: usize,
    pub(super) fates: Vec<Fate>,
}

/// Every lane by app and name. Lanes stay for the life of the process; a reload changes their
/// settings.
#[derive(Default)]
pub struct Lanes {
    lanes: RwLock<HashMap<AppId, HashMap<LaneName, Arc<Lane>>>>,
}

impl Lanes {
    pub(super) fn get(&self, app: &str, name: &str) -> Option<Arc<Lane>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.get(app)?.get(name).filter(|lane| lane.is_configured()).cloned()
    }

    /// Every lane there is.
    pub(super) fn all(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.values().flat_map(HashMap::values).cloned().collect()
    }

    /// Makes the configured lanes be these: known ones get their new settings, new ones are
    /// returned to be run, others take nothing more until they are configured again.
    pub(super) fn configure(&self, wanted: Vec<LaneSettings>, context: &Context) -> Vec<Arc<Lane>> {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        let named = |lane: &Arc<Lane>, settings: &LaneSettings| {
            settings.app == *lane.app() && settings.name == *lane.name()
        };
        for lane in lanes.values().flat_map(HashMap::values) {
            if !wanted.iter().any(|settings| named(lane, settings)) {
                lane.unconfigure();
            }
        }
        for settings in wanted {
            let of_app = lanes.entry(settings.app.clone()).or_default();
            match of_app.get(&settings.name) {
                Some(lane) => lane.configure(settings),
                None => {
                    let lane = Arc::new(Lane::new(settings, context.clone()));
                    of_app.insert(lane.name().clone(), lane.clone());
                    new.push(lane);
                }
            }
        }
        new
    }

    /// Tells a lane that something of it was parked in the store, due at `due`.
    pub(super) fn parked(&self, app: &str, name: &str, due: Millis) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(app).and_then(|of_app| of_app.get(name)) {
            lane.parked(due);
        }
    }
}
