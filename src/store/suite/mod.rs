//! What every backend must do, written once.
//!
//! A backend's tests give a [`Bed`] and call `store_suite!`, which makes one test of each behaviour.
//! Deliberately absent: how a backend does it. Nothing here knows of files, servers or days, only of
//! the role traits and a clock.

mod dead;
mod dice;
mod items;
mod model;
mod news;
mod queue;
mod registry;
mod traces;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthorn_vendors::{Class, Id, Notification, Sender, Token};

pub use self::dead::*;
pub use self::dice::Dice;
pub use self::items::*;
pub use self::model::*;
pub use self::news::*;
pub use self::queue::*;
pub use self::registry::*;
pub use self::traces::*;
use super::{Changes, Committed, Store};
use crate::model::clock::ManualClock;
use crate::model::{
    AppId, Clock, DirectTarget, Event, Kind, Message, MessageType, Millis, PushOptions,
    event::RETENTION,
};

/// Noon of a day, so that a test decides itself when the day changes.
const NOON: Millis = Millis(20_000 * 86_400_000 + 43_200_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const APP: &str = "demo";

/// Where a backend under test keeps its data: empty at first, gone when dropped.
pub trait Bed {
    /// Opens the store with everything that was committed before. The one opened before is dropped.
    /// Answers once it takes commits.
    fn open(&self, clock: Arc<dyn Clock>) -> impl Future<Output = Arc<dyn Store>>;

    /// Seeds what is random; printed by whoever chooses it.
    fn seed(&self) -> u64;
}

/// A store on its bed.
pub struct World<B> {
    bed: B,
    clock: Arc<ManualClock>,
    store: Option<Arc<dyn Store>>,
}

impl<B: Bed> World<B> {
    pub async fn new(bed: B) -> World<B> {
        let mut world = World { bed, clock: Arc::new(ManualClock::at(NOON)), store: None };
        world.reopen().await;
        world
    }

    /// Closes the store and opens it again.
    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.bed.open(self.clock.clone()).await);
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().expect("a world has its store open")
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn commit(&self, changes: Changes) -> Committed {
        let changes = Changes { durable: true, ..changes };
        self.store().commit(Arc::new(changes)).await.expect("the store takes it")
    }

    async fn append(&self, events: Vec<Event>) -> Vec<super::Appended> {
        let append = events.into_iter().map(Arc::new).collect();
        self.commit(Changes { append, ..Changes::default() }).await.appended
    }

    /// A chat message to bob, received now.
    fn message(&self, id: &str) -> Event {
        self.event(id, Kind::Message(text("hi")))
    }

    fn event(&self, id: &str, kind: Kind) -> Event {
        Event {
            app: APP.into(),
            id: id.into(),
            kind,
            class: Class::Im,
            to: vec!["bob".into()],
            targets: Vec::new(),
            from: None,
            conversation: None,
            sent_at: self.now(),
            received_at: self.now(),
            deadline: self.now() + RETENTION,
            badge: None,
            push: PushOptions::default(),
            bursts: Vec::new(),
        }
    }

    /// An event that uses every field there is.
    fn rich_event(&self, id: &str) -> Event {
        let field = serde_json::Map::from_iter([("channel_id".to_owned(), "7".into())]);
        Event {
            to: vec!["bob".into(), "carol".into()],
            targets: vec![DirectTarget { lane: "apns".into(), token: Token::new("direct") }],
            from: Some(Sender {
                id: "alice".into(),
                nickname: "Ali\u{301}ce 👩‍👩‍👧".into(),
                avatar: Some("https://example.com/a.png".into()),
            }),
            conversation: Some("c2c:alice:bob".into()),
            deadline: self.now() + HOUR,
            badge: Some(0),
            push: PushOptions {
                title: Some("t".into()),
                body: Some("".into()),
                sound: Some("".into()),
                preview: Some(crate::model::Preview::Name),
                data: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                vendor: BTreeMap::from([("xiaomi".to_owned(), field)]),
            },
            bursts: vec![(1, crate::model::Burst { slot: Id([9; 16]), count: 3 })],
            ..self.event(
                id,
                Kind::Message(Message { kind: MessageType::Image, text: Some("pic".into()) }),
            )
        }
    }
}

