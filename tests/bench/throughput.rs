//! Work per CPU second of the gateway, against the raw client's in the same rounds.

use std::time::Instant;

use crate::Row;
use crate::load::{Events, Form, feed, requests};
use crate::process::median;
use crate::stage::Stage;

const ROUNDS: usize = 5;
const USERS: usize = 4096;
/// Enough for half a CPU second and more, so that the kernel's ticks do not matter.
const SENDS: usize = 80_000;
const BATCHED: usize = 60_000;
const SINGLE: usize = 40_000;

/// The forms that events come in, and over how many connections.
const FORMS: [(&str, Form, usize, usize, &str); 4] = [
    ("arrays of 100, 8 connections", Form::Array(100), 8, BATCHED, "≥ 0.25, aim 0.35"),
    ("arrays of 1000, 4 connections", Form::Array(1000), 4, BATCHED, "≥ 0.25, aim 0.35"),
    ("NDJSON of 1000, 4 connections", Form::Lines(1000), 4, BATCHED, "≥ 0.25, aim 0.35"),
    ("one event a request, 64 connections", Form::One, 64, SINGLE, "≥ 0.18, aim 0.25"),
];

/// The raw client's last figure. A shared machine changes pace within a minute, so every pass is
/// held against the mean of the one before it and the one after.
struct Reference(f64);

impl Reference {
    fn measure(stage: &Stage, all: &mut Vec<f64>) -> anyhow::Result<Reference> {
        let now = stage.sandbox.run_sender("raw", SENDS)?.per_cpu_sec();
        all.push(now);
        Ok(Reference(now))
    }

    fn between(&mut self, stage: &Stage, all: &mut Vec<f64>) -> anyhow::Result<f64> {
        let after = Reference::measure(stage, all)?;
        let before = std::mem::replace(self, after);
        Ok((before.0 + self.0) / 2.0)
    }
}

/// One end-to-end pass.
pub(crate) struct Pass {
    pub(crate) events_per_sec: f64,
    pub(crate) pushes_per_cpu_sec: f64,
}

/// Feeds events and waits until every push is sent.
pub(crate) async fn pass(
    stage: &Stage,
    events: Vec<String>,
    pushes: usize,
    form: Form,
    connections: usize,
) -> anyhow::Result<Pass> {
    let gateway = &stage.gateway;
    let count = events.len() as f64;
    let calls = requests(&gateway.server_key, &events, form);
    drop(events);
    let before = gateway.sent().await?;
    let (cpu, started) = (gateway.process.cpu()?, Instant::now());
    feed(gateway.address, calls, connections).await?;
    gateway.wait_sent(before + pushes as f64).await?;
    let (took, cpu) = (started.elapsed().as_secs_f64(), gateway.process.cpu()? - cpu);
    Ok(Pass { events_per_sec: count / took, pushes_per_cpu_sec: pushes as f64 / cpu })
}

