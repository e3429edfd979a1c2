//! Pushes that wait for their lane.

use std::time::Duration;

use posthorn_vendors::{Id, Token};

use super::{APP, Bed, HOUR, World, app, notification};
use crate::model::{Millis, Priority};
use crate::store::{Changes, Item, ItemKey, ItemTarget, Owner};

const LANE: &str = "apns";
const SECOND: Duration = Duration::from_secs(1);

impl<B: Bed> World<B> {
    pub(super) fn item(&self, event: &str, due: Millis) -> Item {
        let target = |n: u8, owner: Option<Owner>| ItemTarget {
            push_id: Id([n; 16]),
            slot_id: Id([n + 100; 16]),
            token: Token::new(format!("token-{n}")),
            burst: owner.as_ref().map(|_| 4),
            owner,
        };
        let owner = Owner { user: "bob".into(), device: "phone".into(), generation: 7 };
        Item {
            app: app(APP),
            lane: LANE.into(),
            priority: Priority::Chat,
            due,
            event: event.into(),
            received_at: self.now(),
            sent_at: self.now(),
            deadline: self.now() + HOUR,
            conversation: Some("c".into()),
            notification: notification(event),
            targets: vec![target(1, Some(owner)), target(2, None)],
            attempts: 3,
            edits: Some("earlier".into()),
            leased: false,
        }
    }

    async fn park(&self, park: Vec<Item>) -> Vec<ItemKey> {
        self.commit(Changes { park, ..Changes::default() }).await.parked
    }

    async fn unpark(&self, unpark: Vec<ItemKey>) {
        self.commit(Changes { unpark, ..Changes::default() }).await;
    }

    async fn lease_items(&self, lane: &str, max: usize) -> Vec<(ItemKey, Item)> {
        let leased = self.store().lease_items(APP, lane, self.now(), max).await;
        leased.expect("leasing works")
    }

    async fn next_due(&self) -> Option<Millis> {
        self.store().next_due(APP, LANE).await.expect("asking works")
    }
}

fn events(leased: &[(ItemKey, Item)]) -> Vec<&str> {
    leased.iter().map(|(_, item)| &*item.event).collect()
}

pub async fn items_are_leased_when_due_by_priority_then_time<B: Bed>(world: World<B>) {
    let now = world.now();
    let call = Item { priority: Priority::Call, ..world.item("call", now) };
    let bulk = Item { priority: Priority::Bulk, ..world.item("bulk", now - SECOND * 9) };
    let early = world.item("early", now - SECOND * 2);
    let late = world.item("late", now + SECOND);
    world.park(vec![late, bulk, world.item("now", now), early, call]).await;
    assert_eq!(events(&world.lease_items(LANE, 2).await), ["call", "early"]);
    assert_eq!(events(&world.lease_items(LANE, 9).await), ["now", "bulk"]);
    assert!(world.lease_items(LANE, 9).await.is_empty());
    world.pass(SECOND);
    assert_eq!(events(&world.lease_items(LANE, 9).await), ["late"]);
    assert_eq!(world.store().depth(APP, LANE), 5, "leased items count");
}

pub async fn an_item_parked_as_leased_is_not_leased_to_another<B: Bed>(world: World<B>) {
    let held = Item { leased: true, ..world.item("held", world.now()) };
    let keys = world.park(vec![held, world.item("free", world.now())]).await;
    assert_eq!(events(&world.lease_items(LANE, 9).await), ["free"]);
    assert_eq!(world.store().depth(APP, LANE), 2);
    world.store().release_items(&keys[..1]);
    let leased = world.lease_items(LANE, 9).await;
    assert_eq!(events(&leased), ["held"]);
    assert_eq!(leased[0].0, keys[0]);
    world.unpark(keys).await;
    assert_eq!(world.store().depth(APP, LANE), 0);
}

pub async fn an_item_given_back_or_parked_earlier_is_leased_before_later_ones<B: Bed>(
    world: World<B>,
) {
    let now = world.now();
    let at = |n: u32| now - SECOND * n;
    world.park(vec![world.item("five", at(5)), world.item("three", at(3))]).await;
    let leased = world.lease_items(LANE, 9).await;
    // Everything up to here is leased; what comes back or lies before must still be found.
    world.park(vec![world.item("four", at(4)), world.item("nine", at(9))]).await;
    world.store().release_items(&[leased[0].0.clone()]);
    assert_eq!(events(&world.lease_items(LANE, 9).await), ["nine", "five", "four"]);
    assert!(world.lease_items(LANE, 9).await.is_empty());
}

