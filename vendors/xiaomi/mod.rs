//! Xiaomi phones through Mi Push.
//!
//! Chat needs a private channel and, under the rules of 2026, a template of which only the
//! variables are sent (`template.rs`). The secret is static: nothing is fetched, nothing expires.
//! Deliberately absent: withdrawing (the parameters of the new recall call are not published), the
//! pull of invalid ids (retired by the vendor; they come with answers and receipts), and pictures
//! (only ones uploaded beforehand are shown).
//!
//! Sources, read 2026-11-22: dev.mi.com/xiaomihyperos/documentation/detail?pId=1559 and 1696
//! (calls and fields), 1560 (codes), 2314 (templates), 1854 (ttl), 1856 (notify_effect), 1656
//! (limits).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;

use crate::kit::http1::{self, Client};
use crate::kit::settings::{self, Fault};
use crate::{
    Answer, Batch, Batching, Class, Cost, Limits, Outcome, Probe, Secret, Spec, TextLimit,
    TextUnit, Vendor, Wire,
};

mod outcome;
mod request;
mod sandbox;
mod template;

/// What the gateway knows of Xiaomi.
pub const SPEC: Spec =
    Spec { id: "xiaomi", name: "Xiaomi (Mi Push)", build, wire, simulator, impossible: &[] };

/// One lane's keys; `config/vendors/xiaomi.toml` says each in a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    package: String,
    app_secret: Secret,
    #[serde(default)]
    region: Region,
    #[serde(default)]
    channels: Channels,
    #[serde(default = "yes")]
    send_title_with_template: bool,
    #[serde(default = "default_empty_text")]
    empty_text: String,
    intent: Option<String>,
    #[serde(default)]
    foreground_show: bool,
    callback: Option<String>,
    base_url: Option<String>,
    ca: Option<String>,
}

/// Where the devices registered; it decides the host.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Region {
    #[default]
    Cn,
    Ru,
    In,
    Eu,
    Sg,
}

/// The channel of each class. No class borrows another's: marketing in a private channel is
/// punished.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Channels {
    im: Option<Channel>,
    call: Option<Channel>,
    friend_request: Option<Channel>,
    system: Option<Channel>,
    marketing: Option<Channel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    channel_id: String,
    template_id: Option<String>,
    /// The template's variables, and what fills each.
    #[serde(default)]
    variables: BTreeMap<String, Filling>,
}

/// What fills a variable of a template.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Filling {
    Title,
    Body,
    Sender,
}

/// A template has at most this many variables.
const MAX_VARIABLES: usize = 9;

const LIMITS: Limits = Limits {
    batching: Batching::Distinct { max: 1000 },
    cost: Cost::PerCall,
    // Fewer than 50 and 128 characters; every script counts 1.
    title: TextLimit { max: 49, unit: TextUnit::Chars },
    body: TextLimit { max: 127, unit: TextUnit::Chars },
    // Of the private class; older texts say 14 days.
    ttl_max: Duration::from_secs(10 * 24 * 60 * 60),
    concurrency: 16,
};

struct Xiaomi {
    messages: Messages,
    client: Client,
}

/// The pure half.
struct Messages {
    config: Config,
    base_url: String,
}

impl Region {
    fn host(self) -> &'static str {
        match self {
            Region::Cn => "https://api.xmpush.xiaomi.com",
            Region::Ru => "https://ru-api.xmpush.global.xiaomi.com",
            Region::In => "https://idmb-api.xmpush.global.xiaomi.com",
            Region::Eu => "https://fr-api.xmpush.global.xiaomi.com",
            Region::Sg => "https://sgp-api.xmpush.global.xiaomi.com",
        }
    }
}

impl Channels {
    fn of(&self, class: Class) -> Option<&Channel> {
        match class {
            Class::Im => self.im.as_ref(),
            Class::Call => self.call.as_ref(),
            Class::FriendRequest => self.friend_request.as_ref(),
            Class::System => self.system.as_ref(),
            Class::Marketing => self.marketing.as_ref(),
        }
    }

    fn all(&self) -> [(&'static str, Option<&Channel>); 5] {
        [
            ("im", self.im.as_ref()),
            ("call", self.call.as_ref()),
            ("friend_request", self.friend_request.as_ref()),
            ("system", self.system.as_ref()),
            ("marketing", self.marketing.as_ref()),
        ]
    }
}

impl Channel {
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        match &self.template_id {
            _ if self.channel_id.is_empty() => Some(("channel_id", "must not be empty")),
            Some(_) if self.variables.is_empty() => {
                Some(("variables", "must name the template's variables"))
            }
            Some(_) if self.variables.len() > MAX_VARIABLES => {
                Some(("variables", "must be at most 9, as in the template"))
            }
            None if !self.variables.is_empty() => {
                Some(("template_id", "missing; variables are a template's"))
            }
            Some(_) | None => None,
        }
    }
}

