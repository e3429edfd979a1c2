//! How the gateway ends, and who may start beside it.

use crate::support::caller::message;
use crate::support::{Scene, scene};

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
