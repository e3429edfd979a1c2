//! What people do to each other, and what their phones show of it.

use http::{Method, StatusCode};
use posthorn::model::{Clock as _, SystemClock};
use posthorn_vendors::sandbox::{Fault, Mode};
use serde_json::{Value, json};

use crate::support::caller::message;
use crate::support::{Scene, eventually};

/// A message of the one conversation these stories are about.
fn said(id: &str, text: &str) -> Value {
    let mut event = message(id, "bob", text);
    event["conversation"] = json!("c2c:alice:bob");
    event
}

fn reasons(trace: &Value) -> Vec<&str> {
    let pushes = trace["pushes"].as_array().expect("a trace has pushes");
    pushes.iter().filter_map(|push| push["reason"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_quick_succession_count_up_in_one_notification() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;
    for (id, text) in [("m-1", "one"), ("m-2", "two"), ("m-3", "three")] {
        caller.accept(&said(id, text)).await;
        // The same message again is no further message.
        caller.accept(&said(id, text)).await;
        caller.trace_becomes(id, "sent").await;
    }
    for phone in &phones {
        let what = format!("{} counts three", phone.id);
        eventually(&what, async || (scene.shown(phone) == ["(3 messages) three"]).then_some(()))
            .await;
    }
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_burst_window_messages_stand_side_by_side() {
    let scene = Scene::with(|config| {
        let window = toml::toml! { window_ms = 0 };
        config["apps"]["demo"]
            .as_table_mut()
            .expect("a table")
            .insert("burst".into(), window.into());
    })
    .await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "apns", "bob").await;
    for (id, text) in [("m-1", "one"), ("m-2", "two")] {
        caller.accept(&said(id, text)).await;
        caller.trace_becomes(id, "sent").await;
    }
    assert_eq!(scene.shows(&phone, 2).await, ["one", "two"]);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_takes_the_place_of_what_is_shown() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;
    caller.accept(&said("m-1", "regrettable")).await;
    caller.trace_becomes("m-1", "sent").await;

    let recall = json!({"id": "r-1", "kind": "recall", "ref": "m-1", "to": ["bob"],
                        "from": {"user_id": "alice", "nickname": "Alice"}});
    caller.accept(&recall).await;
    caller.trace_becomes("r-1", "sent").await;

    for phone in &phones {
        assert_eq!(scene.shown(phone), ["Recalled a message"], "{}", phone.id);
    }
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_event_cancels_what_is_not_sent_yet() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "apns", "bob").await;
    assert!(scene.sandbox.set_fault("apns", Some(Fault::always(Mode::RateLimit))));
    caller.accept(&said("m-1", "too early")).await;
    eventually("the push is parked", async || {
        let trace = caller.trace("m-1").await;
        (trace["pushes"][0]["reason"] == "retry").then_some(())
    })
    .await;

    let reply = caller.call(Method::DELETE, "/v1/events/m-1", None).await.expect("an answer");
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert!(scene.sandbox.set_fault("apns", None));

    let trace = caller.trace_becomes("m-1", "suppressed").await;
    assert_eq!(reasons(&trace), ["recalled"]);
    assert!(scene.shown(&phone).is_empty());
    let unknown = caller.call(Method::DELETE, "/v1/events/nobody", None).await.expect("an answer");
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_that_overtakes_its_message_stops_it() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "huawei", "bob").await;
    caller.accept(&json!({"id": "r-1", "kind": "recall", "ref": "m-1", "to": ["bob"]})).await;
    caller.trace_becomes("r-1", "suppressed").await;
    caller.accept(&said("m-1", "late")).await;
    let trace = caller.trace_becomes("m-1", "suppressed").await;
    assert_eq!(reasons(&trace), ["recalled"]);
    assert!(scene.shown(&phone).is_empty());
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_replaces_the_shown_text() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;
    caller.accept(&said("m-1", "at eigth")).await;
    caller.trace_becomes("m-1", "sent").await;
    let mut edit = said("e-1", "at eight");
    edit["kind"] = json!("edit");
    edit["ref"] = json!("m-1");
    caller.accept(&edit).await;
    caller.trace_becomes("e-1", "sent").await;
    for phone in &phones {
        assert_eq!(scene.shown(phone), ["at eight"], "{}", phone.id);
    }
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_becomes_a_missed_call() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;
    let from = json!({"user_id": "alice", "nickname": "Alice"});
    caller.accept(&json!({"id": "c-1", "kind": "call", "to": ["bob"], "from": from})).await;
    caller.trace_becomes("c-1", "sent").await;
    for phone in &phones {
        assert_eq!(scene.shown(phone), ["Incoming call"], "{}", phone.id);
    }
    let end = json!({"id": "c-2", "kind": "call_end", "ref": "c-1", "to": ["bob"], "from": from});
    caller.accept(&end).await;
    caller.trace_becomes("c-2", "sent").await;
    for phone in &phones {
        assert_eq!(scene.shown(phone), ["Missed call"], "{}", phone.id);
    }
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_elsewhere_does_not_ring_any_more() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "xiaomi", "bob").await;
    let mut read = json!({"id": "r-1", "kind": "read", "to": ["bob"],
                          "conversation": "c2c:alice:bob", "up_to": 1_795_400_000_000u64});
    caller.accept(&read).await;
    let mut old = said("m-1", "old");
    old["sent_at"] = json!(1_795_400_000_000u64);
    caller.accept(&old).await;
    assert_eq!(reasons(&caller.trace_becomes("m-1", "suppressed").await), ["read"]);
    // A read mark moves only forward.
    read["id"] = json!("r-2");
    read["up_to"] = json!(1_795_300_000_000u64);
    caller.accept(&read).await;
    old["id"] = json!("m-2");
    caller.accept(&old).await;
    assert_eq!(reasons(&caller.trace_becomes("m-2", "suppressed").await), ["read"]);
    let mut new = said("m-3", "new");
    new["sent_at"] = json!(1_795_400_000_001u64);
    caller.accept(&new).await;
    assert_eq!(scene.shows(&phone, 1).await.len(), 1);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_rung_as_the_user_wishes() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "apns", "bob").await;
    let wish = async |wishes: Value| {
        let path = "/v1/users/bob/preferences";
        let reply = caller.call(Method::PUT, path, Some(&wishes)).await.expect("an answer");
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text);
    };

    wish(json!({"muted_conversations": ["c2c:alice:bob"]})).await;
    caller.accept(&said("m-1", "muted")).await;
    assert_eq!(reasons(&caller.trace_becomes("m-1", "suppressed").await), ["muted"]);

    // From an hour ago to an hour ahead, whatever the time is.
    let minute = SystemClock.now().0 / 60_000 % 1440;
    let time = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    let now = json!({"from": time(minute + 1380), "to": time(minute + 60), "time_zone": "UTC"});
    wish(json!({"quiet_hours": now})).await;
    caller.accept(&said("m-2", "quiet")).await;
    assert_eq!(reasons(&caller.trace_becomes("m-2", "suppressed").await), ["quiet_hours"]);

    wish(json!({"preview": "hidden", "language": "ja"})).await;
    caller.accept(&message("m-3", "bob", "the secret")).await;
    caller.trace_becomes("m-3", "sent").await;
    let shown = scene.look(&phone).screen.shown.clone();
    let last = shown.last().expect("something is shown");
    assert_eq!(last.title, "新着メッセージ");
    assert!(!last.body.contains("secret") && last.image.is_none());
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_profile_names_the_sender_and_shows_the_avatar() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let apns = scene.phone(&caller, "apns", "bob").await;
    let huawei = scene.phone(&caller, "huawei", "bob").await;
    let looks = json!({"nickname": "爱丽丝", "avatar": "https://x.example/a.png"});
    caller.call(Method::PUT, "/v1/users/alice/profile", Some(&looks)).await.expect("an answer");
    let mut event = said("m-1", "hi");
    event["from"] = json!({"user_id": "alice"});
    caller.accept(&event).await;
    caller.trace_becomes("m-1", "sent").await;
    for phone in [apns, huawei] {
        let shown = scene.look(&phone).screen.shown[0].clone();
        assert_eq!(shown.title, "爱丽丝");
        assert_eq!(shown.image.as_deref(), Some("https://x.example/a.png"));
    }
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_changes_hands_never_shows_the_previous_accounts_messages() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "apns", "bob").await;
    // Bob's message is stuck while carol logs in on his phone.
    assert!(scene.sandbox.set_fault("apns", Some(Fault::always(Mode::RateLimit))));
    caller.accept(&said("m-1", "for bob only")).await;
    eventually("the push is parked", async || {
        (caller.trace("m-1").await["pushes"][0]["reason"] == "retry").then_some(())
    })
    .await;
    caller.put_device("carols-device", "carol", "apns", &phone.token).await;
    assert!(scene.sandbox.set_fault("apns", None));

    assert_eq!(reasons(&caller.trace_becomes("m-1", "suppressed").await), ["token_moved"]);
    caller.accept(&said("m-2", "to bob again")).await;
    assert_eq!(reasons(&caller.trace_becomes("m-2", "suppressed").await), ["no_device"]);
    caller.accept(&message("m-3", "carol", "for carol")).await;
    assert_eq!(scene.shows(&phone, 1).await, ["for carol"]);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstalled_app_is_found_out_and_its_token_dropped() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    // The lane needs a success before a doubtful "dead token" is believed.
    for vendor in crate::support::scene::vendors() {
        scene.phone(&caller, vendor, "carol").await;
    }
    caller.accept(&message("m-0", "carol", "hi")).await;
    caller.idle().await;
    let phones = scene.phones(&caller, "bob").await;
    let now = (SystemClock.now() + std::time::Duration::from_secs(1)).into();
    for phone in &phones {
        assert!(scene.sandbox.phones().uninstall(&phone.id, now));
    }
    caller.accept(&said("m-1", "anybody there?")).await;
    let trace = caller.trace_becomes("m-1", "failed").await;
    assert_eq!(reasons(&trace), vec!["unregistered"; phones.len()]);
    eventually("every token is dropped", async || {
        let devices = caller.call(Method::GET, "/v1/users/bob/devices", None).await.ok()?;
        (devices.body["devices"].as_array()?.is_empty()).then_some(())
    })
    .await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfigured_lane_is_a_failure_and_says_what_to_do() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let mut event = said("m-1", "hi");
    event["to"] = json!([{"lane": "nokia", "token": "t"}]);
    caller.accept(&event).await;
    let trace = caller.trace_becomes("m-1", "failed").await;
    assert_eq!(reasons(&trace), ["no_lane"]);
    assert!(trace["pushes"][0]["hint"].as_str().is_some_and(|hint| hint.contains("lanes.nokia")));
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_the_caller_keeps_are_rung_too() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.sandbox.add_phone("huawei", "somebody").expect("huawei is simulated");
    let mut event = said("m-1", "hello token");
    event["to"] = json!([{"lane": "huawei", "token": phone.token}]);
    caller.accept(&event).await;
    assert_eq!(scene.shows(&phone, 1).await, ["hello token"]);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_buried_and_can_be_sent_again() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phone = scene.phone(&caller, "xiaomi", "bob").await;
    assert!(scene.sandbox.set_fault("xiaomi", Some(Fault::always(Mode::Reset))));
    let mut event = said("m-1", "urgent");
    event["ttl_secs"] = json!(1);
    caller.accept(&event).await;
    caller.trace_becomes("m-1", "expired").await;
    assert!(scene.sandbox.set_fault("xiaomi", None));

    let path = "/v1/apps/demo/dead";
    let listed =
        caller.call_as(&caller.admin_key, Method::GET, path, None).await.expect("an answer");
    let letter = &listed.body["dead"][0];
    assert_eq!((&letter["event_id"], &letter["lane"]), (&json!("m-1"), &json!("xiaomi")));
    let path = format!("/v1/apps/demo/dead/{}/replay", letter["sequence"]);
    let again =
        caller.call_as(&caller.admin_key, Method::POST, &path, None).await.expect("an answer");
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text);
    assert_eq!(scene.shows(&phone, 1).await, ["urgent"]);
    caller.trace_becomes("m-1", "sent").await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_lane_is_gone_ends_when_its_time_is_over() {
    let mut scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    scene.phone(&caller, "xiaomi", "bob").await;
    assert!(scene.sandbox.set_fault("xiaomi", Some(Fault::always(Mode::RateLimit))));
    let mut event = said("m-1", "hi");
    event["ttl_secs"] = json!(8);
    caller.accept(&event).await;
    eventually("the push is parked", async || {
        (caller.trace("m-1").await["pushes"][0]["reason"] == "retry").then_some(())
    })
    .await;
    gateway.drain().await;
    let lanes = scene.config["apps"]["demo"]["lanes"].as_table_mut().expect("lanes");
    lanes.remove("xiaomi");
    let (gateway, caller) = scene.gateway().await;
    let trace = caller.trace_becomes("m-1", "expired").await;
    assert_eq!(reasons(&trace), ["no_lane"]);
    gateway.drain().await;
}
