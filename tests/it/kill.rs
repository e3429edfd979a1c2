//! Nothing lost, nothing shown twice, however often the process is killed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use posthorn_vendors::sandbox::phones::{Phone, Phones};
use posthorn_vendors::sandbox::{Fault, Mode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::caller::message;
use crate::support::scene::{ANY_PORT, vendors};
use crate::support::{Caller, Dice, PATIENCE, Process, Scene, dice, within};

const KILLS: u64 = 24;
const EVENTS: u64 = 20_000;
const PHONES_A_VENDOR: usize = 15;
const BATCH: u64 = 40;
const SENDERS: usize = 3;
/// Events accepted and not yet shown, above which the senders wait: the gateway is to be killed in
/// the middle of its work, not to build up a queue.
const AHEAD: u64 = 3000;

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_event_is_shown_once_though_the_gateway_is_killed_over_and_over() {
    let mut dice = dice::thrown("kill");
    let scene = Scene::start().await;
    let (mut process, caller) = scene.spawn().await;
    let mut phones = Vec::new();
    for vendor in vendors() {
        for at in 0..PHONES_A_VENDOR {
            phones.push(scene.phone(&caller, vendor, &format!("{vendor}-{at}")).await);
        }
    }
    make_vendors_slow_and_unsure(&scene);

    let gateway = watch::Sender::new(caller);
    let load = Arc::new(Load::new(scene.sandbox.phones().clone(), phones, gateway.subscribe()));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(load.clone().send());
    }
    for kill in 1..=KILLS {
        load.comes_to_a_random_moment(&mut dice, EVENTS * kill / KILLS).await;
        process.kill();
        if dice.within(0..4) == 0 {
            // Once more, while it is still reading what the last kill left.
            process = scene.spawn_on(ANY_PORT.parse().expect("an address"));
            process.kill();
        }
        process = restart(&scene, &gateway).await;
    }
    load.over.store(true, Ordering::Release);
    senders.join_all().await;

    load.everything_is_shown(&scene).await;
    let caller = gateway.borrow().clone();
    caller.idle().await;
    load.nothing_is_shown_twice_or_unasked(&scene);
    some_traces_say_sent(&load, &caller, &mut dice).await;
    load.print_figures(&scene);
    assert_eq!(process.term().await.code(), Some(0));
}

/// So that kills meet retries and parked pushes as well.
fn make_vendors_slow_and_unsure(scene: &Scene) {
    let slow = Fault { share: 0.02, delay_ms: Some(1200), ..Fault::always(Mode::Latency) };
    assert!(scene.sandbox.set_fault("huawei", Some(slow)));
    let unsure = Fault { share: 0.02, status: Some(503), ..Fault::always(Mode::Status) };
    assert!(scene.sandbox.set_fault("xiaomi", Some(unsure)));
}

async fn restart(scene: &Scene, gateway: &watch::Sender<Caller>) -> Process {
    let (process, caller) = scene.spawn().await;
    gateway.send_replace(caller);
    process
}

/// Senders that post batches until told to stop, each again until it is answered.
struct Load {
    phones: Phones,
    /// By number of an event, modulo their count, the phone that must show it.
    addressed: Vec<Phone>,
    gateway: watch::Receiver<Caller>,
    over: AtomicBool,
    next: AtomicU64,
    accepted: AtomicU64,
    known: AtomicU64,
    again: AtomicUsize,
    /// The numbers of the events that were answered 2xx.
    taken: Mutex<Vec<u64>>,
    progress: watch::Sender<u64>,
}

impl Load {
    fn new(phones: Phones, addressed: Vec<Phone>, gateway: watch::Receiver<Caller>) -> Load {
        Load {
            phones,
            addressed,
            gateway,
            over: AtomicBool::default(),
            next: AtomicU64::default(),
            accepted: AtomicU64::default(),
            known: AtomicU64::default(),
            again: AtomicUsize::default(),
            taken: Mutex::default(),
            progress: watch::Sender::new(0),
        }
    }

    fn phone(&self, number: u64) -> &Phone {
        &self.addressed[number as usize % self.addressed.len()]
    }

    async fn send(self: Arc<Self>) {
        while !self.over.load(Ordering::Acquire) {
            let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let numbers = first..first + BATCH;
            let event = |number| message(&id(number), &self.phone(number).name, &id(number));
            let batch: Value = numbers.clone().map(event).collect();
            for receipt in self.post(&batch).await.as_array().expect("a batch has an array") {
                match receipt["status"].as_str() {
                    Some("accepted") => self.accepted.fetch_add(1, Ordering::Relaxed),
                    Some("duplicate") => self.known.fetch_add(1, Ordering::Relaxed),
                    _ => panic!("an event was refused: {receipt}"),
                };
            }
            self.taken.lock().expect("no sender panicked").extend(numbers);
            self.progress.send_modify(|taken| *taken += BATCH);
            self.phones_catch_up().await;
        }
    }

