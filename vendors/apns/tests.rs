//! The adapter against its simulator, over TLS and HTTP/2 on loopback.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::json;

use super::SPEC;
use crate::sandbox::{Fault, Mode, Sandbox, SandboxConfig};
use crate::{Batch, Id, Notification, Outcome, Push, Sender, Token, Vendor};

struct Scene {
    sandbox: Sandbox,
    adapter: Arc<dyn Vendor>,
    token: String,
    phone: String,
}

async fn scene() -> Scene {
    let config = SandboxConfig { vendors: vec![&SPEC], ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await.expect("a sandbox");
    let phone = sandbox.add_phone("apns", "bob").expect("apns is simulated");
    let adapter = (SPEC.build)(sandbox.lane("apns").expect("a lane")).expect("a good lane");
    Scene { sandbox, adapter, token: phone.token, phone: phone.id }
}

impl Scene {
    async fn send(&self, n: u128) -> Outcome {
        self.send_push(self.push(n), SystemTime::now()).await
    }

    async fn send_push(&self, push: Push, now: SystemTime) -> Outcome {
        let batch = Batch { pushes: vec![push], now };
        self.adapter.send(&batch).await.pop().expect("one outcome")
    }

    async fn burst(&self, numbers: std::ops::Range<u128>) -> Vec<Outcome> {
        join_all(numbers.map(|n| self.send(n))).await
    }

    fn push(&self, n: u128) -> Push {
        let sender = Sender {
            id: "alice".into(),
            nickname: "Alice".into(),
            avatar: Some("https://cdn.example.com/alice.png".into()),
        };
        let notification = Notification {
            title: "Alice".into(),
            body: format!("message {n}"),
            sender: Some(sender),
            conversation: Some("c2c:alice:bob".into()),
            event_id: format!("event-{n}"),
            badge: Some(3),
            sound: Some("default".into()),
            data: [("k".to_owned(), "v".to_owned())].into(),
            ..Notification::default()
        };
        Push {
            push_id: Id(n.to_be_bytes()),
            slot_id: Id((n + 1_000_000).to_be_bytes()),
            token: Token::new(self.token.as_str()),
            notification: Arc::new(notification),
            expires_at: SystemTime::now() + Duration::from_secs(60),
        }
    }

    fn shown(&self) -> usize {
        self.sandbox.phones().get(&self.phone).expect("the phone").screen.shown.len()
    }

    fn fault(&self, fault: Fault) {
        assert!(self.sandbox.set_fault("apns", Some(fault)));
    }
}

fn accepted(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted { .. })).count()
}

fn code(outcome: &Outcome) -> &str {
    outcome.reason().map_or("", |reason| reason.code.as_ref())
}

#[tokio::test]
async fn a_push_is_shown_with_name_picture_badge_and_the_callers_data() {
    let scene = scene().await;
    let outcome = scene.send(7).await;
    let id = Id(7u128.to_be_bytes()).uuid();
    assert_eq!(outcome, Outcome::Accepted { vendor_ref: Some(id.clone()) });
    let phone = scene.sandbox.phones().get(&scene.phone).expect("the phone");
    let shown = &phone.screen.shown[0];
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("Alice", "message 7"));
    assert_eq!(shown.image.as_deref(), Some("https://cdn.example.com/alice.png"));
    assert_eq!(shown.badge, Some(3));
    assert_eq!(shown.data["k"], "v");
    assert_eq!(shown.vendor_ref, id);
}

#[tokio::test]
async fn the_same_push_sent_twice_stands_on_the_screen_once() {
    let scene = scene().await;
    scene.send(7).await;
    scene.send(7).await;
    assert_eq!(scene.shown(), 1);
}

#[tokio::test]
async fn a_cold_burst_loses_nothing_although_one_stream_is_allowed_at_first() {
    let scene = scene().await;
    let outcomes = scene.burst(0..500).await;
    assert_eq!(accepted(&outcomes), 500);
    assert_eq!(scene.shown(), 500);
}

