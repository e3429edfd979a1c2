//! The adapter against its simulator, and the simulator against everything the adapter never does.

use std::sync::Arc;

use super::*;
use crate::conformance::{ask, exchange, pushes};
use crate::{Batch, Id, Notification, Outcome, Wire};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

struct World {
    host: XiaomiHost,
    phones: Phones,
    wire: Box<dyn Wire>,
}

impl World {
    fn new() -> Self {
        let host = XiaomiHost::default();
        let mut lane = host.lane("https://localhost:1");
        lane.insert("callback".to_owned(), "https://localhost:2/receipts".into());
        let wire = (SPEC.wire)(lane).expect("the sandbox's lane");
        World { host, phones: Phones::default(), wire }
    }

    fn phone(&self) -> Phone {
        self.phones.add(SPEC.id, "bob", |serial| self.host.token(serial))
    }

    fn send(&self, batch: &Batch) -> Vec<Outcome> {
        let request = self.wire.request(batch, APP_SECRET);
        exchange(self.wire.as_ref(), &self.host, &self.phones, batch, &request)
    }

    /// The code with which the simulator answers the adapter's form after `change`.
    fn refused(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> i64 {
        let batch = batch([self.phone().token]);
        let request = self.wire.request(&batch, APP_SECRET);
        let mut form = form_urlencoded::parse(request.body()).into_owned().collect();
        change(&mut form);
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.map(|_| Bytes::from(form));
        let reply = ask(&self.host, &self.phones, &request, NOW);
        let said: Value = serde_json::from_slice(&reply.body).expect("JSON");
        said["code"].as_i64().expect("a code")
    }
}

fn batch(tokens: impl IntoIterator<Item = String>) -> Batch {
    let notification = Notification {
        title: "小红🌹".to_owned(),
        body: "吃了吗".to_owned(),
        event_id: "m-1".to_owned(),
        data: [("k".to_owned(), "v".to_owned())].into(),
        ..Notification::default()
    };
    Batch { pushes: pushes(tokens, Arc::new(notification), NOW), now: NOW }
}

/// The same, with a text and a slot of its own for each.
fn mixed(tokens: impl IntoIterator<Item = String>) -> Batch {
    let mut batch = batch(tokens);
    for (at, push) in batch.pushes.iter_mut().enumerate() {
        push.slot_id = Id((at as u128 + 1).to_le_bytes());
        Arc::make_mut(&mut push.notification).body = format!("text {at}");
    }
    batch
}

#[test]
fn the_phone_shows_the_template_and_a_repeat_takes_its_place() {
    let world = World::new();
    let phone = world.phone();
    let batch = batch([phone.token.clone()]);
    world.send(&batch);
    let outcomes = world.send(&batch);
    let screen = world.phones.get(&phone.id).expect("the phone").screen;
    let shown = &screen.shown[0];
    assert_eq!((screen.shown.len(), screen.replaced.len()), (1, 1));
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("[好友消息]小红", "吃了吗"));
    assert_eq!((shown.data["k"].as_str(), shown.data["event_id"].as_str()), ("v", "m-1"));
    assert_eq!(outcomes, [Outcome::Accepted { vendor_ref: Some(shown.vendor_ref.clone()) }]);
}

#[test]
fn every_phone_of_a_mixed_batch_shows_its_own_text() {
    let world = World::new();
    let phones = [world.phone(), world.phone(), world.phone()];
    world.phones.uninstall(&phones[1].id, NOW);
    let outcomes = world.send(&mixed(phones.clone().map(|phone| phone.token)));
    let names: Vec<_> = outcomes.iter().map(Outcome::name).collect();
    assert_eq!(names, ["accepted", "unregistered", "accepted"]);
    let shown = world.phones.get(&phones[2].id).expect("the phone").screen.shown.remove(0);
    assert_eq!(shown.body, "text 2");
}

#[test]
fn pushes_of_one_text_but_two_slots_are_not_alike() {
    let world = World::new();
    let phones = [world.phone(), world.phone()];
    let mut batch = batch(phones.map(|phone| phone.token));
    batch.pushes[1].slot_id = Id([9; 16]);
    let path = |batch: &Batch| world.wire.request(batch, APP_SECRET).uri().path().to_owned();
    assert_eq!(path(&batch), MANY_CONTENTS);
    batch.pushes[1].slot_id = batch.pushes[0].slot_id;
    assert_eq!(path(&batch), ONE_CONTENT);
    batch.pushes[1].notification = Arc::new(Notification::clone(&batch.pushes[1].notification));
    assert_eq!(path(&batch), ONE_CONTENT);
    batch.pushes[1].expires_at += std::time::Duration::from_secs(1);
    assert_eq!(path(&batch), MANY_CONTENTS);
}

#[test]
fn dead_tokens_alone_are_not_certain() {
    let outcomes = World::new().send(&batch(["unknown".to_owned()]));
    assert!(matches!(outcomes[0], Outcome::Unregistered { certain: false, .. }));
}

