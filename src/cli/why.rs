//! `posthorn why`: what became of it, as a person reads it.

use std::path::PathBuf;

use jiff::Timestamp;
use posthorn_wire as wire;
use reqwest::Method;
use serde::Deserialize;

use super::client::Gateway;
use super::{Failure, block_on};
use crate::config;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The running gateway's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The event's id
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    event_id: Option<String>,
    /// The newest events of this user instead
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct OfUser {
    events: Vec<wire::Trace>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    let Some(key) = config.admin_key.clone() else {
        return Err(Failure::Usage("the configuration has no admin.key to ask with".to_owned()));
    };
    let gateway = Gateway::of(&config, Some(key))?;
    let traces = block_on(ask(&gateway, &arguments))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&traces)
            .map_err(|err| Failure::Failed(err.to_string()))?;
        say!("{text}");
        return Ok(());
    }
    for trace in &traces {
        tell(trace);
    }
    if traces.is_empty() {
        say!("nothing within the last seven days");
    }
    Ok(())
}

async fn ask(gateway: &Gateway, arguments: &Arguments) -> Result<Vec<wire::Trace>, Failure> {
    if let Some(user) = &arguments.user {
        let path = format!("/v1/users/{}/trace", segment(user));
        let answer: Option<OfUser> = gateway.ask(Method::GET, &path, None).await?;
        return Ok(answer.map(|of_user| of_user.events).unwrap_or_default());
    }
    let event = arguments.event_id.as_deref().unwrap_or_default();
    let path = format!("/v1/events/{}", segment(event));
    let unknown = || {
        let why = format!("no event {event} was accepted within the last seven days");
        Failure::Failed(format!("{why}: the IM server never sent it, or was refused"))
    };
    Ok(vec![gateway.ask(Method::GET, &path, None).await?.ok_or_else(unknown)?])
}

/// One path segment, percent-encoded.
pub(super) fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte.into());
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

pub(super) fn tell(trace: &wire::Trace) {
    say!("{}  app {}  {}", trace.id, trace.app, meaning(&trace.status));
    say!("  {}  accepted: durable on this gateway", time(trace.received_at));
    for push in &trace.pushes {
        let who = match (&push.user_id, &push.device_id) {
            (Some(user), Some(device)) => format!("{user}'s {device}"),
            (Some(user), None) => user.clone(),
            (None, _) if push.lane.is_none() => "nobody".to_owned(),
            (None, _) => "a token of the caller".to_owned(),
        };
        let lane = push.lane.as_ref().map(|lane| format!(" by {lane}")).unwrap_or_default();
        let reason = push.reason.as_ref().map(|word| format!(" ({word})")).unwrap_or_default();
        say!("  {}  {who}{lane}: {}{reason}", time(push.at), push.status);
        if let Some(code) = &push.code {
            let hint = push.hint.as_deref().unwrap_or_default();
            say!("      the vendor said {code}: {hint}");
        } else if let Some(hint) = &push.hint {
            say!("      {hint}");
        } else if let Some(rule) = push.reason.as_deref().and_then(explained) {
            say!("      {rule}");
        }
        if let Some(name) = &push.vendor_ref {
            say!("      the vendor calls it {name}");
        }
        if push.attempts > 1 {
            say!("      after {} attempts", push.attempts);
        }
    }
}

fn time(at: u64) -> String {
    match Timestamp::from_millisecond(at as i64) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => at.to_string(),
    }
}

fn meaning(status: &str) -> String {
    let words = match status {
        "accepted" => "accepted; some of its pushes are still on their way",
        "sent" => "sent: a vendor took it; only a receipt would prove that the phone showed it",
        "delivered" => "delivered: the vendor's receipt says a phone showed it",
        "clicked" => "clicked: the vendor's receipt says the user tapped it",
        "suppressed" => "suppressed: a rule kept it back",
        "failed" => "failed: no vendor took it",
        "expired" => "expired: its time ran out first",
        other => other,
    };
    words.to_owned()
}

fn explained(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "no_device" => "the user has no registered device: the app has to register its token",
        "muted" => "the user muted this conversation",
        "quiet_hours" => "it came within the user's quiet hours",
        "read" => "the user had read it on another device",
        "recalled" => "the sender had recalled it",
        "edited" => "a later edit carries the new text",
        "call_ended" => "the call was over",
        "superseded" => "a later message of the same run stands in its place",
        "token_moved" => "the token belongs to another user or device by now",
        "nothing_shown" => "no notification of the original was on a screen",
        "read_marker" => "a read mark rings nobody; it stops what is not sent yet",
        "no_text" => "a custom message without text rings nobody",
        "waiting" => "its lane is busy; it goes out as soon as the lane is free",
        _ => return None,
    })
}