#[tokio::test]
async fn connections_that_go_away_in_the_middle_lose_nothing() {
    let scene = scene().await;
    scene.fault(Fault { share: 0.01, ..Fault::always(Mode::Goaway) });
    let outcomes = scene.burst(0..600).await;
    assert_eq!(accepted(&outcomes), 600);
    assert_eq!(scene.shown(), 600);
}

#[tokio::test]
async fn an_uninstalled_app_is_told_with_the_moment_it_was_gone() {
    let scene = scene().await;
    let gone = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_300_000_123);
    scene.sandbox.phones().uninstall(&scene.phone, gone);
    let outcome = scene.send(1).await;
    let Outcome::Unregistered { since, certain: true, reason } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((since, reason.code.as_ref()), (Some(gone), "Unregistered"));
}

#[tokio::test]
async fn an_expired_provider_token_is_replaced_once_and_on_fresh_connections() {
    let scene = scene().await;
    assert_eq!(accepted(&scene.burst(0..20).await), 20);
    scene.fault(Fault::always(Mode::ExpireCredentials));
    assert_eq!(accepted(&scene.burst(20..60).await), 40);
    // Expired again within 20 minutes: no third token, the clock must be wrong.
    scene.fault(Fault::always(Mode::ExpireCredentials));
    let outcome = scene.send(99).await;
    assert!(matches!(outcome, Outcome::Unauthorized { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_new_token_after_45_minutes_is_never_shown_to_a_connection_that_knows_the_old_one() {
    let scene = scene().await;
    let start = SystemTime::now();
    for minutes in [0, 30, 44] {
        let now = start - Duration::from_secs(60 * 50) + Duration::from_secs(60 * minutes);
        let outcome = scene.send_push(scene.push(minutes.into()), now).await;
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }
    let outcome = scene.send_push(scene.push(100), start).await;
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    let requests = scene.sandbox.requests("apns", 100);
    let mut tokens: Vec<_> = requests.iter().map(|seen| &seen.headers["authorization"]).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_reset_connection_is_a_retry_with_the_code_connection() {
    let scene = scene().await;
    scene.fault(Fault::always(Mode::Reset));
    assert_eq!(code(&scene.send(1).await), "connection");
    scene.fault(Fault { share: 0.9999, ..Fault::always(Mode::Reset) });
    assert_eq!(code(&scene.send(2).await), "connection");
    assert_eq!(scene.shown(), 0);
}

#[tokio::test]
async fn a_hang_ends_with_a_lost_connection_when_it_is_cleared() {
    let scene = scene().await;
    scene.fault(Fault::always(Mode::Hang));
    let (outcome, ()) = tokio::join!(scene.send(1), async {
        while scene.sandbox.requests("apns", 1).is_empty() {
            tokio::task::yield_now().await;
        }
        scene.sandbox.set_fault("apns", None);
    });
    assert_eq!(code(&outcome), "connection");
    assert_eq!(scene.shown(), 0);
    assert_eq!(accepted(&scene.burst(2..4).await), 2);
}

#[tokio::test]
async fn a_vendors_code_a_bare_status_and_too_many_requests_are_told_apart() {
    let scene = scene().await;
    scene.fault(Fault { code: Some("BadDeviceToken".into()), ..Fault::always(Mode::Code) });
    assert!(matches!(scene.send(1).await, Outcome::Unregistered { certain: false, .. }));
    scene.fault(Fault { code: Some("Shutdown".into()), ..Fault::always(Mode::Code) });
    assert_eq!(code(&scene.send(1).await), "Shutdown");
    scene.fault(Fault { status: Some(502), ..Fault::always(Mode::Status) });
    assert_eq!(code(&scene.send(1).await), "malformed_answer");
    scene.fault(Fault { retry_after_secs: Some(5), ..Fault::always(Mode::RateLimit) });
    let outcome = scene.send(1).await;
    assert!(
        matches!(outcome, Outcome::Throttled { after, .. } if after == Duration::from_secs(5)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_server_going_down_costs_one_try_on_another_connection() {
    let scene = scene().await;
    scene.fault(Fault { code: Some("Shutdown".into()), ..Fault::always(Mode::Code) });
    scene.send(1).await;
    assert_eq!(scene.sandbox.requests("apns", 10).len(), 2);
}

#[tokio::test]
async fn a_payload_that_would_be_too_long_loses_the_end_of_its_body() {
    let scene = scene().await;
    let mut push = scene.push(1);
    let notification = Arc::make_mut(&mut push.notification);
    notification.body = "\"家👨‍👩‍👧‍👦".repeat(300);
    let outcome = scene.send_push(push.clone(), SystemTime::now()).await;
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    let phone = scene.sandbox.phones().get(&scene.phone).expect("the phone");
    assert!(phone.screen.shown[0].body.ends_with('…'));

    Arc::make_mut(&mut push.notification).data.insert("big".into(), "x".repeat(5000));
    let outcome = scene.send_push(push, SystemTime::now()).await;
    assert_eq!(code(&outcome), "PayloadTooLarge");
    assert_eq!(scene.sandbox.requests("apns", 10).len(), 1, "the second was not sent");
}

#[tokio::test]
async fn an_override_is_applied_and_an_unknown_one_is_refused_by_name() {
    let scene = scene().await;
    let mut push = scene.push(1);
    let overrides = &mut Arc::make_mut(&mut push.notification).overrides;
    overrides.insert("interruption-level".into(), json!("passive"));
    overrides.insert("priority".into(), json!(5));
    scene.send_push(push.clone(), SystemTime::now()).await;
    let seen = &scene.sandbox.requests("apns", 1)[0];
    assert_eq!(seen.headers["apns-priority"], "5");
    assert!(seen.body.contains(r#""interruption-level":"passive""#), "{}", seen.body);

    Arc::make_mut(&mut push.notification).overrides.insert("colour".into(), json!("red"));
    let outcome = scene.send_push(push, SystemTime::now()).await;
    assert_eq!(code(&outcome), "bad_override");
    assert!(outcome.reason().expect("a reason").hint.contains("colour"));
}

#[tokio::test]
async fn a_wrong_ca_is_told_by_probe_and_is_a_retry_for_pushes() {
    let scene = scene().await;
    assert!(scene.adapter.probe(SystemTime::now()).await.is_ok());
    let other = Sandbox::start(SandboxConfig { vendors: vec![], ..Default::default() }).await;
    let mut lane = scene.sandbox.lane("apns").expect("a lane");
    lane.insert("ca".into(), other.expect("a sandbox").ca_pem().into());
    let adapter = (SPEC.build)(lane).expect("a good lane");
    let why = adapter.probe(SystemTime::now()).await.expect_err("not trusted");
    assert_eq!(why.code, "connection");
    assert!(why.hint.contains("TLS with 127.0.0.1 failed"), "{why}");
}

#[test]
fn a_lane_without_or_with_two_credentials_or_with_a_bad_key_is_refused_by_key() {
    let faults = |text: &str| {
        let faults = (SPEC.build)(text.parse().expect("toml")).err().expect("faults");
        faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
    };
    assert_eq!(faults("topic = 'a.b'"), ["key"]);
    assert_eq!(faults("topic = 'a.b'\nkey = 'x'\ncertificate = 'y'"), ["certificate"]);
    assert_eq!(faults("topic = 'a.b'\nkey = 'x'"), ["team_id", "key_id"]);
    let good_ids = "topic = 'a.b'\nteam_id = 'TEAM000001'\nkey_id = 'KEY0000001'\n";
    assert_eq!(faults(&format!("{good_ids}key = 'x'")), ["key"]);
    assert_eq!(faults(&format!("{good_ids}key = 'x'\nbase_url = 'http://a'")), ["base_url", "key"]);
}

#[test]
fn a_certificate_takes_the_place_of_the_token() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    let certificate = params.self_signed(&key).expect("a certificate");
    let mut lane = toml::Table::new();
    lane.insert("topic".into(), "com.example.chat".into());
    lane.insert("certificate".into(), certificate.pem().into());
    assert_eq!((SPEC.build)(lane.clone()).err().expect("no key")[0].key, "certificate_key");
    lane.insert("certificate_key".into(), key.serialize_pem().into());
    let adapter = (SPEC.build)(lane).expect("a good lane");
    assert!(adapter.advice().iter().any(|line| line.contains("certificate")));
}
