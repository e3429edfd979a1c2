//! A disk that takes nothing: said so, lost nothing, and over as soon as the disk works again.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::caller::message;
use crate::support::mount::Tmpfs;
use crate::support::{Caller, Scene, eventually};

const DISK: usize = 48 << 20;

/// A scene whose store is on a small file system; `None` where mounting is not permitted.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
async fn scene_on_a_small_disk() -> Option<(Scene, Tmpfs)> {
    let scene = Scene::start().await;
    match Tmpfs::mount(&store(&scene), DISK) {
        Ok(disk) => Some((scene, disk)),
        Err(why) => {
            println!("skipped: cannot mount a tmpfs here: {why}");
            None
        }
    }
}

fn store(scene: &Scene) -> PathBuf {
    scene.directory().join("data")
}

/// Posts numbered messages to bob, and remembers which were taken.
struct Writer {
    caller: Caller,
    next: usize,
    taken: Vec<String>,
}

impl Writer {
    fn new(caller: Caller) -> Writer {
        Writer { caller, next: 0, taken: Vec::new() }
    }

    /// Posts a batch; answers whether it was taken. A refusal must be the documented one.
    async fn write(&mut self, count: usize) -> bool {
        let ids: Vec<String> = (self.next..self.next + count).map(|n| format!("d-{n}")).collect();
        self.next += count;
        let batch: Value = ids.iter().map(|id| message(id, "bob", id)).collect();
        let reply = self.caller.post(&batch).await.expect("the gateway answers");
        if reply.status == StatusCode::OK {
            self.taken.extend(ids);
            return true;
        }
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text);
        assert_eq!(reply.code(), "store_unavailable");
        false
    }

    /// Fills the disk until the gateway says so in every way. Opening the store again can make a
    /// little room, which is then filled as well.
    async fn write_until_refused(&mut self, disk: &Tmpfs) {
        eventually("the store refuses events", async || {
            disk.fill();
            let refused = !self.write(50).await && !self.write(1).await;
            let ready = self.caller.ready().await.expect("the gateway answers");
            (refused && ready.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
    }

    async fn write_until_taken(&mut self) {
        eventually("the store takes events", async || self.write(50).await.then_some(())).await;
    }
}

/// Every text taken is on each phone, once.
async fn all_is_shown(scene: &Scene, writer: &Writer) {
    for phone in scene.sandbox.phones().all() {
        eventually(&format!("{} shows everything taken", phone.id), async || {
            let shown = scene.shown(&phone);
            writer.taken.iter().all(|text| shown.contains(text)).then_some(())
        })
        .await;
        let mut shown = scene.shown(&phone);
        let count = shown.len();
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), count, "{} shows something twice", phone.id);
    }
}

async fn nothing_is_lost_by_a_restart(scene: &Scene, writer: &Writer) {
    let (mut process, caller) = scene.spawn().await;
    for id in [writer.taken.first(), writer.taken.last()].into_iter().flatten() {
        assert_eq!(caller.trace(id).await["status"], "sent", "{id}");
        let again = caller.accept(&message(id, "bob", id)).await;
        assert_eq!(again["status"], "duplicate");
    }
    assert_eq!(process.term().await.code(), Some(0));
}