pub(crate) async fn rows() -> anyhow::Result<Vec<Row>> {
    let stage = Stage::set(USERS, 0).await?;
    let mut events = Events::default();
    let warm_up = events.for_users("a", USERS, BATCHED / 4);
    pass(&stage, warm_up, BATCHED / 4, Form::Array(100), 8).await?;

    let (mut raw, mut adapter) = (Vec::new(), Vec::new());
    let mut passes: Vec<Vec<(Pass, f64)>> = FORMS.iter().map(|_| Vec::new()).collect();
    for round in 1..=ROUNDS {
        eprintln!("  round {round} of {ROUNDS}");
        let mut r = Reference::measure(&stage, &mut raw)?;
        let alone = stage.sandbox.run_sender("adapter", SENDS)?.per_cpu_sec();
        adapter.push((alone, alone / r.between(&stage, &mut raw)?));
        for ((_, form, connections, count, _), passes) in FORMS.iter().zip(&mut passes) {
            let events = events.for_users("a", USERS, *count);
            let pass = pass(&stage, events, *count, *form, *connections).await?;
            let ratio = pass.pushes_per_cpu_sec / r.between(&stage, &mut raw)?;
            passes.push((pass, ratio));
        }
    }
    let adapter_ratio = median(adapter.iter().map(|(_, ratio)| *ratio).collect());
    let adapter = median(adapter.iter().map(|(alone, _)| *alone).collect());
    let mut rows = vec![
        Row::new("R: raw h2 client", format!("{:.0} pushes/CPU-s", median(raw))).ratio(1.0, ""),
        Row::new("send path alone (APNs adapter)", format!("{adapter:.0} pushes/CPU-s"))
            .ratio(adapter_ratio, "≥ 0.65"),
    ];
    for ((name, _, _, _, aim), passes) in FORMS.into_iter().zip(passes) {
        let of = |value: fn(&(Pass, f64)) -> f64| median(passes.iter().map(value).collect());
        let value = format!(
            "{:.0} pushes/CPU-s, {:.0} events/s",
            of(|(pass, _)| pass.pushes_per_cpu_sec),
            of(|(pass, _)| pass.events_per_sec),
        );
        rows.push(
            Row::new(format!("end to end, {name}"), value).ratio(of(|(_, ratio)| *ratio), aim),
        );
    }
    Ok(rows)
}

/// Tells the gateway's process id and keeps it busy for half a minute, for a profiler.
pub(crate) async fn endless(what: &str) -> anyhow::Result<()> {
    const HUAWEI: usize = 500;
    let stage = Stage::set(USERS, HUAWEI).await?;
    let everybody: Vec<String> = (0..HUAWEI).map(|at| format!("h{at}")).collect();
    let mut events = Events::default();
    println!("{}", stage.gateway.process.id());
    let started = Instant::now();
    while started.elapsed().as_secs() < 30 {
        let (events, pushes, form, connections) = match what {
            "batch" => (events.for_users("a", USERS, 20_000), 20_000, Form::Array(100), 8),
            "lines" => (events.for_users("a", USERS, 20_000), 20_000, Form::Lines(1000), 4),
            "single" => (events.for_users("a", USERS, 20_000), 20_000, Form::One, 64),
            "huawei" => {
                let events = (0..500).map(|_| events.one(&everybody)).collect();
                (events, 500 * HUAWEI, Form::Array(10), 4)
            }
            other => anyhow::bail!("{other} is not one of batch, lines, single, huawei"),
        };
        let pass = pass(&stage, events, pushes, form, connections).await?;
        println!("{:.0} pushes/CPU-s", pass.pushes_per_cpu_sec);
    }
    Ok(())
}

/// Same-content events to 500 users with a Huawei phone each.
pub(crate) async fn fan_out() -> anyhow::Result<Vec<Row>> {
    const RECIPIENTS: usize = 500;
    const EVENTS: usize = 600;
    let stage = Stage::set(0, RECIPIENTS).await?;
    let users: Vec<String> = (0..RECIPIENTS).map(|at| format!("h{at}")).collect();
    let mut events = Events::default();
    let mut passes = Vec::new();
    for round in 0..=ROUNDS {
        let events: Vec<String> = (0..EVENTS).map(|_| events.one(&users)).collect();
        let pass = pass(&stage, events, EVENTS * RECIPIENTS, Form::Array(10), 4).await?;
        // The first warms up.
        if round > 0 {
            passes.push(pass);
        }
    }
    let per_cpu = median(passes.iter().map(|pass| pass.pushes_per_cpu_sec).collect());
    let events = median(passes.iter().map(|pass| pass.events_per_sec).collect());
    let value = format!("{per_cpu:.0} targets/CPU-s, {:.0} targets/s", events * RECIPIENTS as f64);
    let name = "Huawei, one event to 500 users, arrays of 10";
    Ok(vec![Row::new(name, value).aim("≥ 200,000 a CPU-s")])
}
