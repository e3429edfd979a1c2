//! Events on their way in.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use posthorn_vendors::Class;

use super::{APP, Bed, DAY, HOUR, World, app};
use crate::model::{AppId, Event, Kind, Millis};
use crate::store::{Appended, Changes, Lease, LeaseKey};

impl<B: Bed> World<B> {
    async fn lease(&self, max: usize, busy: &[AppId]) -> Vec<Lease> {
        self.store().lease(max, busy).await.expect("leasing works")
    }

    async fn ack(&self, ack: Vec<LeaseKey>) {
        self.commit(Changes { ack, ..Changes::default() }).await;
    }
}

fn ids(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| &*lease.event.id).collect()
}

pub async fn an_event_id_is_taken_once_for_seven_days<B: Bed>(mut world: World<B>) {
    assert_eq!(world.append(vec![world.message("m")]).await, [Appended::New]);
    assert_eq!(world.append(vec![world.rich_event("m")]).await, [Appended::Duplicate]);
    // Over a day change, over a reopen, and to the last moment.
    world.pass(13 * HOUR);
    assert_eq!(world.append(vec![world.message("m")]).await, [Appended::Duplicate]);
    world.reopen().await;
    assert_eq!(world.append(vec![world.message("m")]).await, [Appended::Duplicate]);
    world.pass(7 * DAY - 13 * HOUR - Duration::from_millis(1));
    assert_eq!(world.append(vec![world.message("m")]).await, [Appended::Duplicate]);
    assert_eq!(world.lease(10, &[]).await.len(), 1, "the first wins, and is queued once");
    world.pass(2 * DAY);
    assert_eq!(world.append(vec![world.message("m")]).await, [Appended::New]);
}

pub async fn an_id_that_comes_twice_at_once_is_taken_once<B: Bed>(world: World<B>) {
    let batch = vec![world.message("m"), world.message("n"), world.message("m")];
    let both = [Appended::New, Appended::New, Appended::Duplicate];
    assert_eq!(world.append(batch).await, both);

    let callers = (0..32).map(|_| world.append(vec![world.message("o")]));
    let taken = join_all(callers).await.concat();
    assert_eq!(taken.iter().filter(|one| **one == Appended::New).count(), 1);
    assert_eq!(world.store().backlog(APP), 3);
}

pub async fn the_same_id_of_two_apps_is_two_events<B: Bed>(world: World<B>) {
    let other = Event { app: app("other"), ..world.message("m") };
    assert_eq!(world.append(vec![world.message("m"), other]).await, [Appended::New; 2]);
    assert_eq!((world.store().backlog(APP), world.store().backlog("other")), (1, 1));
}

pub async fn calls_are_leased_before_chat_before_bulk<B: Bed>(world: World<B>) {
    let bulk = Event { class: Class::Marketing, ..world.message("bulk") };
    world.append(vec![bulk, world.message("chat"), world.event("call", Kind::Call)]).await;
    assert_eq!(ids(&world.lease(1, &[]).await), ["call"]);
    assert_eq!(ids(&world.lease(2, &[]).await), ["chat", "bulk"]);
}

pub async fn apps_take_turns_and_busy_ones_are_passed_over<B: Bed>(world: World<B>) {
    let of = |name: &str, id: String| Event { app: app(name), ..world.message(&id) };
    world.append((0..100).map(|n| of("loud", format!("l{n}"))).collect()).await;
    world.append((0..3).map(|n| of("quiet", format!("q{n}"))).collect()).await;

    let leased = world.lease(6, &[]).await;
    let quiet = leased.iter().filter(|lease| *lease.key.app == *"quiet").count();
    assert_eq!(quiet, 3, "an app with much to do leaves the others their share");
    assert!(world.lease(6, &[app("loud")]).await.is_empty());
    assert_eq!(world.lease(6, &[app("quiet")]).await.len(), 6);
    // One at a time, each has its turn.
    world.append((3..6).map(|n| of("quiet", format!("q{n}"))).collect()).await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.extend(world.lease(1, &[]).await.into_iter().map(|lease| lease.key.app));
    }
    assert_eq!(turns.iter().filter(|name| ***name == *"quiet").count(), 3);
}

pub async fn one_apps_events_are_leased_in_the_order_they_came<B: Bed>(world: World<B>) {
    let wanted: Vec<String> = (0..50).map(|n| format!("m{n}")).collect();
    for id in &wanted {
        world.append(vec![world.message(id)]).await;
    }
    let mut leased = world.lease(7, &[]).await;
    leased.extend(world.lease(100, &[]).await);
    assert_eq!(ids(&leased), wanted);
}

