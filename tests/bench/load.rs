//! The load: prebuilt requests, fed as fast as they are answered or at a fixed rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::http::{Client, request};
use crate::process::millis;
use crate::sender::{AVATAR, TEXT, now};
use crate::stage::JSON;

/// Makes events whose ids no other event has.
#[derive(Default)]
pub(crate) struct Events {
    made: usize,
}

impl Events {
    /// One event to these users, in a conversation of its own. Its text begins with its number.
    pub(crate) fn one(&mut self, to: &[String]) -> String {
        let number = self.made;
        self.made += 1;
        let event = serde_json::json!({
            "id": format!("e-{number}"),
            "to": to,
            "from": {"user_id": "alice", "nickname": "Alice 王", "avatar": AVATAR},
            "conversation": format!("c-{number}"),
            "message": {"type": "text", "text": format!("{number} {TEXT}")},
            "badge": 3,
        });
        event.to_string()
    }

    /// The number that the next event gets.
    pub(crate) fn next(&self) -> usize {
        self.made
    }

    /// `count` events, each to the next of `users` users of this prefix.
    pub(crate) fn for_users(&mut self, prefix: &str, users: usize, count: usize) -> Vec<String> {
        (0..count).map(|at| self.one(&[format!("{prefix}{}", at % users)])).collect()
    }
}

/// The number that a shown text begins with.
pub(crate) fn number_of(text: &str) -> Option<usize> {
    text.split(' ').next()?.parse().ok()
}

/// How events are put into requests.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    One,
    Array(usize),
    Lines(usize),
}

pub(crate) fn requests(key: &str, events: &[String], form: Form) -> Vec<Vec<u8>> {
    let post = |kind: &str, body: String| request("POST", "/v1/events", key, kind, body.as_bytes());
    match form {
        Form::One => events.iter().map(|event| post(JSON, event.clone())).collect(),
        Form::Array(size) => events
            .chunks(size)
            .map(|events| post(JSON, format!("[{}]", events.join(","))))
            .collect(),
        Form::Lines(size) => {
            let lines = |events: &[String]| post("application/x-ndjson", events.join("\n"));
            events.chunks(size).map(lines).collect()
        }
    }
}

/// Sends all calls over this many connections, each as soon as its connection is free. Returns how
/// long each took, in milliseconds.
pub(crate) async fn feed(
    address: SocketAddr,
    calls: Vec<Vec<u8>>,
    connections: usize,
) -> anyhow::Result<Vec<f64>> {
    let calls = Arc::new(calls);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (calls, next) = (calls.clone(), next.clone());
        workers.spawn(async move {
            let mut client = Client::connect(address).await?;
            let mut took = Vec::new();
            while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                let started = Instant::now();
                client.expect(call).await?;
                took.push(millis(started.elapsed()));
            }
            anyhow::Ok(took)
        });
    }
    join(workers).await
}

/// One answered call of an open loop.
pub(crate) struct Answered {
    pub(crate) at: usize,
    /// When it was meant to be sent.
    pub(crate) meant: SystemTime,
    /// From then to the answer.
    pub(crate) took_ms: f64,
}

/// Sends the calls at `per_second`, whether or not earlier ones were answered; a call that waits for
/// a free connection waits on its own clock.
pub(crate) async fn open_loop(
    address: SocketAddr,
    calls: Vec<Vec<u8>>,
    per_second: f64,
    connections: usize,
) -> anyhow::Result<Vec<Answered>> {
    let calls = Arc::new(calls);
    let (due, waiting) = mpsc::unbounded_channel::<(usize, Instant, SystemTime)>();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (calls, waiting) = (calls.clone(), waiting.clone());
        let mut client = Client::connect(address).await?;
        workers.spawn(async move {
            let mut answered = Vec::new();
            loop {
                let next = waiting.lock().await.recv().await;
                let Some((at, meant, wall)) = next else { return anyhow::Ok(answered) };
                client.expect(&calls[at]).await?;
                answered.push(Answered { at, meant: wall, took_ms: millis(meant.elapsed()) });
            }
        });
    }
    let count = calls.len();
    // A thread of its own: the runtime's timer knows whole milliseconds only.
    let pacer = std::thread::spawn(move || pace(count, per_second, &due));
    let answered = join(workers).await?;
    pacer.join().map_err(|_| anyhow::anyhow!("the pacer ended early"))?;
    Ok(answered)
}

fn pace(count: usize, per_second: f64, due: &mpsc::UnboundedSender<(usize, Instant, SystemTime)>) {
    let (start, wall) = (Instant::now(), now());
    for at in 0..count {
        let offset = Duration::from_secs_f64(at as f64 / per_second);
        if let Some(ahead) = offset.checked_sub(start.elapsed()) {
            #[expect(clippy::disallowed_methods, reason = "no runtime thread")]
            std::thread::sleep(ahead);
        }
        if due.send((at, start + offset, wall + offset)).is_err() {
            // Nobody listens only after a failure, which the listener tells.
            return;
        }
    }
}

async fn join<T: 'static>(mut workers: JoinSet<anyhow::Result<Vec<T>>>) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(ended) = workers.join_next().await {
        all.extend(ended??);
    }
    Ok(all)
}