    /// Posts until somebody answers.
    async fn post(&self, batch: &Value) -> Value {
        let mut gateway = self.gateway.clone();
        loop {
            let caller = gateway.borrow_and_update().clone();
            match caller.post(batch).await {
                Ok(reply) => {
                    assert_eq!(reply.status, 200, "{}", reply.text);
                    return reply.body;
                }
                // It was killed, and another will come.
                Err(_) => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    let next = tokio::time::timeout(PATIENCE, gateway.changed()).await;
                    next.expect("the gateway is restarted in time").expect("the test goes on");
                }
            }
        }
    }

    async fn phones_catch_up(&self) {
        let mut shown = self.phones.watch();
        let taken = *self.progress.borrow();
        let caught_up = shown.wait_for(|shown| taken < shown + AHEAD);
        let caught_up = tokio::time::timeout(2 * PATIENCE, caught_up).await;
        drop(caught_up.expect("the phones catch up in time").expect("the phones stay"));
    }

    /// Waits for a moment that the dice choose: so many events more are taken, or so many pushes
    /// more arrive; and at least until `least` events are taken in all.
    async fn comes_to_a_random_moment(&self, dice: &mut Dice, least: u64) {
        let mut taken = self.progress.subscribe();
        let mut arrived = self.phones.watch();
        let more = dice.within(1..400);
        let reached = async {
            drop(taken.wait_for(|taken| *taken >= least).await.expect("senders go on"));
            if dice.within(0..2) == 0 {
                let goal = *taken.borrow() + more;
                drop(taken.wait_for(|taken| *taken >= goal).await.expect("senders go on"));
            } else {
                let goal = self.phones.version() + more;
                drop(arrived.wait_for(|arrived| *arrived >= goal).await.expect("phones stay"));
            }
        };
        let reached = tokio::time::timeout(2 * PATIENCE, reached).await;
        reached.expect("the load goes on");
    }

    fn taken(&self) -> Vec<u64> {
        self.taken.lock().expect("no sender panicked").clone()
    }

    /// What stands on the screens, with how often: by phone and text.
    fn screens(&self, scene: &Scene) -> HashMap<(String, String), usize> {
        let mut screens = HashMap::new();
        for phone in scene.sandbox.phones().all() {
            for push in &phone.screen.shown {
                *screens.entry((phone.id.clone(), push.body.clone())).or_default() += 1;
            }
        }
        screens
    }

    async fn everything_is_shown(&self, scene: &Scene) {
        let mut missing = self.taken();
        within(2 * PATIENCE, "every event answered 2xx is shown", async || {
            let screens = self.screens(scene);
            missing.retain(|number| {
                !screens.contains_key(&(self.phone(*number).id.clone(), id(*number)))
            });
            missing.is_empty().then_some(())
        })
        .await;
    }

    fn nothing_is_shown_twice_or_unasked(&self, scene: &Scene) {
        let taken: HashSet<String> = self.taken().into_iter().map(id).collect();
        for ((phone, text), count) in self.screens(scene) {
            assert_eq!(count, 1, "{phone} shows {text} more than once");
            assert!(taken.contains(&text), "{phone} shows {text}, which nobody sent");
        }
    }

    #[expect(clippy::print_stdout, reason = "the run's figures are for the log")]
    fn print_figures(&self, scene: &Scene) {
        let phones = scene.sandbox.phones().all();
        let again: usize =
            phones.iter().map(|p| p.screen.replaced.len() + p.screen.dropped.len()).sum();
        println!(
            "kill: {KILLS} kills, {} phones, {} events ({} accepted, {} known when posted again; \
             {} posts cut off), {} shown, {again} sent again and not shown twice",
            phones.len(),
            self.taken().len(),
            self.accepted.load(Ordering::Relaxed),
            self.known.load(Ordering::Relaxed),
            self.again.load(Ordering::Relaxed),
            self.screens(scene).len(),
        );
    }
}

async fn some_traces_say_sent(load: &Load, caller: &Caller, dice: &mut Dice) {
    let taken = load.taken();
    for _ in 0..50 {
        let number = taken[dice.within(0..taken.len() as u64) as usize];
        assert_eq!(caller.trace(&id(number)).await["status"], "sent", "{}", id(number));
    }
}

fn id(number: u64) -> String {
    format!("e-{number}")
}
