//! What became of events.

use posthorn_vendors::Id;

use super::{APP, Bed, DAY, HOUR, World, app};
use crate::model::{Event, EventTrace, Millis, PushTrace, Verdict};
use crate::store::{Changes, TraceRow};

impl<B: Bed> World<B> {
    fn push_trace(&self, push: u8, verdict: Verdict) -> PushTrace {
        PushTrace {
            push_id: Id([push; 16]),
            slot_id: Id([push + 100; 16]),
            user_id: Some("bob".into()),
            device_id: Some("phone".into()),
            lane: "apns".into(),
            verdict,
            reason: Some("why".into()),
            code: Some("410".into()),
            hint: Some("a hint".into()),
            vendor_ref: Some("ref".into()),
            attempts: 2,
            at: self.now(),
        }
    }

    async fn trace_row(&self, event: &Event, pushes: Vec<PushTrace>, settles: bool) {
        let row = TraceRow {
            app: event.app.clone(),
            event: event.id.clone(),
            received_at: event.received_at,
            pushes,
            settles,
        };
        self.commit(Changes { traces: vec![row], ..Changes::default() }).await;
    }

    async fn trace(&self, event: &str) -> Option<EventTrace> {
        self.store().trace(APP, event).await.expect("reading works")
    }

    async fn events_of(&self, user: &str, max: usize) -> Vec<String> {
        let found = self.store().events_of(APP, user, max).await.expect("reading works");
        found.into_iter().map(String::from).collect()
    }
}

pub async fn traces_are_joined_and_later_news_replaces<B: Bed>(mut world: World<B>) {
    let event = world.message("m");
    world.append(vec![event.clone()]).await;
    let waiting = world.push_trace(1, Verdict::Accepted);
    let gone = world.push_trace(2, Verdict::Failed);
    world.trace_row(&event, vec![waiting, gone.clone()], true).await;
    world.pass(HOUR);
    let sent = world.push_trace(1, Verdict::Sent);
    let third = PushTrace {
        user_id: None,
        device_id: None,
        reason: None,
        code: None,
        hint: None,
        vendor_ref: None,
        ..world.push_trace(3, Verdict::Suppressed)
    };
    world.trace_row(&event, vec![sent.clone(), third.clone()], false).await;
    world.reopen().await;
    let trace = world.trace("m").await.expect("it is known");
    assert_eq!(trace.pushes, [sent, gone, third]);
    assert!(trace.settled);
    assert_eq!(trace.verdict(), Verdict::Sent);
    assert_eq!(trace.received_at, event.received_at);
}

pub async fn an_accepted_event_has_an_open_trace<B: Bed>(world: World<B>) {
    world.append(vec![world.message("m")]).await;
    let trace = world.trace("m").await.expect("it is known");
    assert!(!trace.settled && trace.pushes.is_empty());
    assert_eq!(trace.verdict(), Verdict::Accepted);
    assert!(world.store().is_known(APP, "m").await.expect("reading works"));
    assert!(!world.store().is_known(APP, "m2").await.expect("reading works"));
    assert_eq!(world.trace("m2").await, None);
    assert_eq!(world.store().trace("other", "m").await.expect("reading works"), None);
    // A part alone does not settle it.
    let parked = vec![world.push_trace(1, Verdict::Sent)];
    world.trace_row(&world.message("m"), parked, false).await;
    assert!(!world.trace("m").await.expect("it is known").settled);
}

pub async fn events_of_a_user_are_told_newest_first<B: Bed>(mut world: World<B>) {
    for n in 0..6 {
        let bobby = Event { to: vec!["bobby".into()], ..world.message(&format!("x{n}")) };
        let other = Event { app: app("other"), ..world.message(&format!("o{n}")) };
        world.append(vec![world.message(&format!("m{n}")), bobby, other]).await;
        world.pass(7 * HOUR);
    }
    assert_eq!(world.events_of("bob", 4).await, ["m5", "m4", "m3", "m2"]);
    world.reopen().await;
    assert_eq!(world.events_of("bob", 9).await, ["m5", "m4", "m3", "m2", "m1", "m0"]);
    assert_eq!(world.events_of("bobby", 1).await, ["x5"]);
    assert!(world.events_of("bo", 9).await.is_empty());
}

pub async fn a_trace_is_found_on_the_day_of_its_event<B: Bed>(world: World<B>) {
    let event = world.message("m");
    world.append(vec![event.clone()]).await;
    for day in 1..7 {
        world.pass(DAY);
        world.append(vec![world.message(&format!("of-day-{day}"))]).await;
        let verdict = if day == 6 { Verdict::Sent } else { Verdict::Accepted };
        let row = vec![world.push_trace(1, verdict)];
        world.trace_row(&event, row, day == 1).await;
    }
    let trace = world.trace("m").await.expect("it is within the retention");
    assert_eq!(trace.pushes.len(), 1);
    assert_eq!(trace.verdict(), Verdict::Sent);
}

pub async fn days_beyond_the_retention_are_forgotten<B: Bed>(mut world: World<B>) {
    let recalled = world.message("old");
    world.append(vec![recalled.clone()]).await;
    world.trace_row(&recalled, vec![world.push_trace(1, Verdict::Sent)], true).await;
    world.pass(9 * DAY);
    world.append(vec![world.message("new")]).await;
    for _ in 0..2 {
        assert_eq!(world.trace("old").await, None);
        assert!(!world.store().is_known(APP, "old").await.expect("reading works"));
        assert_eq!(world.events_of("bob", 9).await, ["new"]);
        // Queue rows are no news: what nobody acked stays.
        assert_eq!(world.store().backlog(APP), 2);
        world.reopen().await;
    }
    // Late news of what is forgotten harms nothing, and is forgotten in turn.
    world.trace_row(&recalled, vec![world.push_trace(1, Verdict::Delivered)], false).await;
    world.pass(DAY);
    world.append(vec![world.message("newer")]).await;
    assert_eq!(world.trace("old").await, None);
    assert_ne!(recalled.received_at, Millis(0));
}
