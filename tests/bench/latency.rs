//! How long callers and phones wait, under an open loop.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::Row;
use crate::load::{Answered, Events, Form, number_of, open_loop, requests};
use crate::process::{at_share, median, percentiles};
use crate::stage::Stage;
use crate::throughput::pass;

const USERS: usize = 1024;
const CONNECTIONS: usize = 128;
const SECONDS: f64 = 8.0;

/// Sends `count` single events to APNs users at this rate; how long each accept took, and how long
/// after its time each push was on its phone, in milliseconds.
async fn run(
    stage: &Stage,
    events: &mut Events,
    per_second: f64,
    count: usize,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let first = events.next();
    let calls =
        requests(&stage.gateway.server_key, &events.for_users("a", USERS, count), Form::One);
    let before = stage.gateway.sent().await?;
    let answered = open_loop(stage.gateway.address, calls, per_second, CONNECTIONS).await?;
    stage.gateway.wait_sent(before + count as f64).await?;
    let accepts = answered.iter().map(|one| one.took_ms).collect();
    let shown = shown_after(stage, first, &answered).await?;
    Ok((accepts, shown))
}

/// Phones tell whole milliseconds; half of one is added, and what is left averages out over moments
/// of sending that lie anywhere within one.
async fn shown_after(
    stage: &Stage,
    first: usize,
    answered: &[Answered],
) -> anyhow::Result<Vec<f64>> {
    let meant: HashMap<usize, SystemTime> =
        answered.iter().map(|one| (first + one.at, one.meant)).collect();
    let mut waits = Vec::new();
    for (phone, _) in stage.apns.iter().step_by(4) {
        for (text, received) in stage.sandbox.screen(phone).await? {
            if let Some(meant) = number_of(&text).and_then(|number| meant.get(&number)) {
                let meant = meant.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                waits.push(received + 0.5 - meant.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(waits)
}

pub(crate) async fn rows() -> anyhow::Result<Vec<Row>> {
    let stage = Stage::set(USERS, 0).await?;
    let mut events = Events::default();
    let warm_up = events.for_users("a", USERS, 10_000);
    pass(&stage, warm_up, 10_000, Form::One, CONNECTIONS).await?;
    let mut most = f64::MAX;
    for _ in 0..3 {
        let full = events.for_users("a", USERS, 60_000);
        most = most.min(pass(&stage, full, 60_000, Form::One, CONNECTIONS).await?.events_per_sec);
    }
    let mut rows = Vec::new();
    for (name, share, aim) in [
        ("a tenth of", 0.1, ""),
        ("half", 0.5, "accept p99 ≤ 5 ms"),
        ("three quarters of", 0.75, ""),
    ] {
        let rate = most * share;
        let (accepts, shown) = run(&stage, &mut events, rate, (rate * SECONDS) as usize).await?;
        let load = format!("{name} the most ({rate:.0} events/s, one a request)");
        let key = "p50 / p99 / p99.9 / max";
        rows.push(Row::new(format!("accept at {load}, {key}"), percentiles(accepts)).aim(aim));
        rows.push(Row::new(format!("accept → phone at {load}, {key}"), percentiles(shown)));
    }
    Ok(rows)
}

/// APNs pushes while every Huawei call hangs, and while Huawei answers; Huawei gets events too.
pub(crate) async fn bulkhead() -> anyhow::Result<Vec<Row>> {
    const PAIRS: usize = 10;
    const PER_SECOND: f64 = 1000.0;
    const COUNT: usize = 3000;
    let stage = Stage::set(USERS, USERS).await?;
    let mut events = Events::default();
    let mut ratios = Vec::new();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let warm_up = events.for_users("a", USERS, 10_000);
    pass(&stage, warm_up, 10_000, Form::One, CONNECTIONS).await?;
    for pair in 0..PAIRS {
        // Whoever goes second finds fuller phones; so they take turns.
        let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
        let mut p99 = [0.0; 2];
        for hangs in order {
            if hangs {
                stage.sandbox.fault(Some(("huawei", "hang"))).await?;
            }
            let p = mixed(&stage, &mut events, PER_SECOND, COUNT).await?;
            stage.sandbox.fault(None).await?;
            settle(&stage).await?;
            p99[usize::from(hangs)] = p;
        }
        without.push(p99[0]);
        with.push(p99[1]);
        ratios.push(p99[1] / p99[0]);
    }
    let value = format!(
        "{:.2} ms hanging, {:.2} ms not; ratio {:.2} (median of {PAIRS} pairs)",
        median(with),
        median(without),
        median(ratios)
    );
    let name = "bulkhead: APNs accept → phone p99 while Huawei hangs, 1000 + 250 events/s";
    Ok(vec![Row::new(name, value).aim("ratio ≤ 1.1")])
}

/// One Huawei event after every four for APNs; the p99 of those for APNs.
async fn mixed(
    stage: &Stage,
    events: &mut Events,
    per_second: f64,
    count: usize,
) -> anyhow::Result<f64> {
    let first = events.next();
    let mut all = Vec::new();
    for at in 0..count {
        all.push(events.one(&[format!("a{}", at % USERS)]));
        if at % 4 == 3 {
            all.push(events.one(&[format!("h{}", at % stage.huawei.len())]));
        }
    }
    let calls = requests(&stage.gateway.server_key, &all, Form::One);
    let before = apns_sent(stage).await?;
    let answered = open_loop(stage.gateway.address, calls, per_second * 1.25, CONNECTIONS).await?;
    while apns_sent(stage).await? < before + count as f64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut shown = shown_after(stage, first, &answered).await?;
    shown.sort_by(f64::total_cmp);
    Ok(at_share(&shown, 0.99))
}

async fn apns_sent(stage: &Stage) -> anyhow::Result<f64> {
    let words = ["class=\"sent\"", "lane=\"apns\""];
    stage.gateway.metric("posthorn_verdicts_total", &words).await
}

/// Waits until Huawei's backlog is through.
async fn settle(stage: &Stage) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    while stage.gateway.metric("posthorn_lane_waiting", &[]).await? > 0.0
        || stage.gateway.metric("posthorn_events_backlog", &[]).await? > 0.0
    {
        anyhow::ensure!(started.elapsed().as_secs() < 120, "Huawei's backlog does not go away");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