#[test]
fn a_thousand_targets_go_in_one_request() {
    let world = World::new();
    let tokens: Vec<String> = (0..1000).map(|_| world.phone().token).collect();
    for batch in [batch(tokens.clone()), mixed(tokens)] {
        assert!(world.send(&batch).iter().all(|outcome| outcome.name() == "accepted"));
    }
}

#[test]
fn without_a_notify_id_only_one_notification_shows() {
    let world = World::new();
    let phone = world.phone();
    for text in ["one", "two"] {
        let mut batch = batch([phone.token.clone()]);
        batch.pushes[0].slot_id = Id([text.len() as u8; 16]);
        let request = world.wire.request(&batch, APP_SECRET);
        let form = form_urlencoded::parse(request.body()).into_owned();
        let form = form.filter(|(name, _)| name != "notify_id").collect::<Vec<_>>();
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        ask(&world.host, &world.phones, &request.map(|_| Bytes::from(form)), NOW);
    }
    assert_eq!(world.phones.get(&phone.id).expect("the phone").screen.shown.len(), 1);
}

#[test]
fn another_secret_is_a_matter_of_set_up() {
    let world = World::new();
    let batch = batch([world.phone().token]);
    let request = world.wire.request(&batch, "guess");
    let wire = world.wire.as_ref();
    let outcomes = exchange(wire, &world.host, &world.phones, &batch, &request);
    assert_eq!(outcomes[0].name(), "unauthorized");
}

#[test]
fn a_used_up_quota_is_told_in_the_way_of_each_call() {
    let world = World::new();
    let tokens = [world.phone().token, world.phone().token];
    for batch in [batch(tokens.clone()), mixed(tokens)] {
        let request = world.wire.request(&batch, APP_SECRET);
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let asked =
            Exchange { connection: 1, method, uri, headers, body: request.body(), now: NOW };
        let reply = world.host.too_many(true, None, &asked);
        let outcomes = world.wire.outcomes(&batch, reply.status, &reply.headers, &reply.body);
        assert!(outcomes.iter().all(|outcome| outcome.name() == "throttled"), "{outcomes:?}");
    }
}

#[test]
fn every_broken_rule_is_refused_with_its_code() {
    let world = World::new();
    let long = "x".repeat(1024);
    let too_many = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let table = [
        (10017, "registration_id", too_many.as_str()),
        (10017, "registration_id", ""),
        (66108, "restricted_package_name", "com.example.other"),
        (10017, "pass_through", "1"),
        (10017, "notify_type", "8"),
        (22103, "notify_id", "2147483648"),
        (10017, "time_to_live", "864000001"),
        (10017, "time_to_live", "soon"),
        (65011, "title", " "),
        (65009, "title", &long[..50]),
        (65009, "description", &long[..128]),
        (10017, "surprise", "1"),
        (27001, "extra.channel_id", "1"),
        (27001, "extra.template_id", "T1"),
        (10017, "extra.template_param", r#"{"name":"小红"}"#),
        (10017, "extra.template_param", r#"{"name":"🌹","content":"x"}"#),
        (10017, "extra.template_param", r#"{"name":" ","content":"x"}"#),
        (10017, "extra.notify_effect", "0"),
        (10017, "extra.notify_effect", "2"),
        (65038, "extra.callback", "localhost"),
        (65036, "extra.callback.param", &long[..257]),
        (10017, "extra.callback.type", "1270"),
        (65015, "extra.own", &long),
    ];
    for (code, name, value) in table {
        let place = |form: &mut BTreeMap<String, String>| {
            form.insert(name.to_owned(), value.to_owned());
        };
        assert_eq!(world.refused(place), code, "{name}");
    }
    let crowd = |form: &mut BTreeMap<String, String>| {
        form.extend((0..11).map(|n| (format!("extra.own{n}"), "x".to_owned())));
    };
    assert_eq!(world.refused(crowd), 65014);
    for (code, name) in [(10016, "restricted_package_name"), (27001, "extra.template_id")] {
        assert_eq!(world.refused(|form| drop(form.remove(name))), code, "{name}");
    }
    assert_eq!(world.refused(|_| ()), 0);
}

#[test]
fn receipts_carry_the_param_of_the_message() {
    let world = World::new();
    let phone = world.phone();
    let batch = batch([phone.token.clone()]);
    world.send(&batch);
    let phone = world.phones.get(&phone.id).expect("the phone");
    let shown = &phone.screen.shown[0];
    let receipt = world.host.receipt(&phone, shown, ReceiptKind::Clicked, NOW);
    let (_, form) = receipt.expect("a receipt");
    let (_, data) = form_urlencoded::parse(&form).next().expect("a field");
    let data: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(data[&shown.vendor_ref]["param"], batch.pushes[0].push_id.hex());
    assert_eq!(data[&shown.vendor_ref]["type"], 2);
}
