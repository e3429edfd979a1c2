//! Millions of synced writes on the store, as the pipeline makes them: events in, leased, acked with
//! their traces. A hang would show here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthorn::model::{
    AppId, Clock, Event, Kind, Message, MessageType, PushOptions, PushTrace, SystemClock, Verdict,
};
use posthorn::store::embedded::Embedded;
use posthorn::store::{Changes, Lease, Store, TraceRow};
use posthorn_vendors::{Class, Id};
use tokio::task::JoinSet;

use crate::Row;
use crate::process::{millis, own_cpu, own_rss, percentiles};
use crate::sender::TEXT;

/// Events a caller commits at once.
const BATCH: usize = 64;
const CALLERS: usize = 8;
/// A commit that takes longer is a hang.
const HANG: Duration = Duration::from_secs(30);

/// Writes `events` events: each synced when it comes in, and written again when it is through.
pub(crate) async fn rows(events: usize) -> anyhow::Result<Vec<Row>> {
    let dir = tempfile::Builder::new().prefix("posthorn-soak-").tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(Embedded::open(dir.path(), clock.clone())?);
    let (cpu, started) = (own_cpu()?, Instant::now());
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, clock, next) = (store.clone(), clock.clone(), next.clone());
        callers.spawn(async move {
            let mut took = Vec::new();
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= events {
                    return anyhow::Ok(took);
                }
                took.push(append(&*store, &*clock, first).await?);
                settle(&*store, &*clock).await?;
            }
        });
    }
    let mut commits = Vec::new();
    while let Some(ended) = callers.join_next().await {
        commits.extend(ended??);
    }
    let (took, cpu) = (started.elapsed().as_secs_f64(), own_cpu()? - cpu);
    let memory = own_rss()?;
    let closing = Instant::now();
    drop(store);
    let closed = closing.elapsed();
    let slow = commits.iter().filter(|took| **took > 100.0).count();
    let value = format!(
        "{:.0} events/s, {:.1} CPU-µs an event, RSS {memory:.0} MB, {slow} of {} commits above \
         100 ms, closed in {:.1} s",
        events as f64 / took,
        cpu / events as f64 * 1e6,
        commits.len(),
        closed.as_secs_f64(),
    );
    Ok(vec![
        Row::new(format!("soak: {events} events synced in and settled, 64 a commit"), value),
        Row::new("soak: synced commit p50 / p99 / p99.9 / max", percentiles(commits))
            .aim("no hang, no commit above 1 s"),
    ])
}

/// Commits a batch with a sync; how long it took, in milliseconds.
async fn append(store: &dyn Store, clock: &dyn Clock, first: usize) -> anyhow::Result<f64> {
    let append = (first..first + BATCH).map(|at| Arc::new(event(at, clock))).collect();
    let changes = Changes { append, durable: true, ..Changes::default() };
    let started = Instant::now();
    let committed = tokio::time::timeout(HANG, store.commit(changes.into())).await;
    committed.map_err(|_| anyhow::anyhow!("a commit hangs"))??;
    Ok(millis(started.elapsed()))
}

async fn settle(store: &dyn Store, clock: &dyn Clock) -> anyhow::Result<()> {
    let leases = store.lease(BATCH, &[]).await?;
    let traces = leases.iter().map(|lease| trace(lease, clock)).collect();
    let ack = leases.into_iter().map(|lease| lease.key).collect();
    let changes = Changes { ack, traces, ..Changes::default() };
    let committed = tokio::time::timeout(HANG, store.commit(changes.into())).await;
    committed.map_err(|_| anyhow::anyhow!("a commit hangs"))??;
    Ok(())
}

fn event(at: usize, clock: &dyn Clock) -> Event {
    let app: AppId = "demo".into();
    let now = clock.now();
    Event {
        app,
        id: format!("e-{at}").into(),
        kind: Kind::Message(Message { kind: MessageType::Text, text: Some(TEXT.into()) }),
        class: Class::Im,
        to: vec![format!("user-{}", at % 100_000).into()],
        targets: Vec::new(),
        from: None,
        conversation: Some(format!("c-{}", at % 50_000).into()),
        sent_at: now,
        received_at: now,
        deadline: now + Duration::from_secs(86_400),
        badge: Some(3),
        push: PushOptions::default(),
        bursts: Vec::new(),
    }
}

fn trace(lease: &Lease, clock: &dyn Clock) -> TraceRow {
    let event = &lease.event;
    let push = PushTrace {
        push_id: Id(u128::from(lease.key.sequence).to_be_bytes()),
        slot_id: Id(u128::from(lease.key.sequence).to_be_bytes()),
        user_id: event.to.first().cloned(),
        device_id: Some("device-1".into()),
        lane: "apns".into(),
        verdict: Verdict::Sent,
        reason: None,
        code: None,
        hint: None,
        vendor_ref: Some("00000000-0000-0000-0000-000000000000".into()),
        attempts: 1,
        at: clock.now(),
    };
    TraceRow {
        app: event.app.clone(),
        event: event.id.clone(),
        received_at: event.received_at,
        pushes: vec![push],
        settles: true,
    }
}
