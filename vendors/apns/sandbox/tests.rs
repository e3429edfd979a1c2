//! Every rule of the simulator, broken once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::super::SPEC;
use super::{ApnsSimulator, TOPIC, tokens};
use crate::sandbox::{After, Exchange, Phones, Reply, Simulator};
use crate::{Batch, Id, Notification, Push, Token};

/// One way to make a good request a bad one.
type Spoil = Box<dyn FnOnce(&mut Request<Bytes>)>;

struct Bench {
    simulator: ApnsSimulator,
    phones: Phones,
    token: String,
    now: SystemTime,
    connections: std::cell::Cell<u64>,
}

impl Bench {
    fn new() -> Self {
        let simulator = ApnsSimulator::new();
        let phones = Phones::default();
        let token = phones.add("apns", "bob", |serial| simulator.token(serial)).token;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        Bench { simulator, phones, token, now, connections: 100.into() }
    }

    fn jwt(&self, age_secs: u64) -> String {
        self.sign(tokens::KEY_ID, tokens::TEAM, age_secs)
    }

    fn sign(&self, kid: &str, iss: &str, age_secs: u64) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        let key = EncodingKey::from_ec_pem(self.simulator.tokens.private_pem().as_bytes());
        let iat = self.now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = json!({ "iss": iss, "iat": iat - age_secs });
        jsonwebtoken::encode(&header, &claims, &key.expect("a key")).expect("a token")
    }

    /// A request as the adapter makes it.
    fn good(&self) -> Request<Bytes> {
        let wire = (SPEC.wire)(self.simulator.lane("https://127.0.0.1:1")).expect("a good lane");
        let push = Push {
            push_id: Id([1; 16]),
            slot_id: Id([2; 16]),
            token: Token::new(self.token.as_str()),
            notification: Arc::new(Notification { title: "hi".into(), ..Default::default() }),
            expires_at: self.now + Duration::from_secs(60),
        };
        wire.request(&Batch { pushes: vec![push], now: self.now }, &self.jwt(0))
    }

    fn ask(&self, connection: u64, request: &Request<Bytes>, now: SystemTime) -> Reply {
        let exchange = Exchange {
            connection,
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            body: request.body(),
            now,
        };
        self.simulator.answer(&exchange, &self.phones)
    }

    fn reason(&self, request: &Request<Bytes>) -> String {
        // A connection of its own, so that no rule "per connection" is in the way.
        self.connections.set(self.connections.get() + 1);
        reason(&self.ask(self.connections.get(), request, self.now))
    }

    /// What a good request is answered after `spoil` had its way with it.
    fn spoilt(&self, spoil: impl FnOnce(&mut Request<Bytes>)) -> String {
        let mut request = self.good();
        spoil(&mut request);
        self.reason(&request)
    }
}

fn reason(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    format!("{} {}", reply.status.as_u16(), body["reason"].as_str().unwrap_or("ok"))
}

fn set(name: &'static str, value: &str) -> impl FnOnce(&mut Request<Bytes>) + use<> {
    let value = HeaderValue::from_str(value).expect("a header");
    move |request| {
        request.headers_mut().insert(name, value);
    }
}

fn without(name: &'static str) -> impl FnOnce(&mut Request<Bytes>) {
    move |request| {
        request.headers_mut().remove(name);
    }
}

fn path(path: &str) -> impl FnOnce(&mut Request<Bytes>) + use<> {
    let uri = format!("https://127.0.0.1{path}").parse().expect("a uri");
    move |request| *request.uri_mut() = uri
}

fn body(body: Value) -> impl FnOnce(&mut Request<Bytes>) {
    move |request| *request.body_mut() = Bytes::from(body.to_string())
}