fn yes() -> bool {
    true
}

fn default_empty_text() -> String {
    "[表情]".to_owned()
}

fn read(table: toml::Table) -> Result<Config, Vec<Fault>> {
    let config: Config = settings::read(table)?;
    let mut faults = Vec::new();
    for (key, value) in [
        ("package", config.package.as_str()),
        ("app_secret", config.app_secret.expose()),
        ("empty_text", &config.empty_text),
    ] {
        if value.trim().is_empty() {
            faults.push(Fault::new(key, "must not be empty"));
        }
    }
    // The secret travels in a header.
    if !config.app_secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.push(Fault::new("app_secret", "must be visible ASCII"));
    }
    if config.empty_text.chars().any(template::is_refused) {
        faults.push(Fault::new("empty_text", "must hold no emoji and no symbol"));
    }
    for (class, channel) in config.channels.all() {
        if let Some((key, problem)) = channel.and_then(Channel::fault) {
            faults.push(Fault::new(format!("channels.{class}.{key}"), problem));
        }
    }
    let base_url = config.base_url.as_deref();
    faults.extend(base_url.and_then(|url| http1::address("base_url", url).err()));
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

fn build(table: toml::Table) -> Result<Arc<dyn Vendor>, Vec<Fault>> {
    let config = read(table)?;
    let client = Client::new(config.ca.as_deref()).map_err(|fault| vec![fault])?;
    Ok(Arc::new(Xiaomi { messages: Messages::new(config), client }))
}

fn wire(table: toml::Table) -> Result<Box<dyn Wire>, Vec<Fault>> {
    Ok(Box::new(Messages::new(read(table)?)))
}

fn simulator() -> Box<dyn crate::sandbox::Simulator> {
    Box::new(sandbox::XiaomiHost::default())
}

impl Messages {
    fn new(config: Config) -> Self {
        let base_url = config.base_url.clone();
        let base_url = base_url.unwrap_or_else(|| config.region.host().to_owned());
        Messages { config, base_url }
    }
}

impl Wire for Messages {
    fn request(&self, batch: &Batch, credential: &str) -> Request<Bytes> {
        request::build(self, batch, credential)
    }

    fn outcomes(
        &self,
        batch: &Batch,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Vec<Outcome> {
        outcome::read(batch, status, headers, body)
    }
}

impl Xiaomi {
    async fn deliver(&self, batch: &Batch) -> Vec<Outcome> {
        let request = self.messages.request(batch, self.messages.config.app_secret.expose());
        match self.client.exchange(request).await {
            Ok((status, headers, body)) => self.messages.outcomes(batch, status, &headers, &body),
            Err(failure) => vec![failure.outcome(); batch.pushes.len()],
        }
    }
}

impl Vendor for Xiaomi {
    fn limits(&self) -> &Limits {
        &LIMITS
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> Answer<'a> {
        Box::pin(self.deliver(batch))
    }

    /// No documented call checks the secret without sending: the quota call's answers are known
    /// from one sender only.
    fn probe<'a>(&'a self, _now: SystemTime) -> Probe<'a> {
        let told = "nothing was checked: app_secret is static, and Xiaomi has no documented call \
                    that tries it without sending a message";
        Box::pin(async move { Ok(told.to_owned()) })
    }

    fn advice(&self) -> Vec<Cow<'static, str>> {
        let config = &self.messages.config;
        let mut advice: Vec<Cow<'static, str>> = Vec::new();
        for (class, channel) in config.channels.all() {
            match channel {
                None => advice.push(
                    format!(
                        "channels.{class} is not set: apply for a channel in the Mi Push console, \
                         or Xiaomi shows at most one such message a device and day, or refuses it"
                    )
                    .into(),
                ),
                Some(Channel { template_id: None, .. }) if class != "marketing" => advice.push(
                    format!(
                        "channels.{class} has no template_id: private channels must send one, new \
                         apps since 2026-07-01, all others from 2027"
                    )
                    .into(),
                ),
                Some(_) => {}
            }
        }
        if config.callback.is_none() {
            advice.push(
                "callback is not set: Xiaomi tells of uninstalled apps by receipts first".into(),
            );
        }
        advice
    }
}
