//! The adapter against its simulator, and the simulator against everything the adapter never does.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::conformance::{ask, exchange, pushes};
use crate::{Batch, Notification, Outcome, Push, Token, Wire};

struct World {
    host: HuaweiHost,
    phones: Phones,
    wire: Box<dyn Wire>,
    credential: String,
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

impl World {
    fn new() -> Self {
        let host = HuaweiHost::default();
        let wire = (SPEC.wire)(host.lane("https://localhost:1")).expect("the sandbox's lane");
        let credential = host.lock().new_credential(NOW);
        World { host, phones: Phones::default(), wire, credential }
    }

    fn phone(&self) -> Phone {
        self.phones.add(SPEC.id, "bob", |serial| self.host.token(serial))
    }

    fn send(&self, batch: &Batch) -> Vec<Outcome> {
        let request = self.wire.request(batch, &self.credential);
        exchange(self.wire.as_ref(), &self.host, &self.phones, batch, &request)
    }

    /// The code with which the simulator refuses the adapter's request after `change`.
    fn refused(&self, change: impl FnOnce(&mut Value)) -> String {
        let batch = batch([self.phone().token]);
        let request = self.wire.request(&batch, &self.credential);
        let mut body: Value = serde_json::from_slice(request.body()).expect("JSON");
        change(&mut body);
        let request = request.map(|_| Bytes::from(body.to_string()));
        let reply = ask(&self.host, &self.phones, &request, NOW);
        let said: Value = serde_json::from_slice(&reply.body).expect("JSON");
        said["code"].as_str().expect("a code").to_owned()
    }
}

fn batch(tokens: impl IntoIterator<Item = String>) -> Batch {
    let notification = Notification {
        title: "Alice".to_owned(),
        body: "see you at eight".to_owned(),
        badge: Some(3),
        conversation: Some("c2c:alice:bob".to_owned()),
        event_id: "m-1".to_owned(),
        data: [("k".to_owned(), "v".to_owned())].into(),
        ..Notification::default()
    };
    Batch { pushes: pushes(tokens, Arc::new(notification), NOW), now: NOW }
}

#[test]
fn a_message_stands_on_the_phone_and_a_repeat_takes_its_place() {
    let world = World::new();
    let phone = world.phone();
    let batch = batch([phone.token.clone()]);
    world.send(&batch);
    let outcomes = world.send(&batch);
    let screen = world.phones.get(&phone.id).expect("the phone").screen;
    let shown = &screen.shown[0];
    assert_eq!((screen.shown.len(), screen.replaced.len()), (1, 1));
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("Alice", "see you at eight"));
    assert_eq!((shown.badge, shown.data["k"].as_str()), (Some(3), "v"));
    assert_eq!(shown.data["conversation"], "c2c:alice:bob");
    assert_eq!(outcomes, [Outcome::Accepted { vendor_ref: Some(shown.vendor_ref.clone()) }]);
}

#[test]
fn one_dead_token_of_three_is_told_apart() {
    let world = World::new();
    let phones = [world.phone(), world.phone(), world.phone()];
    world.phones.uninstall(&phones[1].id, NOW);
    let outcomes = world.send(&batch(phones.map(|phone| phone.token)));
    let names: Vec<_> = outcomes.iter().map(Outcome::name).collect();
    assert_eq!(names, ["accepted", "unregistered", "accepted"]);
    assert!(matches!(outcomes[1], Outcome::Unregistered { certain: true, .. }));
}

#[test]
fn dead_tokens_alone_are_not_certain() {
    let outcomes = World::new().send(&batch(["unknown".to_owned()]));
    assert!(matches!(outcomes[0], Outcome::Unregistered { certain: false, .. }));
}

#[test]
fn a_repeated_token_is_sent_once_and_answered_for_each_push() {
    let world = World::new();
    let phone = world.phone();
    let outcomes = world.send(&batch([phone.token.clone(), phone.token.clone()]));
    let screen = world.phones.get(&phone.id).expect("the phone").screen;
    assert_eq!((outcomes.len(), screen.shown.len(), screen.replaced.len()), (2, 1, 0));
}

#[test]
fn a_thousand_tokens_go_in_one_request_and_no_more() {
    let world = World::new();
    let tokens: Vec<String> = (0..1000).map(|_| world.phone().token).collect();
    assert!(world.send(&batch(tokens)).iter().all(|outcome| outcome.name() == "accepted"));
    let many = |body: &mut Value| {
        body["message"]["token"] = (0..1001).map(|n| Value::from(n.to_string())).collect();
    };
    assert_eq!(world.refused(many), "80300010");
}

