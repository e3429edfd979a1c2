//! From an accepted event to a verdict: accept → resolve → compose → dispatch → settle. Floor 2.
//!
//! Each stage is a file or a folder and knows only the next one. Deliberately absent: HTTP,
//! configuration files, and any knowledge of a particular vendor.

mod accept;
mod burst;
mod compose;
mod dispatch;
mod ids;
mod orphans;
mod resolve;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::accept::{Accept, AcceptError};
pub use self::compose::{Language, Phrase, Wording};
pub use self::dispatch::{LaneSettings, Lanes};
use self::orphans::Orphans;
use self::resolve::Resolver;
use self::settle::{InFlight, News, Settler};
use crate::model::{AppId, Clock, Millis, Preview};
use crate::store::{Lease, Store};
use crate::telemetry::{LaneState, Metrics};

/// Events worked on at once, of all apps.
const IN_FLIGHT: usize = 16_384;
/// Events leased at once.
const LEASE: usize = 256;
const STORE_PAUSE: Duration = Duration::from_millis(200);
/// How often a recall that waits for its event is looked at again.
const RECALL_PAUSE: Duration = Duration::from_millis(250);
/// After this a recall takes off the screen what it knows of.
const RECALL_PATIENCE: Duration = Duration::from_secs(15);

/// What an app's configuration says of its events.
#[derive(Debug, Clone)]
pub struct AppRules {
    /// Events not yet through, above which the app is told to wait.
    pub max_backlog: u64,
    /// Messages of one conversation this close to the last one count up instead of stacking.
    pub burst_window: Duration,
    /// For devices that name none of ours.
    pub language: Language,
    /// The most a lock screen may tell.
    pub preview: Preview,
    pub wording: Wording,
}

impl Default for AppRules {
    fn default() -> Self {
        AppRules {
            max_backlog: 1_000_000,
            burst_window: Duration::from_secs(3),
            language: Language::default(),
            preview: Preview::default(),
            wording: Wording::default(),
        }
    }
}

/// The running pipeline.
pub struct Pipeline {
    lanes: Arc<Lanes>,
    clock: Arc<dyn Clock>,
    context: dispatch::Context,
    /// The pump and the lanes.
    tasks: TaskTracker,
    /// The settler; it outlives the others.
    settling: TaskTracker,
    stop: CancellationToken,
}

impl Pipeline {
    /// Starts the pipeline over `store`, with the lanes given. `rules` are by app.
    pub fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        rules: HashMap<AppId, AppRules>,
        lanes: Vec<LaneSettings>,
    ) -> Self {
        let (answers, news) = mpsc::unbounded_channel();
        let known = Arc::new(Lanes::default());
        let in_flight = Arc::new(InFlight::default());
        let context = dispatch::Context {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            answers: answers.clone(),
        };
        let settler = Settler::new(
            store.clone(),
            clock.clone(),
            metrics,
            known.clone(),
            in_flight.clone(),
            news,
        );
        let settling = TaskTracker::new();
        settling.spawn(settler.run());
        settling.close();
        let pipeline = Pipeline {
            lanes: known.clone(),
            clock: clock.clone(),
            context,
            tasks: TaskTracker::new(),
            settling,
            stop: CancellationToken::new(),
        };
        pipeline.configure(lanes);
        let rules = Arc::new(rules);
        let share = if rules.len() > 1 { IN_FLIGHT / 2 } else { IN_FLIGHT };
        let pump = Pump {
            resolver: Resolver { store: store.clone(), lanes: known, rules },
            store,
            clock,
            in_flight,
            share,
            news: answers,
            waiting: Vec::new(),
        };
        pipeline.tasks.spawn(pump.run(pipeline.stop.clone()));
        let orphans =
            Orphans { store: pipeline.context.store.clone(), lanes: pipeline.lanes.clone() };
        pipeline.tasks.spawn(orphans.run(pipeline.clock.clone(), pipeline.stop.clone()));
        pipeline
    }

    /// Puts these lanes in force in place of those before.
    pub fn configure(&self, lanes: Vec<LaneSettings>) {
        for lane in self.lanes.configure(lanes, &self.context) {
            self.tasks.spawn(lane.run(self.stop.clone()));
        }
    }

    /// Whether the app has a lane of this name.
    pub fn has_lane(&self, app: &str, lane: &str) -> bool {
        self.lanes.get(app, lane).is_some()
    }

    /// Tells a lane that something of it was parked from outside.
    pub fn wake_lane(&self, app: &str, lane: &str) {
        self.lanes.parked(app, lane, self.clock.now());
    }

    /// How every lane stands.
    pub async fn lane_states(&self) -> Vec<LaneState> {
        let now = self.clock.now();
        let mut states = Vec::new();
        for lane in self.lanes.all() {
            states.push(lane.state(now).await);
        }
        states
    }

    /// Takes nothing more from the queue, lets the calls in the air finish, writes what became of
    /// them. What is left is due at the next start.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // An error would mean that the settler has ended already.
        drop(self.context.answers.send(News::Stop));
        self.settling.wait().await;
    }
}