pub async fn next_due_speaks_of_unleased_items<B: Bed>(world: World<B>) {
    let now = world.now();
    assert_eq!(world.next_due().await, None);
    let bulk = Item { priority: Priority::Bulk, ..world.item("bulk", now + SECOND) };
    let held = Item { leased: true, ..world.item("held", now) };
    world.park(vec![world.item("later", now + SECOND * 2), bulk, held]).await;
    assert_eq!(world.next_due().await, Some(now + SECOND));
    world.pass(SECOND);
    let leased = world.lease_items(LANE, 9).await;
    assert_eq!(world.next_due().await, Some(now + SECOND * 2));
    world.store().release_items(&[leased[0].0.clone()]);
    assert_eq!(world.next_due().await, Some(now + SECOND));
    world.pass(SECOND);
    world.lease_items(LANE, 9).await;
    assert_eq!(world.next_due().await, None, "everything is leased");
}

pub async fn lanes_do_not_see_each_others_items<B: Bed>(world: World<B>) {
    let now = world.now();
    let longer = Item { lane: "apns2".into(), ..world.item("longer", now) };
    let other = Item { app: app("demo2"), ..world.item("other", now) };
    world.park(vec![world.item("mine", now), longer, other]).await;
    assert_eq!(events(&world.lease_items(LANE, 9).await), ["mine"]);
    assert_eq!(events(&world.lease_items("apns2", 9).await), ["longer"]);
    assert_eq!(world.store().depth(APP, LANE), 1);
    assert_eq!(world.store().depth("demo2", LANE), 1);
    assert_eq!(world.store().depth("nobody", LANE), 0);
}

pub async fn items_are_due_again_after_a_reopen_as_they_were<B: Bed>(mut world: World<B>) {
    let now = world.now();
    let later = Item { leased: true, ..world.item("b", now + SECOND) };
    let wanted = [world.item("a", now), later];
    let keys = world.park(wanted.to_vec()).await;
    world.lease_items(LANE, 9).await;
    world.reopen().await;
    assert_eq!(world.store().depth(APP, LANE), 2);
    assert_eq!(world.next_due().await, Some(now));
    world.pass(SECOND);
    let leased = world.lease_items(LANE, 9).await;
    for ((key, item), (was, wanted)) in leased.iter().zip(keys.iter().zip(wanted)) {
        assert_eq!(key, was);
        // Who held it is gone with the process.
        assert_eq!(*item, Item { leased: false, ..wanted });
    }
    assert_eq!(leased.len(), 2);
}

pub async fn a_retry_takes_the_place_of_its_item<B: Bed>(mut world: World<B>) {
    let now = world.now();
    world.park(vec![world.item("a", now)]).await;
    for attempt in 4..8 {
        let (key, item) = world.lease_items(LANE, 1).await.remove(0);
        let again = Item { due: world.now() + SECOND, attempts: attempt, ..item };
        let retry = Changes { unpark: vec![key], park: vec![again], ..Changes::default() };
        world.commit(retry).await;
        assert_eq!(world.store().depth(APP, LANE), 1);
        assert!(world.lease_items(LANE, 9).await.is_empty(), "not due yet");
        world.pass(SECOND);
    }
    world.reopen().await;
    let leased = world.lease_items(LANE, 9).await;
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].1.attempts, 7);
}

pub async fn a_long_lane_is_leased_whole<B: Bed>(world: World<B>) {
    let now = world.now();
    for n in 0..10u32 {
        let item = |m: u32| world.item(&format!("{n}-{m}"), now - SECOND * (m % 7));
        world.park((0..100).map(item).collect()).await;
    }
    let mut seen = std::collections::HashSet::new();
    let mut last = Millis(0);
    loop {
        let leased = world.lease_items(LANE, 64).await;
        if leased.is_empty() {
            break;
        }
        for (key, item) in leased {
            assert!(key.due >= last, "by time");
            last = key.due;
            assert!(seen.insert(item.event.clone()), "{} was leased twice", item.event);
        }
    }
    assert_eq!(seen.len(), 1000);
}