pub async fn an_event_is_leased_once_until_it_is_given_back<B: Bed>(world: World<B>) {
    world.append(vec![world.message("a"), world.message("b")]).await;
    let leased = world.lease(10, &[]).await;
    assert!(world.lease(10, &[]).await.is_empty());
    assert_eq!(world.store().backlog(APP), 2, "leased events count as backlog");
    world.store().release(&[leased[0].key.clone()]);
    let again = world.lease(10, &[]).await;
    assert_eq!(ids(&again), ["a"]);
    assert_eq!(again[0].key, leased[0].key);
    assert!(world.lease(10, &[]).await.is_empty());
}

pub async fn an_acked_event_is_gone<B: Bed>(mut world: World<B>) {
    world.append(vec![world.message("a"), world.message("b")]).await;
    let leased = world.lease(1, &[]).await;
    world.ack(vec![leased[0].key.clone()]).await;
    // Acked is acked: giving it back afterwards changes nothing.
    world.store().release(&[leased[0].key.clone()]);
    assert_eq!(world.store().backlog(APP), 1);
    assert_eq!(ids(&world.lease(10, &[]).await), ["b"]);
    world.reopen().await;
    assert_eq!(ids(&world.lease(10, &[]).await), ["b"]);
}

pub async fn unacked_events_are_due_again_after_a_reopen<B: Bed>(mut world: World<B>) {
    world.append(vec![world.message("a"), world.message("b"), world.message("c")]).await;
    let leased = world.lease(2, &[]).await;
    world.reopen().await;
    assert_eq!(world.store().backlog(APP), 3);
    let again = world.lease(10, &[]).await;
    assert_eq!(ids(&again), ["a", "b", "c"]);
    assert_eq!(again[0].key, leased[0].key);
}

pub async fn an_event_comes_back_from_the_store_as_it_was<B: Bed>(mut world: World<B>) {
    let mut events = vec![world.rich_event("rich")];
    let kinds = [
        Kind::Call,
        Kind::CallEnd { of: "x".into() },
        Kind::Recall { of: "x".into() },
        Kind::Edit { of: "x".into(), message: super::text("new") },
        Kind::Read { up_to: Millis(7) },
        Kind::FriendRequest(None),
        Kind::FriendRequest(Some(super::text("hello"))),
        Kind::System(Some(super::text("notice"))),
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        events.push(world.event(&format!("k{n}"), kind));
    }
    world.append(events.clone()).await;
    world.reopen().await;
    let leased = world.lease(100, &[]).await;
    assert_eq!(leased.len(), events.len());
    for event in events {
        let back = leased.iter().find(|lease| lease.event.id == event.id).expect("it is there");
        assert_eq!(*back.event, event);
    }
}

/// Longer than what a backend is likely to keep at hand, with leases and acks in between.
pub async fn a_long_queue_is_leased_whole_and_in_order<B: Bed>(mut world: World<B>) {
    let wanted: Vec<String> = (0..5000).map(|n| format!("m{n}")).collect();
    let mut leased = Vec::new();
    for ids in wanted.chunks(500) {
        world.append(ids.iter().map(|id| world.message(id)).collect()).await;
        let some = world.lease(97, &[]).await;
        world.ack(some.iter().map(|lease| lease.key.clone()).collect()).await;
        leased.extend(some);
    }
    loop {
        let some = world.lease(256, &[]).await;
        if some.is_empty() {
            break;
        }
        leased.extend(some);
    }
    assert_eq!(ids(&leased), wanted);
    world.reopen().await;
    assert_eq!(world.store().backlog(APP), 5000 - 970);
    assert_eq!(ids(&world.lease(5000, &[]).await), wanted[970..]);
}

pub async fn a_waiter_hears_of_an_append_and_of_a_release<B: Bed>(world: World<B>) {
    world.append(vec![world.message("a")]).await;
    world.store().wait_for_events().await;
    let leased = world.lease(1, &[]).await;
    let keys = [leased[0].key.clone()];
    let (_, ()) = tokio::join!(world.store().wait_for_events(), async {
        world.store().release(&keys);
    });
    assert_eq!(world.lease(1, &[]).await.len(), 1);
}

pub async fn sequences_are_never_used_again_after_a_reopen<B: Bed>(mut world: World<B>) {
    let mut seen = HashSet::new();
    for round in 0..5 {
        world.append((0..20).map(|n| world.message(&format!("{round}-{n}"))).collect()).await;
        let leased = world.lease(100, &[]).await;
        for lease in &leased {
            assert!(seen.insert(lease.key.sequence), "{:?} was used before", lease.key);
        }
        world.ack(leased.into_iter().map(|lease| lease.key).collect()).await;
        world.reopen().await;
    }
    assert_eq!(seen.len(), 100);
}

pub async fn changes_of_many_callers_are_all_kept<B: Bed>(mut world: World<B>) {
    let callers = (0..200).map(|n| world.append(vec![world.message(&format!("m{n}"))]));
    assert!(join_all(callers).await.concat().iter().all(|one| *one == Appended::New));
    world.reopen().await;
    assert_eq!(world.lease(1000, &[]).await.len(), 200);
}
