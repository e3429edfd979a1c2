//! Devices, wishes and looks.

use futures_util::future::join_all;
use posthorn_vendors::Token;

use super::{APP, Bed, HOUR, World, app};
use crate::model::{Device, Preferences, Preview, Profile, QuietHours};
use crate::store::{Changes, Owner, Ownership, Prune, Registered, Registration, User};

pub(super) const LANE: &str = "apns";

impl<B: Bed> World<B> {
    pub(super) fn device(&self, id: &str, token: &str) -> Device {
        Device {
            id: id.into(),
            lane: LANE.into(),
            token: Token::new(token),
            locale: Some("zh-Hans-CN".into()),
            time_zone: Some("Asia/Shanghai".into()),
            app_version: None,
            model: Some("Mate".into()),
            generation: 0,
            registered_at: self.now(),
        }
    }

    pub(super) async fn register(&self, user: &str, device: Device) -> Registered {
        self.register_as(user, device, false).await
    }

    pub(super) async fn register_as(
        &self,
        user: &str,
        device: Device,
        must_prove: bool,
    ) -> Registered {
        let registration = Registration { app: app(APP), user: user.into(), device, must_prove };
        let register = vec![registration];
        self.commit(Changes { register, ..Changes::default() }).await.registered[0]
    }

    pub(super) async fn unregister(&self, device: &str, only: Option<&str>) -> bool {
        let unregister = vec![(app(APP), device.into(), only.map(Box::from))];
        self.commit(Changes { unregister, ..Changes::default() }).await.unregistered[0]
    }

    pub(super) async fn prune(&self, owner: Owner, since: Option<crate::model::Millis>) {
        let prune = vec![Prune { app: app(APP), owner, since }];
        self.commit(Changes { prune, ..Changes::default() }).await;
    }

    pub(super) async fn user(&self, user: &str) -> User {
        self.store().users(APP, &[user]).await.expect("reading works").remove(0)
    }

    /// The ids of the user's devices, in order of id.
    pub(super) async fn devices(&self, user: &str) -> Vec<String> {
        let mut ids: Vec<String> =
            self.user(user).await.devices.iter().map(|device| device.id.to_string()).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) async fn owner_of(&self, device: &str) -> Option<String> {
        let owner = self.store().device_owner(APP, device).await.expect("reading works");
        owner.map(|owner| owner.user.into())
    }
}

pub(super) fn generation(registered: Registered) -> u64 {
    match registered {
        Registered::Created { generation } | Registered::Refreshed { generation } => generation,
        Registered::Foreign => panic!("the registration was refused"),
    }
}

fn owner(user: &str, device: &str, generation: u64) -> Owner {
    Owner { user: user.into(), device: device.into(), generation }
}

pub async fn a_device_is_kept_as_registered<B: Bed>(mut world: World<B>) {
    let device = world.device("phone", "t");
    let generation = generation(world.register("bob", device.clone()).await);
    let wanted = Device { generation, ..device };
    world.reopen().await;
    assert_eq!(world.user("bob").await.devices, std::slice::from_ref(&wanted));
    let found = world.store().device_owner(APP, "phone").await.expect("reading works");
    assert_eq!(found.map(|found| (found.user, found.device)), Some(("bob".into(), wanted)));
    assert_eq!(world.store().device_count(), 1);
    assert_eq!(world.owner_of("phon").await, None);
    let strangers = world.store().users("other", &["bob", "bo"]).await.expect("reading works");
    assert!(strangers.iter().all(|user| user.devices.is_empty()));
}

pub async fn a_token_has_one_owner<B: Bed>(mut world: World<B>) {
    world.register("bob", world.device("phone", "t")).await;
    world.register("bob", world.device("tablet", "u")).await;
    // Another user's app got bob's token: the phone changed hands.
    world.register("eve", world.device("phone-of-eve", "t")).await;
    assert_eq!(world.devices("bob").await, ["tablet"]);
    assert_eq!(world.devices("eve").await, ["phone-of-eve"]);
    assert_eq!(world.owner_of("phone").await, None);
    // The same user under a new device id: the old one goes.
    world.register("bob", world.device("tablet-2", "u")).await;
    assert_eq!(world.devices("bob").await, ["tablet-2"]);
    // The same token in another lane is another token.
    let web = Device { lane: "other".into(), ..world.device("web", "u") };
    world.register("eve", web).await;
    assert_eq!(world.devices("bob").await, ["tablet-2"]);
    assert_eq!(world.store().device_count(), 3);
    world.reopen().await;
    assert_eq!(world.store().device_count(), 3);
}

