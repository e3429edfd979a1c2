//! How the gateway ends, and who may start beside it.

use std::collections::HashSet;

use posthorn_vendors::sandbox::{Fault, Mode};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::caller::message;
use crate::support::{Caller, Scene, eventually, scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_rings_every_phone_once_and_is_traced() {
    let scene = Scene::start().await;
    let (gateway, caller) = scene.gateway().await;
    let phones = scene.phones(&caller, "bob").await;

    caller.accept(&message("m-1", "bob", "hello")).await;

    for phone in &phones {
        assert_eq!(scene.shows(phone, 1).await, ["hello"]);
    }
    let trace = caller.trace_becomes("m-1", "sent").await;
    assert_eq!(trace["pushes"].as_array().map(Vec::len), Some(phones.len()));
    caller.idle().await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_the_same_store_is_refused_and_says_why() {
    let scene = Scene::start().await;
    let (mut first, caller) = scene.spawn().await;

    let mut second = scene.spawn_on(scene::ANY_PORT.parse().expect("an address"));
    let status = second.exit().await;

    assert_eq!(status.code(), Some(1));
    assert!(second.log().contains("another process uses"), "its log: {}", second.log());
    assert!(caller.ready().await.is_ok_and(|reply| reply.status.is_success()));
    assert_eq!(first.term().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_exits_0_and_loses_nothing() {
    let scene = Scene::start().await;
    // Slow enough that calls are in the air and pushes are parked when the signal comes.
    let slow = Fault { share: 0.3, delay_ms: Some(1500), ..Fault::always(Mode::Latency) };
    assert!(scene.sandbox.set_fault("huawei", Some(slow)));
    let (mut process, caller) = scene.spawn().await;
    let phones = scene.phones(&caller, "bob").await;
    let mut taken = HashSet::new();
    let mut senders = JoinSet::new();
    for sender in 0..3 {
        senders.spawn(post_until_refused(caller.clone(), sender));
    }
    for phone in &phones {
        scene.shows(phone, 20).await;
    }

    assert_eq!(process.term().await.code(), Some(0));
    for ids in senders.join_all().await {
        taken.extend(ids);
    }
    let (mut process, caller) = scene.spawn().await;

    for phone in &phones {
        eventually(&format!("{} shows everything taken", phone.id), async || {
            let shown: HashSet<String> = scene.shown(phone).into_iter().collect();
            shown.is_superset(&taken).then_some(())
        })
        .await;
        let shown = scene.shown(phone);
        let distinct: HashSet<&String> = shown.iter().collect();
        assert_eq!(distinct.len(), shown.len(), "{} shows something twice", phone.id);
    }
    caller.idle().await;
    assert_eq!(process.term().await.code(), Some(0));
}

/// The ids of the messages that were taken before the gateway took no more.
async fn post_until_refused(caller: Caller, sender: usize) -> Vec<String> {
    let mut taken = Vec::new();
    loop {
        let first = taken.len();
        let ids: Vec<String> = (first..first + 5).map(|n| format!("s-{sender}-{n}")).collect();
        let batch: Value = ids.iter().map(|id| message(id, "bob", id)).collect();
        match caller.post(&batch).await {
            Ok(reply) => {
                assert!(reply.status.is_success(), "{}", reply.text);
                taken.extend(ids);
            }
            Err(_) => return taken,
        }
    }
}
