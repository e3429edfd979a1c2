//! `posthorn push`: one test push through the running gateway, and what became of it.

use std::path::PathBuf;
use std::time::Duration;

use posthorn_wire as wire;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Gateway;
use super::{Failure, block_on, why};
use crate::config;

/// How long to wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The running gateway's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The app to send as
    #[arg(long)]
    app: String,
    /// Every device of this user
    #[arg(long, value_name = "ID", required_unless_present = "lane", conflicts_with = "lane")]
    user: Option<String>,
    /// One token, by this lane
    #[arg(long, requires = "token")]
    lane: Option<String>,
    /// The token
    #[arg(long, requires = "lane")]
    token: Option<String>,
    #[arg(long)]
    title: String,
    #[arg(long)]
    body: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    let app = config.apps.iter().find(|app| *app.name == *arguments.app);
    let Some(app) = app else {
        let known: Vec<&str> = config.apps.iter().map(|app| &*app.name).collect();
        let why = format!("no app `{}` in it; known: {}", arguments.app, known.join(", "));
        return Err(Failure::Usage(why));
    };
    let gateway = Gateway::of(&config, app.keys.server_keys.first().cloned())?;
    let trace = block_on(push(&gateway, &arguments))?;
    if arguments.json {
        say!(
            "{}",
            serde_json::to_string_pretty(&trace).map_err(|e| Failure::Failed(e.to_string()))?
        );
    } else {
        why::tell(&trace);
    }
    match trace.status.as_str() {
        "sent" | "delivered" | "clicked" => Ok(()),
        _ => Err(Failure::Told),
    }
}

async fn push(gateway: &Gateway, arguments: &Arguments) -> Result<wire::Trace, Failure> {
    let to = match (&arguments.user, &arguments.lane, &arguments.token) {
        (Some(user), _, _) => json!(user),
        (None, lane, token) => json!({"lane": lane, "token": token}),
    };
    let id = format!("push-{}", jiff::Timestamp::now().as_microsecond());
    let event = json!({
        "id": id, "kind": "system", "to": [to], "ttl_secs": 3600,
        "push": {"title": arguments.title, "body": arguments.body},
    });
    let _accepted: Option<Value> = gateway.ask(Method::POST, "/v1/events", Some(&event)).await?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let trace: Option<wire::Trace> =
            gateway.ask(Method::GET, &format!("/v1/events/{id}"), None).await?;
        let trace =
            trace.ok_or_else(|| Failure::Failed("the gateway forgot the event".to_owned()))?;
        if trace.status != "accepted" || Instant::now() >= give_up {
            return Ok(trace);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
