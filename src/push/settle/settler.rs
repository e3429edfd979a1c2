//! Collects fates and writes what follows from them: one `Changes` for all that came together.
//!
//! An event waits for its pushes at most a second. Those still unanswered then become items of
//! their lane with the same ids, and the event is acked: a slow lane never holds an event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use posthorn_vendors::Outcome;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::open::{Home, OpenEvent, OpenGroup};
use super::{Facts, InFlight, News, Prune, Step, step};
use crate::model::{AppId, Clock, LaneName, Millis, PushTrace, Verdict};
use crate::push::dispatch::{Answered, Fate, Group, Lanes};
use crate::push::ids;
use crate::push::resolve::Resolved;
use crate::store::{Changes, DeadLetter, Item, ItemTarget, Store, StoreError, TraceRow};
use crate::telemetry::Metrics;

/// How long an event waits for its pushes.
const PATIENCE: Duration = Duration::from_secs(1);
/// News handled in one write.
const GROUP: usize = 4096;
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// The settling task.
pub(in crate::push) struct Settler {
    pub(in crate::push) store: Arc<dyn Store>,
    pub(in crate::push) clock: Arc<dyn Clock>,
    pub(in crate::push) metrics: Arc<Metrics>,
    pub(in crate::push) lanes: Arc<Lanes>,
    pub(in crate::push) in_flight: Arc<InFlight>,
    news: mpsc::UnboundedReceiver<News>,
    events: HashMap<u64, OpenEvent>,
    groups: HashMap<u64, OpenGroup>,
    /// When each open event's patience ends, in that order.
    patience: VecDeque<(Instant, u64)>,
    next_event: u64,
    draft: Draft,
}

/// The write being put together.
#[derive(Default)]
struct Draft {
    changes: Changes,
    /// For each parked item, the group that goes on working on it.
    adopted: Vec<Option<u64>>,
    acked: Vec<AppId>,
}

