//! One lane: takes what waits as permits free up, calls the vendor under a timeout, and hands every
//! answer to settle.
//!
//! Deliberately absent: what an outcome means for a push (see `settle/`), and any queue without a
//! bound: memory holds what the permits can use, the rest waits in the store.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use posthorn_vendors::{Batch, Cost, Outcome, Push, Reason};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, Effect, May};
use super::check::check;
use super::inbox::{Inbox, Part};
use super::{Answered, Fate, Group, LaneSettings};
use crate::model::{AppId, Clock, LaneName, Millis};
use crate::push::settle;
use crate::store::Store;
use crate::telemetry::{LaneMetrics, LaneState, Metrics};

/// Items loaded from the store at once.
const LOAD: usize = 256;
/// The least room: with less, a vendor slower than the pump for a moment would have its pushes
/// written to the store and read back.
const ROOM: usize = 8192;
/// How long a success vouches for the lane's project and environment.
const RECENT: Duration = Duration::from_secs(300);
/// How long to wait before asking a store that failed again.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// What lanes share.
#[derive(Clone)]
pub(in crate::push) struct Context {
    pub(in crate::push) store: Arc<dyn Store>,
    pub(in crate::push) clock: Arc<dyn Clock>,
    pub(in crate::push) metrics: Arc<Metrics>,
    pub(in crate::push) answers: mpsc::UnboundedSender<settle::News>,
}

pub(in crate::push) struct Lane {
    app: AppId,
    name: LaneName,
    settings: ArcSwap<Live>,
    configured: AtomicBool,
    context: Context,
    inbox: Mutex<Inbox>,
    breaker: Mutex<Breaker>,
    /// When the earliest parked item is due; `u64::MAX` when none is known.
    due: AtomicU64,
    last_success: AtomicU64,
    wake: Notify,
}

/// The settings in force and what follows from them.
pub(in crate::push) struct Live {
    settings: LaneSettings,
    concurrency: usize,
    /// Targets that may wait in memory.
    room: usize,
    rate: Option<DefaultDirectRateLimiter>,
    metrics: LaneMetrics,
}

impl std::ops::Deref for Live {
    type Target = LaneSettings;
    fn deref(&self) -> &LaneSettings {
        &self.settings
    }
}

impl Live {
    fn new(settings: LaneSettings, context: &Context) -> Self {
        let limits = settings.vendor.limits();
        let concurrency = settings.concurrency.unwrap_or(limits.concurrency).max(1);
        let per_second = settings.rate_per_sec.and_then(std::num::NonZeroU32::new);
        Live {
            concurrency,
            room: (2 * concurrency * limits.batching.max()).clamp(ROOM, 1 << 16),
            rate: per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            metrics: context.metrics.lane(&settings.app, &settings.name, settings.vendor_id),
            settings,
        }
    }
}

/// A call in the air.
type Call<'c> = Pin<Box<dyn Future<Output = Done> + Send + 'c>>;

/// A finished call.
struct Done {
    effect: Effect,
    answers: Vec<Answered>,
}