#[test]
fn a_long_text_is_cut_until_the_body_fits() {
    let world = World::new();
    let phone = world.phone();
    let mut batch = batch([phone.token.clone()]);
    let notification = Arc::make_mut(&mut batch.pushes[0].notification);
    notification.body = "\"全\n".repeat(2000);
    assert_eq!(world.send(&batch)[0].name(), "accepted");
    let shown = world.phones.get(&phone.id).expect("the phone").screen.shown.remove(0);
    assert!(shown.body.ends_with('…') && shown.body.len() > 500, "{}", shown.body.len());
}

#[test]
fn an_ended_credential_asks_for_a_fresh_one() {
    let world = World::new();
    let batch = batch([world.phone().token]);
    world.host.expire_credentials();
    let outcomes = world.send(&batch);
    assert!(super::super::outcome::wants_fresh_credential(&outcomes), "{outcomes:?}");
}

#[test]
fn every_broken_rule_is_refused_with_its_code() {
    let world = World::new();
    let table: [(&str, &str, Value); 20] = [
        ("80100003", "/message/android/category", "SOCIAL_COMMUNICATION".into()),
        ("80100003", "/message/android/ttl", 86400.into()),
        ("80100003", "/message/android/ttl", "1296001s".into()),
        ("80100003", "/message/android/ttl", "soon".into()),
        ("80100003", "/message/android/bi_tag", "x".repeat(65).into()),
        ("80100003", "/message/android/surprise", 1.into()),
        ("80100003", "/message/android/notification/click_action", Value::Null),
        ("80100003", "/message/android/notification/click_action/type", 1.into()),
        ("80100003", "/message/android/notification/click_action/type", 4.into()),
        ("80100003", "/message/android/notification/importance", "HIGH".into()),
        ("80100003", "/message/android/notification/notify_id", "7".into()),
        ("80100003", "/message/android/notification/image", "http://a.b/c.png".into()),
        ("80100003", "/message/android/notification/badge/set_num", 100.into()),
        ("80100003", "/message/android/notification/badge/class", Value::Null),
        ("80100003", "/message/android/notification/title", "".into()),
        ("80100013", "/message/android/collapse_key", 101.into()),
        ("80300011", "/message/android/urgency", "HIGH".into()),
        ("80300013", "/message/android/receipt_id", "nowhere".into()),
        ("80300008", "/message/data", "x".repeat(4096).into()),
        ("80300010", "/message/token", Value::Array(Vec::new())),
    ];
    for (code, pointer, value) in table {
        let place = |body: &mut Value| {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            body.pointer_mut(parent).expect("the parent")[name] = value;
        };
        assert_eq!(world.refused(place), code, "{pointer}");
    }
    assert_eq!(world.refused(|_| ()), "80000000");
}

#[test]
fn the_token_endpoint_takes_the_lanes_own_form_and_refuses_another_secret() {
    let host = HuaweiHost::default();
    let form = |secret: &str| {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", APP_ID)
            .append_pair("client_secret", secret)
            .finish();
        let request = http::Request::post(format!("https://localhost{TOKEN_PATH}"))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Bytes::from(form)).expect("a request");
        let reply = ask(&host, &Phones::default(), &request, NOW);
        super::super::oauth::read(reply.status, &reply.body, NOW)
    };
    assert!(form(APP_SECRET).is_ok());
    let refused = form("guess").expect_err("another secret");
    assert_eq!(refused.reason().expect("why").code, "oauth_12304");
}

#[test]
fn receipts_carry_the_bi_tag_and_a_signature() {
    let world = World::new();
    let phone = world.phone();
    let batch = batch([phone.token.clone()]);
    world.send(&batch);
    let phone = world.phones.get(&phone.id).expect("the phone");
    let shown = &phone.screen.shown[0];
    let receipt = world.host.receipt(&phone, shown, ReceiptKind::Delivered, NOW);
    let (headers, body) = receipt.expect("a receipt");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["statuses"][0]["biTag"], batch.pushes[0].push_id.hex());
    assert!(headers.contains_key("x-huawei-callback-id"));
    // Published vector: user and secret of the console's form, the key decoded from base64.
    let key = STANDARD.decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("base64");
    let nonce = "7f1d9a52-3f0e-4f5b-9c38-2f0a1b6c7d8e";
    let signed = callback_id(1_795_341_600_123, nonce, "relay-callback", &key);
    assert!(signed.ends_with("value=hIuNcndzJwsSdSk9tKdppg4CrIjvUZHzVKrXD78uvwk="), "{signed}");
}

#[test]
fn an_unknown_token_type_is_no_panic() {
    let push = Push { token: Token::new(""), ..batch([String::new()]).pushes.remove(0) };
    let batch = Batch { pushes: vec![push], now: NOW };
    assert_eq!(World::new().send(&batch)[0].name(), "unregistered");
}