pub async fn the_generation_grows_with_every_owner_and_token<B: Bed>(mut world: World<B>) {
    let mut last = 0;
    for (user, device, token) in [
        ("bob", "phone", "t"),
        ("bob", "phone", "t2"),
        ("eve", "phone", "t2"),
        ("bob", "phone", "t2"),
        ("bob", "tablet", "t2"),
    ] {
        let registered = world.register(user, world.device(device, token)).await;
        assert!(matches!(registered, Registered::Created { .. }), "{registered:?}");
        assert!(generation(registered) > last);
        last = generation(registered);
        world.reopen().await;
    }
    assert!(world.unregister("tablet", None).await);
    assert!(generation(world.register("bob", world.device("tablet", "t2")).await) > last);
}

pub async fn a_refresh_keeps_the_generation<B: Bed>(mut world: World<B>) {
    let first = generation(world.register("bob", world.device("phone", "t")).await);
    world.pass(HOUR);
    world.reopen().await;
    let newer = Device { app_version: Some("2".into()), ..world.device("phone", "t") };
    let registered = world.register("bob", newer.clone()).await;
    assert_eq!(registered, Registered::Refreshed { generation: first });
    assert_eq!(world.user("bob").await.devices, [Device { generation: first, ..newer }]);
    assert_eq!(world.store().device_count(), 1);
}

pub async fn a_device_id_moves_to_whoever_may<B: Bed>(world: World<B>) {
    world.register("bob", world.device("phone", "t")).await;
    world.register("eve", world.device("phone", "t2")).await;
    assert!(world.devices("bob").await.is_empty());
    assert_eq!(world.owner_of("phone").await.as_deref(), Some("eve"));
    // Bob's old token went with the device: nobody owns it.
    world.register("bob", world.device("other", "t")).await;
    assert_eq!(world.devices("eve").await, ["phone"]);
    assert_eq!(world.store().device_count(), 2);
}

pub async fn a_strangers_device_needs_its_token<B: Bed>(world: World<B>) {
    let first = generation(world.register_as("bob", world.device("phone", "t"), true).await);
    let refused = world.register_as("eve", world.device("phone", "mine"), true).await;
    assert_eq!(refused, Registered::Foreign);
    assert_eq!(world.user("bob").await.devices[0].generation, first, "nothing changed");
    assert!(world.devices("eve").await.is_empty());
    let proved = world.register_as("eve", world.device("phone", "t"), true).await;
    assert!(generation(proved) > first);
    assert_eq!(world.owner_of("phone").await.as_deref(), Some("eve"));
    // One's own device needs no proof.
    let renewed = world.register_as("eve", world.device("phone", "t2"), true).await;
    assert!(matches!(renewed, Registered::Created { .. }));
}

pub async fn a_device_is_unregistered_by_its_owner<B: Bed>(mut world: World<B>) {
    world.register("bob", world.device("phone", "t")).await;
    assert!(!world.unregister("phone", Some("eve")).await);
    assert!(!world.unregister("tablet", None).await);
    assert_eq!(world.devices("bob").await, ["phone"]);
    assert!(world.unregister("phone", Some("bob")).await);
    assert!(!world.unregister("phone", Some("bob")).await);
    world.reopen().await;
    assert!(world.devices("bob").await.is_empty());
    assert_eq!(world.owner_of("phone").await, None);
    assert_eq!(world.store().device_count(), 0);
}

pub async fn a_dead_token_is_pruned_unless_registered_again<B: Bed>(mut world: World<B>) {
    let old = generation(world.register("bob", world.device("phone", "t")).await);
    let died = world.now();
    world.pass(HOUR);
    let new = generation(world.register("bob", world.device("phone", "t2")).await);
    world.prune(owner("bob", "phone", old), None).await;
    assert_eq!(world.devices("bob").await, ["phone"], "another generation");
    world.prune(owner("bob", "phone", new), Some(died)).await;
    assert_eq!(world.devices("bob").await, ["phone"], "registered after it died");
    // Refreshed since: the vendor's word is old, though the generation is the same.
    let refreshed = generation(world.register("bob", world.device("phone", "t2")).await);
    world.prune(owner("bob", "phone", refreshed), Some(died)).await;
    world.prune(owner("eve", "phone", refreshed), None).await;
    assert_eq!(world.devices("bob").await, ["phone"]);
    world.prune(owner("bob", "phone", new), Some(world.now())).await;
    assert!(world.devices("bob").await.is_empty());
    assert_eq!(world.store().device_count(), 0);
    // The token is free, and dies without a moment named as well.
    let again = generation(world.register("eve", world.device("pad", "t2")).await);
    world.prune(owner("eve", "pad", again), None).await;
    world.reopen().await;
    assert!(world.devices("eve").await.is_empty());
}