impl Settler {
    pub(in crate::push) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        lanes: Arc<Lanes>,
        in_flight: Arc<InFlight>,
        news: mpsc::UnboundedReceiver<News>,
    ) -> Self {
        Settler {
            store,
            clock,
            metrics,
            lanes,
            in_flight,
            news,
            events: HashMap::new(),
            groups: HashMap::new(),
            patience: VecDeque::new(),
            next_event: 0,
            draft: Draft::default(),
        }
    }

    /// Runs until told to stop; then everything it was told before is written.
    pub(in crate::push) async fn run(mut self) {
        let mut batch = Vec::with_capacity(GROUP);
        loop {
            let next = self.patience.front().map(|(at, _)| *at);
            let received = tokio::select! {
                received = self.news.recv_many(&mut batch, GROUP) => received,
                () = until(next) => usize::MAX,
            };
            if received == 0 {
                return;
            }
            let now = self.clock.now();
            let mut stopped = false;
            for news in batch.drain(..) {
                match news {
                    News::Stop => stopped = true,
                    News::Resolved(resolved) => self.open(resolved),
                    News::Refused(group) => self.park_rest(group.number, now, false),
                    News::Answered(answered) => self.note(answered, now),
                }
            }
            self.lose_patience(now);
            self.write().await;
            if stopped {
                return;
            }
        }
    }

    fn open(&mut self, resolved: Resolved) {
        let Resolved { lease, event, rows, groups } = resolved;
        self.next_event += 1;
        let number = self.next_event;
        let open =
            OpenEvent { lease, event, rows, groups: groups.iter().map(|g| g.number).collect() };
        let is_done = open.groups.is_empty();
        for group in groups {
            self.groups.insert(group.number, OpenGroup::new(group, Home::Event(number)));
        }
        self.events.insert(number, open);
        if is_done {
            self.finish_event(number);
        } else {
            self.patience.push_back((Instant::now() + PATIENCE, number));
        }
    }

    fn note(&mut self, answered: Answered, now: Millis) {
        let Answered { group, from, fates } = answered;
        let number = group.number;
        let open = self.groups.entry(number).or_insert_with(|| {
            let key = group.stored.clone().expect("a group not opened here was loaded");
            OpenGroup::new(group, Home::Item(key))
        });
        open.note(from, fates);
        if open.left == 0
            && let Some(open) = self.groups.remove(&number)
        {
            self.settle(open, now);
        }
    }

    /// Every target of the group has its fate.
    fn settle(&mut self, mut open: OpenGroup, now: Millis) {
        let rows = self.settle_answered(&mut open, now);
        let OpenGroup { group, home, .. } = open;
        match home {
            Home::Event(number) => {
                if let Some(event) = self.events.get_mut(&number) {
                    event.rows.extend(rows);
                    event.groups.retain(|known| *known != group.number);
                    if event.groups.is_empty() {
                        self.finish_event(number);
                    }
                }
            }
            Home::Item(key) => {
                self.draft.changes.unpark.push(key);
                self.draft.changes.traces.push(TraceRow {
                    app: group.item.app.clone(),
                    event: group.item.event.clone(),
                    received_at: group.item.received_at,
                    pushes: rows,
                    settles: false,
                });
            }
            Home::Parking => unreachable!("the write that parks is over before news is read"),
        }
    }

    /// Drafts what follows for every target answered so far; answers their rows.
    fn settle_answered(&mut self, open: &mut OpenGroup, now: Millis) -> Vec<PushTrace> {
        let mut rows = Vec::new();
        let mut again: Vec<(Millis, bool, ItemTarget)> = Vec::new();
        for (target, fate) in open.take_answered() {
            rows.push(self.settle_target(&open.group, &target, fate, now, &mut again));
        }
        self.park_again(&open.group, again);
        rows
    }

    fn settle_target(
        &mut self,
        group: &Group,
        target: &ItemTarget,
        fate: Fate,
        now: Millis,
        again: &mut Vec<(Millis, bool, ItemTarget)>,
    ) -> PushTrace {
        let item = &group.item;
        let called = matches!(fate, Fate::Answered(_));
        let vendor_ref = match &fate {
            Fate::Answered(Outcome::Accepted { vendor_ref }) => {
                vendor_ref.as_deref().map(Box::from)
            }
            Fate::Answered(_) | Fate::Overtaken(_) | Fate::Moved | Fate::Expired => None,
        };
        let facts = Facts {
            now,
            deadline: item.deadline,
            attempts: item.attempts,
            trusted: group.lane.has_recent_success(now),
            jitter: target.push_id.0[15],
        };
        let mut row = trace(item, target, Verdict::Accepted, None, now);
        row.vendor_ref = vendor_ref;
        row.attempts = item.attempts + u32::from(called);
        match step(fate, facts) {
            Step::Done { verdict, reason, why, prune } => {
                row.verdict = verdict;
                row.reason = reason.map(Box::from);
                if let Some(why) = &why {
                    row.code = Some(why.code.as_ref().into());
                    row.hint = Some(why.hint.as_ref().into());
                }
                self.after_done(group, target, &row, prune);
            }
            Step::Again { at, why, attempted } => {
                row.reason = Some("retry".into());
                row.code = Some(why.code.as_ref().into());
                row.hint = Some(why.hint.as_ref().into());
                again.push((at, attempted, target.clone()));
            }
        }
        row
    }

    /// What a final verdict changes beside the trace.
    fn after_done(&mut self, group: &Group, target: &ItemTarget, row: &PushTrace, prune: Prune) {
        let item = &group.item;
        if row.verdict != Verdict::Sent {
            // One line a failure, here where it is handled; a success is a number.
            tracing::info!(
                app = %item.app, event.id = %item.event, push.id = ?target.push_id,
                lane = %item.lane, verdict = row.verdict.word(), reason = row.reason.as_deref(),
                code = row.code.as_deref(), "push not sent"
            );
        }
        if let (Prune::Drop { since }, Some(owner)) = (prune, &target.owner) {
            let owner = owner.clone();
            self.draft.changes.prune.push(crate::store::Prune {
                app: item.app.clone(),
                owner,
                since,
            });
        }
        if let (Verdict::Sent, Some(count @ 2..), Some(owner)) =
            (row.verdict, target.burst, &target.owner)
        {
            let burst = ids::burst_id(target.slot_id, &owner.user);
            self.draft.changes.latest.push((item.app.clone(), burst, count));
        }
        if row.verdict == Verdict::Expired {
            self.bury(group, target, row);
        }
    }

    /// Nobody took it in time: kept for the operator, who may send it again.
    fn bury(&mut self, group: &Group, target: &ItemTarget, row: &PushTrace) {
        self.draft.changes.bury.push(letter(&group.item, target, row));
    }

    /// Parks what is tried again: one item for all targets that share a moment.
    fn park_again(&mut self, group: &Group, again: Vec<(Millis, bool, ItemTarget)>) {
        let mut by_moment: Vec<(Millis, bool, Vec<ItemTarget>)> = Vec::new();
        for (at, attempted, target) in again {
            match by_moment.iter_mut().find(|(when, tried, _)| (*when, *tried) == (at, attempted)) {
                Some((_, _, targets)) => targets.push(target),
                None => by_moment.push((at, attempted, vec![target])),
            }
        }
        for (due, attempted, targets) in by_moment {
            let attempts = group.item.attempts + u32::from(attempted);
            let item = Item { due, targets, attempts, leased: false, ..group.item.clone() };
            self.park(item, None);
        }
    }

    fn park(&mut self, item: Item, adopted: Option<u64>) {
        self.draft.changes.park.push(item);
        self.draft.adopted.push(adopted);
    }

    /// Settles the answered targets of this group and makes the others an item, since the event
    /// that keeps them durable is about to be acked. `goes_on`: a lane still has it.
    fn park_rest(&mut self, number: u64, now: Millis, goes_on: bool) {
        let Some(mut open) = self.groups.remove(&number) else { return };
        let Home::Event(event) = open.home else {
            self.groups.insert(number, open);
            return;
        };
        let mut rows = self.settle_answered(&mut open, now);
        let group = open.group.clone();
        let targets = open.waiting();
        let wait = |target| trace(&group.item, target, Verdict::Accepted, Some("waiting"), now);
        rows.extend(targets.iter().map(wait));
        let item = Item { due: now, targets, leased: goes_on, ..group.item.clone() };
        if goes_on {
            open.home = Home::Parking;
            self.groups.insert(number, open);
        }
        self.park(item, goes_on.then_some(number));
        if let Some(open) = self.events.get_mut(&event) {
            open.rows.extend(rows);
            open.groups.retain(|known| *known != number);
            if open.groups.is_empty() {
                self.finish_event(event);
            }
        }
    }

    fn lose_patience(&mut self, now: Millis) {
        let moment = Instant::now();
        while let Some((at, number)) = self.patience.front().copied() {
            if self.events.contains_key(&number) {
                if at > moment {
                    return;
                }
                let groups = self.events.get(&number).map(|event| event.groups.clone());
                for group in groups.unwrap_or_default() {
                    self.park_rest(group, now, true);
                }
            }
            self.patience.pop_front();
        }
    }

    fn finish_event(&mut self, number: u64) {
        let Some(open) = self.events.remove(&number) else { return };
        let event = open.event;
        self.draft.acked.push(event.app.clone());
        self.draft.changes.ack.push(open.lease);
        self.draft.changes.traces.push(TraceRow {
            app: event.app.clone(),
            event: event.id.clone(),
            received_at: event.received_at,
            pushes: open.rows,
            settles: true,
        });
    }

    /// Writes the draft, however long the store takes to be well again: what is settled here is
    /// nowhere else.
    async fn write(&mut self) {
        let drafted = &self.draft.changes;
        // What is noted of an event before its last push waits for the event's own write.
        if drafted.ack.is_empty() && drafted.unpark.is_empty() && drafted.park.is_empty() {
            return;
        }
        let Draft { changes, adopted, acked } = std::mem::take(&mut self.draft);
        let changes = Arc::new(changes);
        let mut told = false;
        let committed = loop {
            match self.store.commit(changes.clone()).await {
                Ok(committed) => break committed,
                Err(err) => {
                    told = tell_once(told, &err);
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        };
        for (key, adopted) in committed.parked.into_iter().zip(&adopted) {
            match adopted {
                Some(number) => {
                    if let Some(open) = self.groups.get_mut(number) {
                        open.home = Home::Item(key);
                    }
                }
                None => self.lanes.parked(&key.lane.0, &key.lane.1, key.due),
            }
        }
        for app in &acked {
            self.in_flight.remove(app, 1);
        }
        self.count(&changes.traces);
    }

    fn count(&self, traces: &[TraceRow]) {
        let mut counts: HashMap<(&AppId, &LaneName, Verdict), u64> = HashMap::new();
        for row in traces {
            for push in row.pushes.iter().filter(|push| push.verdict.is_final()) {
                *counts.entry((&row.app, &push.lane, push.verdict)).or_default() += 1;
            }
        }
        for ((app, lane, verdict), count) in counts {
            let vendor = self.lanes.get(app, lane).map_or("", |lane| lane.settings().vendor_id);
            self.metrics.verdict(app, lane, vendor, verdict.word(), count);
        }
    }
}

/// Drafts the end of an item that no lane will take any more.
pub(in crate::push) fn expire(item: Item, now: Millis, changes: &mut Changes) {
    let mut pushes = Vec::with_capacity(item.targets.len());
    for target in &item.targets {
        let row = trace(&item, target, Verdict::Expired, Some("no_lane"), now);
        changes.bury.push(letter(&item, target, &row));
        pushes.push(row);
    }
    changes.traces.push(TraceRow {
        app: item.app,
        event: item.event,
        received_at: item.received_at,
        pushes,
        settles: false,
    });
}

fn letter(item: &Item, target: &ItemTarget, row: &PushTrace) -> DeadLetter {
    let why = match (&row.code, &row.hint) {
        (Some(code), Some(hint)) => format!("expired; the last answer was {code}: {hint}"),
        _ => "expired before its lane could take it".to_owned(),
    };
    let targets = vec![target.clone()];
    DeadLetter {
        app: item.app.clone(),
        sequence: 0,
        at: row.at,
        event: item.event.clone(),
        why: why.into(),
        item: Item { targets, attempts: row.attempts, leased: false, ..item.clone() },
    }
}

fn trace(
    item: &Item,
    target: &ItemTarget,
    verdict: Verdict,
    reason: Option<&str>,
    at: Millis,
) -> PushTrace {
    PushTrace {
        push_id: target.push_id,
        slot_id: target.slot_id,
        user_id: target.owner.as_ref().map(|owner| owner.user.clone()),
        device_id: target.owner.as_ref().map(|owner| owner.device.clone()),
        lane: item.lane.clone(),
        verdict,
        reason: reason.map(Box::from),
        code: None,
        hint: None,
        vendor_ref: None,
        attempts: item.attempts,
        at,
    }
}

fn tell_once(told: bool, err: &StoreError) -> bool {
    if !told {
        tracing::error!(error = %err, "could not write what became of pushes; trying until it works");
    }
    true
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