fn text(text: &str) -> Message {
    Message { kind: MessageType::Text, text: Some(text.into()) }
}

fn notification(event: &str) -> Arc<Notification> {
    Arc::new(Notification {
        title: "Alice".into(),
        body: "hi".into(),
        sender: Some(Sender { id: "alice".into(), nickname: "Alice".into(), avatar: None }),
        class: Class::Im,
        conversation: Some("c".into()),
        event_id: event.into(),
        badge: Some(2),
        sound: Some("default".into()),
        data: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        overrides: serde_json::Map::from_iter([("x".to_owned(), 1.into())]),
    })
}

fn app(name: &str) -> AppId {
    name.into()
}

/// Makes one test of each behaviour on what `$bed` (a function without arguments) makes.
#[macro_export]
macro_rules! store_suite {
    ($bed:path) => {
        $crate::store_suite! { $bed:
            an_event_id_is_taken_once_for_seven_days
            an_id_that_comes_twice_at_once_is_taken_once
            the_same_id_of_two_apps_is_two_events
            calls_are_leased_before_chat_before_bulk
            apps_take_turns_and_busy_ones_are_passed_over
            one_apps_events_are_leased_in_the_order_they_came
            an_event_is_leased_once_until_it_is_given_back
            an_acked_event_is_gone
            unacked_events_are_due_again_after_a_reopen
            an_event_comes_back_from_the_store_as_it_was
            a_long_queue_is_leased_whole_and_in_order
            a_waiter_hears_of_an_append_and_of_a_release
            sequences_are_never_used_again_after_a_reopen
            changes_of_many_callers_are_all_kept
            items_are_leased_when_due_by_priority_then_time
            an_item_parked_as_leased_is_not_leased_to_another
            an_item_given_back_or_parked_earlier_is_leased_before_later_ones
            next_due_speaks_of_unleased_items
            lanes_do_not_see_each_others_items
            items_are_due_again_after_a_reopen_as_they_were
            a_retry_takes_the_place_of_its_item
            a_long_lane_is_leased_whole
            a_device_is_kept_as_registered
            a_token_has_one_owner
            the_generation_grows_with_every_owner_and_token
            a_refresh_keeps_the_generation
            a_device_id_moves_to_whoever_may
            a_strangers_device_needs_its_token
            a_device_is_unregistered_by_its_owner
            a_dead_token_is_pruned_unless_registered_again
            ownership_is_told_as_it_is_now
            preferences_and_profile_survive
            registrations_of_one_user_at_once_are_all_kept
            registrations_of_one_token_at_once_leave_one_owner
            everything_about_one_user_fits_one_change
            registry_agrees_with_a_simple_model
            traces_are_joined_and_later_news_replaces
            an_accepted_event_has_an_open_trace
            events_of_a_user_are_told_newest_first
            a_trace_is_found_on_the_day_of_its_event
            days_beyond_the_retention_are_forgotten
            a_recall_overtakes_its_message_even_when_it_comes_first
            a_recall_stands_whatever_is_edited_later
            an_edit_overtakes_the_message_and_earlier_edits
            a_calls_end_overtakes_the_call
            read_marks_move_only_forward
            read_marks_are_of_one_user_and_conversation
            a_later_message_of_a_burst_supersedes_earlier_ones
            news_survive_a_reopen_and_the_day_change
            dead_letters_are_listed_newest_first_until_exhumed
        }
    };
    ($bed:path: $($behaviour:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                let world = $crate::store::suite::World::new($bed()).await;
                $crate::store::suite::$behaviour(world).await;
            }
        )+
    };
}