pub async fn ownership_is_told_as_it_is_now<B: Bed>(world: World<B>) {
    let first = generation(world.register("bob", world.device("phone", "t")).await);
    let read = world.user("bob").await;
    let check = |generation| Ownership { user: "bob", device: "phone", generation };
    let owned = async |generation, as_of| {
        world.store().still_owned(APP, &[check(generation)], as_of).await.expect("asking works")[0]
    };
    assert!(owned(first, read.as_of).await);
    assert!(owned(first, 0).await, "a reading that nobody named is looked up");
    assert!(!owned(first + 1, 0).await);
    world.register("eve", world.device("phone", "t")).await;
    assert!(!owned(first, read.as_of).await, "it moved after it was read");
    let second = generation(world.register("bob", world.device("phone", "t")).await);
    assert!(!owned(first, read.as_of).await, "it came back as another generation");
    assert!(owned(second, world.user("bob").await.as_of).await);
    world.unregister("phone", None).await;
    assert!(!owned(second, read.as_of).await);
}

pub async fn preferences_and_profile_survive<B: Bed>(mut world: World<B>) {
    let preferences = Preferences {
        muted: vec!["c1".into(), "c2".into()],
        quiet_hours: Some(QuietHours {
            from_minute: 1320,
            to_minute: 420,
            time_zone: "Asia/Tokyo".into(),
        }),
        preview: Some(Preview::Hidden),
        language: Some("ja".into()),
    };
    let profile =
        Profile { nickname: Some("Bob".into()), avatar: Some("https://example.com/b.png".into()) };
    let wishes = vec![(app(APP), "bob".into(), preferences.clone())];
    let looks = vec![(app(APP), "bob".into(), profile.clone())];
    world.commit(Changes { preferences: wishes, ..Changes::default() }).await;
    world.commit(Changes { profiles: looks, ..Changes::default() }).await;
    world.register("bob", world.device("phone", "t")).await;
    world.unregister("phone", None).await;
    world.reopen().await;
    let bob = world.user("bob").await;
    assert_eq!((bob.preferences, bob.profile), (preferences, profile));
}

pub async fn registrations_of_one_user_at_once_are_all_kept<B: Bed>(mut world: World<B>) {
    let devices: Vec<(String, String)> =
        (10..60).map(|n| (format!("phone-{n}"), format!("t-{n}"))).collect();
    let all = devices.iter().map(|(id, token)| world.register("bob", world.device(id, token)));
    join_all(all).await;
    world.reopen().await;
    let ids: Vec<String> = devices.into_iter().map(|(id, _)| id).collect();
    assert_eq!(world.devices("bob").await, ids);
    assert_eq!(world.store().device_count(), 50);
}

pub async fn registrations_of_one_token_at_once_leave_one_owner<B: Bed>(mut world: World<B>) {
    let users: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let all = users.iter().map(|user| world.register(user, world.device(user, "one")));
    let registered = join_all(all).await;
    world.reopen().await;
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let known = world.store().users(APP, &names).await.expect("reading works");
    let left: Vec<&Device> = known.iter().flat_map(|user| &user.devices).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(world.store().device_count(), 1);
    let newest = registered.into_iter().map(generation).max();
    assert_eq!(Some(left[0].generation), newest, "the last registration wins");
}

pub async fn everything_about_one_user_fits_one_change<B: Bed>(world: World<B>) {
    let registration = |id: &str, token: &str| Registration {
        app: app(APP),
        user: "bob".into(),
        device: world.device(id, token),
        must_prove: false,
    };
    let profile = Profile { nickname: Some("Bob".into()), avatar: None };
    let preferences = Preferences { muted: vec!["c".into()], ..Preferences::default() };
    let changes = Changes {
        register: vec![registration("a", "1"), registration("b", "2"), registration("c", "1")],
        unregister: vec![(app(APP), "b".into(), None)],
        profiles: vec![(app(APP), "bob".into(), profile.clone())],
        preferences: vec![(app(APP), "bob".into(), preferences.clone())],
        ..Changes::default()
    };
    let found = world.commit(changes).await;
    assert_eq!((found.registered.len(), found.unregistered), (3, vec![true]));
    let bob = world.user("bob").await;
    assert_eq!((bob.profile, bob.preferences), (profile, preferences));
    assert_eq!(world.devices("bob").await, ["c"]);
    assert_eq!(world.store().device_count(), 1);
}
