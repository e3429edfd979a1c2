//! Who gets in, what is refused at the door, and what never leaves.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use posthorn::model::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::support::caller::message;
use crate::support::{Caller, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_answered_as_documented() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let first = caller.post(&message("m-1", "bob", "hi")).await.expect("an answer");
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.body, json!({"id": "m-1", "status": "accepted"}));
    // The first wins, whatever the second says.
    let again = caller.post(&message("m-1", "carol", "other")).await.expect("an answer");
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body, json!({"id": "m-1", "status": "duplicate"}));
    let mut bad = message("m-3", "bob", "hi");
    bad["badge"] = json!(1_000_000);
    let batch = json!([message("m-1", "bob", "hi"), message("m-2", "bob", "hi"), bad]);
    let batch = caller.post(&batch).await.expect("an answer");
    assert_eq!(batch.status, StatusCode::OK);
    let word = |at: usize| batch.body[at]["status"].as_str().unwrap_or_default().to_owned();
    assert_eq!([word(0), word(1), word(2)], ["duplicate", "accepted", "rejected"]);
    assert_eq!(batch.body[2]["error"]["path"], "$[2].badge");
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_nothing_behind() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let mut many = vec![message("m-0", "bob", "x"); 1001];
    for (n, event) in many.iter_mut().enumerate() {
        event["id"] = json!(format!("m-{n}"));
    }
    let too_many = caller.post(&json!(many)).await.expect("an answer");
    assert_eq!((too_many.status.as_u16(), too_many.code()), (413, "too_many_events"));
    let large = message("m-1", "bob", &"x".repeat(9 << 20));
    let large = caller.post(&large).await.expect("an answer");
    assert_eq!((large.status.as_u16(), large.code()), (413, "body_too_large"));
    let untyped = json!([message("m-2", "bob", "x"), {"id": 7}]);
    let untyped = caller.post(&untyped).await.expect("an answer");
    assert_eq!(untyped.status.as_u16(), 422);
    assert_eq!(untyped.body["path"], "$[1].id");
    for id in ["m-0", "m-1", "m-2"] {
        assert_eq!(caller.trace(id).await, Value::Null, "{id} was stored");
    }
    assert_eq!(caller.metric("posthorn_events_backlog").await, 0);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_key_and_nobody_beyond_it() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let event = message("m-1", "bob", "hi");
    let cases: [(&str, Method, &str, Option<&Value>, u16); 8] = [
        ("wrong", Method::POST, "/v1/events", Some(&event), 401),
        (&caller.admin_key, Method::POST, "/v1/events", Some(&event), 403),
        ("wrong", Method::GET, "/v1/events/m-1", None, 401),
        ("wrong", Method::GET, "/metrics", None, 401),
        (&caller.server_key, Method::GET, "/metrics", None, 403),
        (&caller.server_key, Method::GET, "/v1/apps/demo/dead", None, 403),
        ("wrong", Method::PUT, "/v1/users/bob/profile", None, 401),
        (&caller.server_key, Method::GET, "/v1/nowhere", None, 404),
    ];
    for (key, method, path, body, status) in cases {
        let reply = caller.call_as(key, method.clone(), path, body).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.text);
        assert!(!reply.code().is_empty(), "a problem document: {}", reply.text);
    }
    gateway.drain().await;
}

fn signature(key: &str, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, message))
}

async fn post_signed(caller: &Caller, body: &str, timestamp: u64, key: &str) -> u16 {
    let text = format!("{timestamp}\nPOST\n/v1/events\n{body}");
    let request = caller
        .http
        .post(format!("{}/v1/events", caller.base))
        .header("x-posthorn-app", "demo")
        .header("x-posthorn-timestamp", timestamp)
        .header("x-posthorn-signature", signature(key, text.as_bytes()))
        .body(body.to_owned());
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_believed_within_five_minutes_and_only_as_it_was_signed() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let now = SystemClock.now().0 / 1000;
    let body = message("m-1", "bob", "hi").to_string();
    assert_eq!(post_signed(&caller, &body, now, &caller.server_key).await, 202);
    assert_eq!(post_signed(&caller, &body, now - 301, &caller.server_key).await, 401);
    assert_eq!(post_signed(&caller, &body, now + 301, &caller.server_key).await, 401);
    assert_eq!(post_signed(&caller, &body, now, "another key").await, 401);
    gateway.drain().await;
}