#[test]
fn the_adapters_own_request_is_taken_and_raises_the_streams_once() {
    let bench = Bench::new();
    let request = bench.good();
    let first = bench.ask(1, &request, bench.now);
    assert_eq!(reason(&first), "200 ok");
    assert_eq!(first.after, After::AllowStreams(1000));
    assert_eq!(first.headers["apns-id"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(bench.ask(1, &request, bench.now).after, After::Keep);
}

#[test]
fn every_header_is_looked_at() {
    let bench = Bench::new();
    let long = "x".repeat(65);
    let cases: Vec<(Spoil, &str)> = vec![
        (Box::new(without("apns-topic")), "400 MissingTopic"),
        (Box::new(set("apns-topic", "com.example.other")), "400 TopicDisallowed"),
        (Box::new(without("apns-push-type")), "400 InvalidPushType"),
        (Box::new(set("apns-push-type", "shout")), "400 InvalidPushType"),
        (Box::new(set("apns-priority", "7")), "400 BadPriority"),
        (Box::new(set("apns-expiration", "soon")), "400 BadExpirationDate"),
        (Box::new(set("apns-expiration", "1795341600000")), "400 BadExpirationDate"),
        (Box::new(set("apns-collapse-id", &long)), "400 BadCollapseId"),
        (Box::new(set("apns-id", "01010101010101010101010101010101")), "400 BadMessageId"),
        (Box::new(set("apns-id", "6F1D3A52-8B77-4C0E-9A41-2D5E0C9B7F10")), "400 BadMessageId"),
        (
            Box::new(|request| {
                request.headers_mut().append("apns-topic", HeaderValue::from_static(TOPIC));
            }),
            "400 DuplicateHeaders",
        ),
        (Box::new(|request| *request.method_mut() = Method::GET), "405 MethodNotAllowed"),
        (Box::new(path("/3/devices/aa")), "404 BadPath"),
        (Box::new(path("/3/device/")), "400 MissingDeviceToken"),
        (Box::new(path("/3/device/xyz")), "400 BadDeviceToken"),
        (Box::new(path("/3/device/aabbcc")), "400 BadDeviceToken"),
    ];
    for (spoil, answer) in cases {
        assert_eq!(bench.spoilt(spoil), answer);
    }
}

#[test]
fn the_payload_must_be_json_short_and_go_with_its_push_type() {
    let bench = Bench::new();
    let alert = |aps: Value| body(json!({ "aps": aps }));
    let long = "x".repeat(4096);
    assert_eq!(bench.spoilt(|r| *r.body_mut() = Bytes::new()), "400 PayloadEmpty");
    assert_eq!(bench.spoilt(|r| *r.body_mut() = Bytes::from("{")), "400 PayloadEmpty");
    assert_eq!(bench.spoilt(alert(json!({ "alert": long }))), "413 PayloadTooLarge");
    assert_eq!(bench.spoilt(alert(json!({ "badge": 1 }))), "400 InvalidPushType");
    assert_eq!(bench.spoilt(alert(json!({ "alert": "a", "badge": "1" }))), "400 InvalidPushType");
    assert_eq!(
        bench.spoilt(alert(json!({ "alert": "a", "mutable-content": true }))),
        "400 InvalidPushType"
    );
    assert_eq!(
        bench.spoilt(alert(json!({ "alert": "a", "interruption-level": "loud" }))),
        "400 InvalidPushType"
    );
    assert_eq!(bench.spoilt(set("apns-push-type", "background")), "400 BadPriority");
    let quiet = |request: &mut Request<Bytes>| {
        set("apns-push-type", "background")(request);
        set("apns-priority", "5")(request);
    };
    assert_eq!(bench.spoilt(quiet), "400 InvalidPushType");
}

#[test]
fn a_provider_token_must_be_strict_jose_of_the_right_key_and_young() {
    let bench = Bench::new();
    let with = |token: &str| bench.spoilt(set("authorization", &format!("bearer {token}")));
    assert_eq!(bench.spoilt(without("authorization")), "403 MissingProviderToken");
    assert_eq!(bench.spoilt(set("authorization", &bench.jwt(0))), "403 MissingProviderToken");
    assert_eq!(with("a.b.c"), "403 InvalidProviderToken");
    assert_eq!(with(&bench.sign("OTHERKEY01", tokens::TEAM, 0)), "403 InvalidProviderToken");
    assert_eq!(with(&bench.sign(tokens::KEY_ID, "OTHERTEAM1", 0)), "403 InvalidProviderToken");
    assert_eq!(with(&bench.jwt(3700)), "403 ExpiredProviderToken");

    let good = bench.jwt(0);
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let padded = BASE64_URL_SAFE
        .encode(base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url"));
    assert_eq!(with(&format!("{signed}.{padded}")), "403 InvalidProviderToken");
    let foreign = ApnsSimulator::new();
    let stranger = Bench { simulator: foreign, phones: Phones::default(), ..Bench::new() };
    assert_eq!(with(&stranger.jwt(0)), "403 InvalidProviderToken");
}

#[test]
fn a_second_token_on_one_connection_within_20_minutes_is_too_many() {
    let bench = Bench::new();
    let mut request = bench.good();
    assert_eq!(reason(&bench.ask(1, &request, bench.now)), "200 ok");
    set("authorization", &format!("bearer {}", bench.jwt(1)))(&mut request);
    let soon = bench.now + Duration::from_secs(19 * 60);
    let late = bench.now + Duration::from_secs(20 * 60);
    assert_eq!(reason(&bench.ask(1, &request, soon)), "429 TooManyProviderTokenUpdates");
    assert_eq!(reason(&bench.ask(2, &request, soon)), "200 ok");
    assert_eq!(reason(&bench.ask(1, &request, late)), "200 ok");
}

#[test]
fn only_a_mutable_notification_shows_the_senders_picture() {
    let bench = Bench::new();
    let from = json!({ "from": { "avatar": "https://cdn.example.com/a.png" } });
    let plain = json!({ "aps": { "alert": "a" }, "posthorn": from });
    let mutable = json!({ "aps": { "alert": "a", "mutable-content": 1 }, "posthorn": from });
    assert_eq!(bench.spoilt(body(plain)), "200 ok");
    assert_eq!(bench.spoilt(body(mutable)), "200 ok");
    let phone = bench.phones.get("phone-1").expect("the phone");
    assert_eq!(phone.screen.replaced[0].image, None);
    assert_eq!(phone.screen.shown[0].image.as_deref(), Some("https://cdn.example.com/a.png"));
}

#[test]
fn a_fault_by_code_carries_the_documented_status() {
    let bench = Bench::new();
    let request = bench.good();
    let exchange = Exchange {
        connection: 1,
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        body: request.body(),
        now: bench.now,
    };
    for (code, answer) in [
        ("BadDeviceToken", "400 BadDeviceToken"),
        ("ExpiredProviderToken", "403 ExpiredProviderToken"),
        ("Unregistered", "410 Unregistered"),
        ("Shutdown", "503 Shutdown"),
        ("SomethingNew", "400 SomethingNew"),
    ] {
        assert_eq!(reason(&bench.simulator.refusal(code, &exchange)), answer);
    }
}
