//! The commands as a person types them.

use std::path::Path;
use std::process::{Command, Output};

use http::StatusCode;
use serde_json::Value;

use crate::support::caller::message;
use crate::support::{Process, Scene, scene};

async fn posthorn(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthorn"));
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("the command is waited for").expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are plain")
}

/// A gateway whose configuration says where it listens, so that commands find it.
async fn reachable(scene: &Scene) -> (Process, crate::support::Caller) {
    let listen = scene.config["server"]["listen"].as_str().expect("an address");
    let listen = listen.parse().expect("an address");
    let mut process = scene.spawn_on(listen);
    let address = process.address().await;
    (process, scene.caller(address))
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_once_rings_every_phone_and_says_so() {
    let output = posthorn(&["demo", "--once", "--json"]).await;
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = rows.as_array().expect("a row a vendor");
    assert_eq!(rows.len(), scene::vendors().count());
    for row in rows {
        assert_eq!(row["shown"], 1);
        assert!(row["title"].as_str().is_some_and(|title| title.contains("Alice")));
    }
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_lists_every_fault_and_binds_nothing() {
    let scene = Scene::with(|config| {
        config["apps"]["demo"]["lanes"]["apns"]["team_id"] = 7.into();
        config["server"]["listen"] = "nowhere".into();
        config.insert("stoer".into(), toml::Table::new().into());
    })
    .await;
    let output = posthorn(&["serve", "--config", path(&scene.config_file())]).await;
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    for fault in ["server.listen", "lanes.apns.team_id", "did you mean `store`?"] {
        assert!(told.contains(fault), "{fault} is missing in:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_probes_every_lane_and_tells_what_to_apply_for() {
    let scene = Scene::start().await;
    let file = scene.config_file();
    let output = posthorn(&["check", "--config", path(&file), "--probe"]).await;
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    for lane in ["demo / apns", "demo / huawei", "demo / xiaomi"] {
        assert!(told.contains(lane), "{lane} is missing in:\n{told}");
    }
    let mut wrong = scene.config.clone();
    wrong["apps"]["demo"]["lanes"]["huawei"]["app_secret"] = "wrong".into();
    std::fs::write(&file, wrong.to_string()).expect("written");
    let output = posthorn(&["check", "--config", path(&file), "--probe"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("probe FAILED"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn push_health_and_why_talk_to_the_running_gateway() {
    let scene = Scene::start().await;
    let file = scene.config_file();
    let file = path(&file);
    let down = posthorn(&["health", "--config", file]).await;
    assert_eq!(down.status.code(), Some(1));
    assert!(text(&down.stderr).contains("is it running?"), "{}", text(&down.stderr));

    let (mut process, caller) = reachable(&scene).await;
    assert!(posthorn(&["health", "--config", file]).await.status.success());
    let phone = scene.phone(&caller, "apns", "bob").await;
    let words = ["--title", "Test", "--body", "one two"];
    let arguments = [&["push", "--config", file, "--app", "demo", "--user", "bob"], &words[..]];
    let pushed = posthorn(&arguments.concat()).await;
    assert!(pushed.status.success(), "{}{}", text(&pushed.stdout), text(&pushed.stderr));
    assert!(text(&pushed.stdout).contains("sent"), "{}", text(&pushed.stdout));
    assert_eq!(scene.shown(&phone), ["one two"]);
    let token = ["push", "--config", file, "--app", "demo", "--lane", "apns", "--token", "zz"];
    let refused = posthorn(&[&token[..], &words[..]].concat()).await;
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));

    caller.accept(&message("m-1", "bob", "hi")).await;
    caller.trace_becomes("m-1", "sent").await;
    let why = posthorn(&["why", "--config", file, "m-1"]).await;
    let told = text(&why.stdout);
    assert!(told.contains("accepted: durable") && told.contains("by apns: sent"), "{told}");
    let of_user = posthorn(&["why", "--config", file, "--user", "bob", "--json"]).await;
    let traces: Value = serde_json::from_slice(&of_user.stdout).expect("JSON");
    assert_eq!(traces[0]["id"], "m-1", "newest first: {traces}");
    assert_eq!(posthorn(&["why", "--config", file, "never"]).await.status.code(), Some(1));
    assert_eq!(posthorn(&["why", "--config", file]).await.status.code(), Some(2));
    assert_eq!(caller.ready().await.expect("an answer").status, StatusCode::OK);
    process.term().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_writes_a_configuration_that_serve_takes_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_posthorn"))
        .args(["sandbox", "--listen", "127.0.0.1:0", "--dir", path(directory.path())])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the sandbox starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        sandbox.stdout.take().expect("its output is piped"),
    ));
    let first = tokio::task::spawn_blocking(move || lines.next()).await.expect("waited for");
    let first = first.expect("a line").expect("readable");
    assert!(first.contains("http://127.0.0.1:"), "{first}");
    let config = directory.path().join("posthorn.toml");
    let output = posthorn(&["check", "--config", path(&config), "--probe"]).await;
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    sandbox.kill().expect("it is killed");
    sandbox.wait().expect("it is waited for");
}