/// Leases events, resolves them, offers their pushes to the lanes.
struct Pump {
    resolver: Resolver,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    in_flight: Arc<InFlight>,
    /// The most of `IN_FLIGHT` that one app may hold.
    share: usize,
    news: mpsc::UnboundedSender<News>,
    /// Recalls whose event is still on its way, and since when they wait.
    waiting: Vec<(Lease, Millis)>,
}

impl Pump {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let leased = self.pump().await;
            if leased > 0 {
                continue;
            }
            let recalls = async {
                match self.waiting.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(RECALL_PAUSE).await,
                }
            };
            tokio::select! {
                () = self.store.wait_for_events() => {}
                () = self.in_flight.freed() => {}
                () = recalls => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One round; how many events it took.
    async fn pump(&mut self) -> usize {
        let room = IN_FLIGHT.saturating_sub(self.in_flight.total()).min(LEASE);
        let mut leases = Vec::new();
        if room > 0 {
            let busy = self.in_flight.busy(self.share);
            match self.store.lease(room, &busy).await {
                Ok(leased) => leases = leased,
                Err(err) => self.store_failed("lease events", &err).await,
            }
        }
        let ready = self.ready_recalls().await;
        let mut leases = self.hold_back_recalls(leases).await;
        leases.extend(ready);
        let count = leases.len();
        if count == 0 {
            return 0;
        }
        let keys: Vec<_> = leases.iter().map(|lease| lease.key.clone()).collect();
        match self.resolver.resolve(leases, self.clock.now()).await {
            Ok(resolved) => resolved.into_iter().for_each(|one| self.dispatch(one)),
            Err(err) => {
                self.store_failed("resolve events", &err).await;
                self.store.release(&keys);
            }
        }
        count
    }

    fn dispatch(&self, resolved: resolve::Resolved) {
        self.in_flight.add(&resolved.lease.app, 1);
        let groups = resolved.groups.clone();
        // Settle hears of an event before any of its answers. Nobody listens only when the
        // process is going down, and then the lease ends with it.
        drop(self.news.send(News::Resolved(resolved)));
        for group in groups {
            if let Err(group) = group.lane.clone().offer(group) {
                drop(self.news.send(News::Refused(group)));
            }
        }
    }

    /// Sets aside recalls whose event is still on its way.
    async fn hold_back_recalls(&mut self, leases: Vec<Lease>) -> Vec<Lease> {
        let now = self.clock.now();
        let mut ready = Vec::with_capacity(leases.len());
        for lease in leases {
            // A store that cannot say is asked again when the recall is resolved.
            match self.resolver.must_wait(&lease.event).await {
                Ok(true) => self.waiting.push((lease, now)),
                Ok(false) | Err(_) => ready.push(lease),
            }
        }
        ready
    }

    async fn ready_recalls(&mut self) -> Vec<Lease> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let mut ready = Vec::new();
        for (lease, since) in std::mem::take(&mut self.waiting) {
            let patient = now.since(since) < RECALL_PATIENCE;
            let must_wait = self.resolver.must_wait(&lease.event).await.unwrap_or(true);
            if patient && must_wait {
                self.waiting.push((lease, since));
            } else {
                ready.push(lease);
            }
        }
        ready
    }

    async fn store_failed(&self, what: &str, err: &crate::store::StoreError) {
        tracing::warn!(error = %err, "could not {what}; trying again");
        tokio::time::sleep(STORE_PAUSE).await;
    }
}