impl Lane {
    pub(super) fn new(settings: LaneSettings, context: Context) -> Self {
        Lane {
            app: settings.app.clone(),
            name: settings.name.clone(),
            settings: ArcSwap::from_pointee(Live::new(settings, &context)),
            configured: AtomicBool::new(true),
            context,
            inbox: Mutex::default(),
            breaker: Mutex::default(),
            // Unknown until the store was asked once.
            due: AtomicU64::new(0),
            last_success: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    pub(in crate::push) fn app(&self) -> &AppId {
        &self.app
    }

    pub(in crate::push) fn name(&self) -> &LaneName {
        &self.name
    }

    pub(in crate::push) fn settings(&self) -> Arc<Live> {
        self.settings.load_full()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Acquire)
    }

    /// New settings: a mended credential is tried at once.
    pub(super) fn configure(&self, settings: LaneSettings) {
        self.settings.store(Arc::new(Live::new(settings, &self.context)));
        self.configured.store(true, Ordering::Release);
        *self.breaker() = Breaker::default();
        self.wake.notify_one();
    }

    pub(super) fn unconfigure(&self) {
        self.configured.store(false, Ordering::Release);
    }

    pub(super) fn parked(&self, due: Millis) {
        if self.due.fetch_min(due.0, Ordering::AcqRel) > due.0 {
            self.wake.notify_one();
        }
    }

    /// Takes a group to send, or gives it back to be parked.
    pub(in crate::push) fn offer(&self, group: Arc<Group>) -> Result<(), Arc<Group>> {
        let room = self.settings.load().room;
        self.inbox().offer(group, room)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Whether the vendor took anything from this lane lately, so that its "dead token" can be
    /// believed.
    pub(in crate::push) fn has_recent_success(&self, now: Millis) -> bool {
        let last = self.last_success.load(Ordering::Acquire);
        last > 0 && now.since(Millis(last)) <= RECENT
    }

    pub(in crate::push) async fn state(&self, now: Millis) -> LaneState {
        // A store that cannot say is told of by /readyz.
        let parked = self.context.store.oldest(&self.app, &self.name).await.unwrap_or(None);
        let live = self.settings.load();
        let (waiting, oldest) = {
            let inbox = self.inbox();
            (inbox.waiting() as u64, inbox.oldest())
        };
        let expires = live.vendor.credential_expires().map(Millis::from);
        LaneState {
            app: self.app.to_string(),
            lane: self.name.to_string(),
            vendor: live.vendor_id.to_owned(),
            waiting: waiting + self.context.store.depth(&self.app, &self.name),
            oldest: oldest.into_iter().chain(parked).min().map(|at| now.since(at)),
            breaker_open: self.breaker().is_open(),
            credential_expires: expires.map(|at| (at.0 / 1000) as i64),
        }
    }

    /// Runs the lane until `stop`; then finishes the calls in the air. What still waits in memory
    /// is leased from the store, and due again at the next start.
    pub(in crate::push) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut calls = FuturesUnordered::new();
        while !stop.is_cancelled() {
            let wait = match self.load().await {
                Ok(()) => self.start_calls(&mut calls),
                Err(()) => Some(STORE_PAUSE),
            };
            let wait = async {
                match wait {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = calls.next(), if !calls.is_empty() => self.finish(done),
                () = self.wake.notified() => {}
                () = wait => {}
                () = stop.cancelled() => {}
            }
            // Whatever else has finished meanwhile costs no further round.
            while let Some(Some(done)) = futures_util::FutureExt::now_or_never(calls.next()) {
                self.finish(done);
            }
        }
        while let Some(done) = calls.next().await {
            self.finish(done);
        }
    }

    /// Starts as many calls as may start now; answers how long to wait for a reason not seen by
    /// `wake` or a call's end.
    fn start_calls<'c>(
        self: &'c Arc<Self>,
        calls: &mut FuturesUnordered<Call<'c>>,
    ) -> Option<Duration> {
        let live = self.settings();
        let now = self.context.clock.now();
        if !self.is_configured() {
            return None;
        }
        while calls.len() < live.concurrency {
            match self.breaker().may_call(now) {
                May::Call | May::Probe => {}
                May::NotNow => break,
                May::NotUntil(at) => return Some(at.since(now)),
            }
            let parts = self.inbox().take(live.vendor.limits().batching);
            if parts.is_empty() {
                break;
            }
            self.breaker().called();
            calls.push(Box::pin(self.call(live.clone(), parts)));
        }
        let due = Millis(self.due.load(Ordering::Acquire));
        (due.0 != u64::MAX && calls.len() < live.concurrency).then(|| due.since(now))
    }

    /// Loads what is due from the store, as far as the permits can use it.
    async fn load(self: &Arc<Self>) -> Result<(), ()> {
        let live = self.settings.load();
        let now = self.context.clock.now();
        let wanted =
            (live.room / 2).min(2 * live.concurrency * live.vendor.limits().batching.max());
        let loaded = self.inbox().loaded_targets();
        if self.due.load(Ordering::Acquire) > now.0 || loaded >= wanted {
            return Ok(());
        }
        // Before asking: whatever is parked from here on lowers it again.
        self.due.store(u64::MAX, Ordering::Release);
        let store = &self.context.store;
        let max = (wanted - loaded).min(LOAD);
        let items = store.lease_items(&self.app, &self.name, now, max).await;
        let items = items.map_err(|err| self.store_failed(&err))?;
        let next = if items.len() == max {
            Some(now)
        } else {
            let next = store.next_due(&self.app, &self.name).await;
            next.map_err(|err| self.store_failed(&err))?
        };
        if let Some(next) = next {
            self.due.fetch_min(next.0, Ordering::AcqRel);
        }
        let mut inbox = self.inbox();
        for (key, item) in items {
            inbox.load(Arc::new(Group::new(self.clone(), item, 0, Some(key))));
        }
        Ok(())
    }

    fn store_failed(&self, err: &crate::store::StoreError) {
        self.due.store(0, Ordering::Release);
        tracing::warn!(app = %self.app, lane = %self.name, error = %err, "could not load parked pushes");
    }

    async fn call(self: &Arc<Self>, live: Arc<Live>, parts: Vec<Part>) -> Done {
        let now = self.context.clock.now();
        let mut answers = Vec::with_capacity(parts.len());
        let mut pushes = Vec::new();
        for part in parts {
            let fates = self.checked(&part, now).await;
            let targets = &part.group.item.targets[part.from..part.to];
            let expires_at = part.group.item.deadline.min(now + live.vendor.limits().ttl_max);
            for (target, _) in targets.iter().zip(&fates).filter(|(_, fate)| fate.is_none()) {
                pushes.push(Push {
                    push_id: target.push_id,
                    slot_id: target.slot_id,
                    token: target.token.clone(),
                    notification: part.group.item.notification.clone(),
                    expires_at: expires_at.into(),
                });
            }
            answers.push((part, fates));
        }
        let outcomes = if pushes.is_empty() {
            Vec::new()
        } else {
            self.exchange(&live, Batch { pushes, now: now.into() }).await
        };
        let effect = settle::effect(&outcomes);
        if effect == Effect::Success {
            self.last_success.store(self.context.clock.now().0, Ordering::Release);
        }
        let mut outcomes = outcomes.into_iter();
        let answers = answers.into_iter().map(|(part, fates)| {
            let mut answered = || match outcomes.next() {
                Some(outcome) => Fate::Answered(outcome),
                None => Fate::Answered(missing()),
            };
            let fates = fates.into_iter().map(|fate| fate.unwrap_or_else(&mut answered)).collect();
            Answered { group: part.group, from: part.from, fates }
        });
        Done { effect, answers: answers.collect() }
    }

    /// The last look before the call. A store that cannot answer delays, it does not decide.
    async fn checked(&self, part: &Part, now: Millis) -> Vec<Option<Fate>> {
        match check(&*self.context.store, part, now).await {
            Ok(fates) => fates,
            Err(err) => {
                let reason = Reason::new("store", format!("could not check the push: {err}"));
                let later = Fate::Answered(Outcome::Retry { after: Some(STORE_PAUSE), reason });
                vec![Some(later); part.len()]
            }
        }
    }

    async fn exchange(&self, live: &Live, batch: Batch) -> Vec<Outcome> {
        let limits = live.vendor.limits();
        if let Some(rate) = &live.rate {
            let cost = match limits.cost {
                Cost::PerCall => 1,
                Cost::PerTarget => batch.pushes.len() as u32,
            };
            wait_for_rate(rate, cost).await;
        }
        let started = Instant::now();
        let answer = tokio::time::timeout(live.timeout, live.vendor.send(&batch)).await;
        let outcomes = answer.unwrap_or_else(|_| {
            let hint = format!("the vendor did not answer within {} s", live.timeout.as_secs());
            let reason = Reason::new("timeout", hint);
            vec![Outcome::Retry { after: None, reason }; batch.pushes.len()]
        });
        live.metrics.call(started.elapsed(), &outcomes);
        outcomes
    }

    fn finish(&self, done: Done) {
        let now = self.context.clock.now();
        let told = self.breaker().note(&done.effect, now);
        if let (true, Effect::Unauthorized(why)) = (told, &done.effect) {
            tracing::error!(
                app = %self.app, lane = %self.name, vendor.id = self.settings.load().vendor_id, why,
                "the vendor refuses this lane's credential or set-up; its pushes wait: mend the \
                 configuration and send SIGHUP"
            );
        }
        let live = self.settings.load();
        for answered in done.answers {
            let since = now.since(answered.group.item.received_at);
            for _ in answered.fates.iter().filter(|fate| matches!(fate, Fate::Answered(_))) {
                live.metrics.answered_after(since);
            }
            // Nobody listens only when the whole process is going down.
            drop(self.context.answers.send(settle::News::Answered(answered)));
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the rate allows `cost`, which may be more than a second's worth.
async fn wait_for_rate(rate: &DefaultDirectRateLimiter, cost: u32) {
    for _ in 0..cost {
        rate.until_ready().await;
    }
}

/// An adapter that answers too little has a bug; its push is tried again.
fn missing() -> Outcome {
    let hint = "the adapter gave fewer outcomes than pushes";
    Outcome::Retry { after: None, reason: Reason::new("adapter", hint) }
}