async fn alive(caller: &Caller) -> StatusCode {
    let reply = caller.call(reqwest::Method::GET, "/healthz", None).await;
    reply.expect("the gateway answers").status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_events_and_recovers_in_process_once_there_is_room() {
    let Some((scene, disk)) = scene_on_a_small_disk().await else { return };
    let (mut process, caller) = scene.spawn().await;
    scene.phones(&caller, "bob").await;
    let mut writer = Writer::new(caller.clone());
    assert!(writer.write(100).await);

    writer.write_until_refused(&disk).await;
    assert_eq!(alive(&caller).await, StatusCode::OK);

    disk.free();
    caller.ready_becomes(StatusCode::OK).await;
    writer.write_until_taken().await;
    all_is_shown(&scene, &writer).await;
    caller.idle().await;
    assert_eq!(process.term().await.code(), Some(0));
    nothing_is_lost_by_a_restart(&scene, &writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_under_load_loses_nothing_it_said_yes_to() {
    let Some((scene, disk)) = scene_on_a_small_disk().await else { return };
    let (mut process, caller) = scene.spawn().await;
    scene.phones(&caller, "bob").await;
    let mut writer = Writer::new(caller.clone());

    for _ in 0..3 {
        // The vendors go on answering while nothing can be written.
        assert!(writer.write(200).await);
        writer.write_until_refused(&disk).await;
        disk.free();
        writer.write_until_taken().await;
    }

    all_is_shown(&scene, &writer).await;
    caller.idle().await;
    assert_eq!(process.term().await.code(), Some(0));
    nothing_is_lost_by_a_restart(&scene, &writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_on_a_full_disk_starts_there_and_recovers_once_there_is_room() {
    let Some((scene, disk)) = scene_on_a_small_disk().await else { return };
    let (mut process, caller) = scene.spawn().await;
    scene.phones(&caller, "bob").await;
    let mut writer = Writer::new(caller);
    assert!(writer.write(200).await);
    writer.write_until_refused(&disk).await;
    process.kill();

    let (mut process, caller) = scene.spawn().await;
    writer.caller = caller.clone();
    // Reading what the kill left may have made a little room.
    writer.write_until_refused(&disk).await;
    disk.free();
    caller.ready_becomes(StatusCode::OK).await;
    writer.write_until_taken().await;

    all_is_shown(&scene, &writer).await;
    assert_eq!(process.term().await.code(), Some(0));
}

/// The kernel makes nothing read-only that somebody writes to, so the disk fills up first: then the
/// gateway has closed its files and tries to open them again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_refuses_events_and_recovers_in_process() {
    let Some((scene, disk)) = scene_on_a_small_disk().await else { return };
    let (mut process, caller) = scene.spawn().await;
    scene.phones(&caller, "bob").await;
    let mut writer = Writer::new(caller.clone());
    assert!(writer.write(100).await);

    eventually("the full disk is read-only", async || {
        disk.fill();
        writer.write(50).await;
        disk.set_read_only(true).ok()
    })
    .await;
    for _ in 0..20 {
        assert!(!writer.write(1).await);
    }
    assert_eq!(caller.ready().await.expect("an answer").status, StatusCode::SERVICE_UNAVAILABLE);

    disk.set_read_only(false).expect("it was mounted by us");
    disk.free();
    caller.ready_becomes(StatusCode::OK).await;
    writer.write_until_taken().await;
    all_is_shown(&scene, &writer).await;
    caller.idle().await;
    assert_eq!(process.term().await.code(), Some(0));
    nothing_is_lost_by_a_restart(&scene, &writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_started_on_a_read_only_disk_says_unavailable_until_it_can_write() {
    for with_data in [false, true] {
        let Some((scene, disk)) = scene_on_a_small_disk().await else { return };
        let mut writer = None;
        if with_data {
            let (mut process, caller) = scene.spawn().await;
            scene.phones(&caller, "bob").await;
            let written = writer.insert(Writer::new(caller));
            assert!(written.write(20).await);
            process.kill();
        }
        disk.set_read_only(true).expect("nobody has a file open for writing");

        let (mut process, caller) = scene.spawn().await;
        let mut writer = writer.unwrap_or_else(|| Writer::new(caller.clone()));
        writer.caller = caller.clone();
        caller.ready_becomes(StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(!writer.write(1).await);

        disk.set_read_only(false).expect("it was mounted by us");
        caller.ready_becomes(StatusCode::OK).await;
        if !with_data {
            scene.phones(&caller, "bob").await;
        }
        assert!(writer.write(20).await);
        all_is_shown(&scene, &writer).await;
        assert_eq!(process.term().await.code(), Some(0));
    }
}
