//! One slow vendor never slows another; one busy app never starves another.

use std::collections::HashSet;

use posthorn_vendors::sandbox::{Fault, Mode};
use serde_json::{Value, json};

use crate::support::caller::message;
use crate::support::{Scene, eventually};

/// Events behind the hang.
const BEHIND: usize = 100_000;
/// What the gateway may grow by while they wait.
const GROWTH_KB: u64 = 200 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn while_huawei_hangs_every_other_push_goes_through_and_memory_stays_bounded() {
    let scene = Scene::start().await;
    let (mut process, caller) = scene.spawn().await;
    let phones = scene.phones(&caller, "bob").await;
    scene.phone(&caller, "huawei", "carol").await;
    caller.accept(&message("warm", "bob", "warm")).await;
    caller.trace_becomes("warm", "sent").await;
    let before = memory_kb(process.id());

    assert!(scene.sandbox.set_fault("huawei", Some(Fault::always(Mode::Hang))));
    for batch in 0..BEHIND / 1000 {
        let events: Vec<Value> =
            (0..1000).map(|n| message(&format!("c-{batch}-{n}"), "carol", "wait")).collect();
        caller.accept(&json!(events)).await;
    }
    // Bob has a Huawei phone too: his other phones ring all the same, and no event waits.
    let ids: Vec<String> = (0..50).map(|n| format!("m-{n}")).collect();
    let events: Vec<Value> = ids.iter().map(|id| message(id, "bob", id)).collect();
    caller.accept(&json!(events)).await;
    for phone in phones.iter().filter(|phone| phone.vendor != "huawei") {
        let shown: HashSet<String> = scene.shows(phone, 51).await.into_iter().collect();
        assert!(ids.iter().all(|id| shown.contains(id)), "{}", phone.id);
    }
    eventually("no event is held", async || {
        (caller.metric("posthorn_events_backlog").await == 0).then_some(())
    })
    .await;
    let huawei = phones.iter().find(|phone| phone.vendor == "huawei").expect("bob has one");
    assert_eq!(scene.shown(huawei).len(), 1, "the Huawei calls are still open");
    let grown = memory_kb(process.id()).saturating_sub(before);
    assert!(grown < GROWTH_KB, "grown by {grown} kB");
    process.kill();
}

fn memory_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_written_though_a_sibling_hangs() {
    let scene = Scene::start().await;
    let (mut process, caller) = scene.spawn().await;
    let mut phones = Vec::new();
    for _ in 0..12 {
        phones.push(scene.phone(&caller, "apns", "bob").await);
    }
    let half = Fault { share: 0.5, ..Fault::always(Mode::Hang) };
    assert!(scene.sandbox.set_fault("apns", Some(half)));
    caller.accept(&message("m-1", "bob", "hello")).await;
    let statuses = |trace: &Value| -> Vec<String> {
        let pushes = trace["pushes"].as_array().cloned().unwrap_or_default();
        pushes.iter().filter_map(|push| push["status"].as_str().map(String::from)).collect()
    };
    // The event is acked while some of its calls are still open; each push is accounted for.
    eventually("the event is acked", async || {
        (caller.metric("posthorn_events_backlog").await == 0).then_some(())
    })
    .await;
    assert_eq!(statuses(&caller.trace("m-1").await).len(), phones.len());
    process.kill();
    assert!(scene.sandbox.set_fault("apns", None));
    let (mut process, caller) = scene.spawn().await;
    eventually("every push is sent", async || {
        (statuses(&caller.trace("m-1").await) == vec!["sent"; phones.len()]).then_some(())
    })
    .await;
    for phone in &phones {
        assert_eq!(scene.shown(phone), ["hello"]);
    }
    process.term().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_exhausts_its_share_is_told_to_wait_and_the_other_is_not() {
    let scene = Scene::with(|config| {
        let mut other = config["apps"]["demo"].clone();
        let table = other.as_table_mut().expect("a table");
        table.insert("server_keys".into(), toml::Value::Array(vec!["other-key".into()]));
        table.remove("sdk_app_id");
        table.remove("user_sig_key");
        let apps = config["apps"].as_table_mut().expect("a table");
        apps.insert("other".into(), other);
        let demo = apps["demo"].as_table_mut().expect("a table");
        demo.insert("max_backlog".into(), 500.into());
    })
    .await;
    let (gateway, caller) = scene.gateway().await;
    // A stuck vendor alone would not fill the backlog: its pushes are parked. A batch does.
    let events: Vec<Value> = (0..501).map(|n| message(&format!("m-{n}"), "nobody", "x")).collect();
    let refused = caller.post(&json!(events)).await.expect("an answer");
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "backlog"));

    let event = message("o-1", "bob", "hi");
    let path = "/v1/events";
    let taken = caller.call_as("other-key", http::Method::POST, path, Some(&event)).await;
    assert_eq!(taken.expect("an answer").status.as_u16(), 202);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_with_a_wrong_credential_keeps_its_events_and_recovers_by_reload() {
    let scene = Scene::start().await;
    let (mut process, caller) = scene.spawn().await;
    let phone = scene.phone(&caller, "xiaomi", "bob").await;
    let sound = std::fs::read_to_string(scene.config_file()).expect("the configuration");
    let mut wrong: toml::Table = sound.parse().expect("toml");
    wrong["apps"]["demo"]["lanes"]["xiaomi"]["app_secret"] = "wrong".into();
    std::fs::write(scene.config_file(), wrong.to_string()).expect("written");
    process.signal("HUP");
    process.logged("lanes and credentials reloaded").await;

    for n in 0..20 {
        caller.accept(&message(&format!("m-{n}"), "bob", "kept")).await;
    }
    process.logged("refuses this lane's credential").await;
    eventually("the trace names the vendor's code", async || {
        let trace = caller.trace("m-0").await;
        (trace["pushes"][0]["code"] == "21301").then_some(())
    })
    .await;
    assert!(scene.shown(&phone).is_empty());

    std::fs::write(scene.config_file(), sound).expect("written");
    process.signal("HUP");
    scene.shows(&phone, 20).await;
    let told = process.log().matches("refuses this lane's credential").count();
    assert_eq!(told, 1, "the operator is told once:\n{}", process.log());
    process.term().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_down_is_tried_again_until_it_is_up() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;
    for mode in [Mode::Reset, Mode::Status, Mode::Goaway] {
        let fault = Fault { status: Some(503), share: 0.7, ..Fault::always(mode) };
        for vendor in crate::support::scene::vendors() {
            assert!(scene.sandbox.set_fault(vendor, Some(fault.clone())));
        }
        let id = format!("m-{mode:?}");
        caller.accept(&message(&id, "bob", &id)).await;
        for vendor in crate::support::scene::vendors() {
            assert!(scene.sandbox.set_fault(vendor, None));
        }
        for phone in &phones {
            eventually(&format!("{} shows {id}", phone.id), async || {
                (scene.shown(phone).iter().filter(|body| **body == id).count() == 1).then_some(())
            })
            .await;
        }
    }
    gateway.drain().await;
}