fn user_sig(user: &str, key: &str) -> String {
    use std::io::Write;
    let time = SystemClock.now().0 / 1000;
    let text = format!(
        "TLS.identifier:{user}\nTLS.sdkappid:1400000001\nTLS.time:{time}\nTLS.expire:3600\n"
    );
    let claims = json!({
        "TLS.ver": "2.0", "TLS.identifier": user, "TLS.sdkappid": 1_400_000_001u64,
        "TLS.expire": 3600, "TLS.time": time, "TLS.sig": signature(key, text.as_bytes()),
    });
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    deflated.write_all(claims.to_string().as_bytes()).expect("to memory");
    let sig = STANDARD.encode(deflated.finish().expect("to memory"));
    sig.replace('+', "*").replace('/', "-").replace('=', "_")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_registers_its_own_device_and_takes_over_another_only_with_its_token() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let key = scene.config["apps"]["demo"]["user_sig_key"].as_str().expect("literal").to_owned();
    let phone = scene.sandbox.add_phone("apns", "shared").expect("apns is simulated");
    let register = async |user: &str, token: &str, named: Option<&str>| {
        let body = json!({"user_id": named, "lane": "apns", "token": token});
        let request = caller
            .http
            .put(format!("{}/v1/devices/tablet", caller.base))
            .header("authorization", format!("UserSig {}", user_sig(user, &key)))
            .json(&body);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(register("bob", &phone.token, None).await, 201);
    assert_eq!(register("bob", &phone.token, None).await, 200);
    assert_eq!(register("bob", &phone.token, Some("carol")).await, 403);
    let other = scene.sandbox.add_phone("apns", "other").expect("apns is simulated");
    assert_eq!(register("mallory", &other.token, None).await, 409);
    assert_eq!(register("carol", &phone.token, None).await, 201);
    let devices = caller.call(Method::GET, "/v1/users/bob/devices", None).await.expect("an answer");
    assert_eq!(devices.body["devices"], json!([]));
    // A UserSig opens no other door.
    let reply = caller
        .http
        .post(format!("{}/v1/events", caller.base))
        .header("authorization", format!("UserSig {}", user_sig("bob", &key)))
        .json(&message("m-1", "carol", "hi"));
    assert_eq!(reply.send().await.expect("an answer").status().as_u16(), 403);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_sends_too_fast_is_told_when_to_come_back() {
    let scene = Scene::with(|config| {
        let demo = config["apps"]["demo"].as_table_mut().expect("a table");
        demo.insert("rate_per_sec".into(), 1.into());
    })
    .await;
    let (gateway, caller) = scene.gateway().await;
    let mut refused = None;
    for n in 0..20 {
        let request = caller
            .http
            .post(format!("{}/v1/events", caller.base))
            .bearer_auth(&caller.server_key)
            .json(&message(&format!("m-{n}"), "bob", "hi"));
        let response = request.send().await.expect("an answer");
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("one of twenty in a row is too fast");
    assert!(refused.headers().contains_key("retry-after"));
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_secret_title_or_text_is_in_log_metrics_or_traces() {
    let scene = Scene::start().await;
    let (mut process, caller) = scene.spawn().await;
    let phones = scene.phones(&caller, "bob").await;
    let devices = caller.call(Method::GET, "/v1/users/bob/devices", None).await.expect("an answer");
    let now = SystemClock.now().into();
    assert!(scene.sandbox.phones().uninstall(&phones[0].id, now));
    let mut event = message("m-1", "bob", "the-secret-text");
    event["from"]["nickname"] = json!("the-secret-name");
    event["push"] = json!({"data": {"k": "the-secret-data"}});
    caller.accept(&event).await;
    caller.trace_becomes("m-1", "sent").await;
    caller
        .post(&json!({"id": "m-2", "to": ["the-secret-text"], "badge": "the-secret-text"}))
        .await
        .expect("an answer");
    let trace = caller.trace("m-1").await.to_string();
    let metrics = caller.call_as(&caller.admin_key, Method::GET, "/metrics", None).await;
    let metrics = metrics.expect("an answer").text;
    process.term().await;
    let log = process.log();
    let mut secrets: Vec<String> = phones.iter().map(|phone| phone.token.clone()).collect();
    secrets.extend([caller.server_key.clone(), caller.admin_key.clone()]);
    secrets.extend(["the-secret-text", "the-secret-name", "the-secret-data"].map(String::from));
    for lane in scene.config["apps"]["demo"]["lanes"].as_table().expect("lanes").values() {
        for key in ["key", "app_secret", "receipt_key"] {
            secrets.extend(lane.get(key).and_then(|value| value.as_str()).map(String::from));
        }
    }
    assert!(secrets.len() > 10);
    for secret in secrets {
        for (place, text) in
            [("log", &log), ("trace", &trace), ("metrics", &metrics), ("devices", &devices.text)]
        {
            assert!(!text.contains(&secret), "{secret:?} is in the {place}:\n{text}");
        }
    }
}
