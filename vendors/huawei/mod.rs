//! Huawei phones through HMS Push Kit, API v1 (Android, EMUI and HarmonyOS up to 4).
//!
//! HarmonyOS 5 and later has other tokens, another body and another credential (API v3) and is a
//! vendor of its own. Deliberately absent: withdrawing a notification, which v1 does not offer.
//!
//! Sources, read 2026-11-22: the request and code tables at
//! developer.huawei.com/consumer/cn/doc/HMSCore-References/https-send-api-0000001050986197, the
//! token endpoint at …/HMSCore-Guides/oauth2-0000001212610981.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;

use crate::kit::credential::Cache;
use crate::kit::http1::{self, Client};
use crate::kit::settings::{self, Fault};
use crate::{
    Answer, Batch, Batching, Class, Cost, Limits, Outcome, Probe, Reason, Secret, Spec, TextLimit,
    TextUnit, Vendor, Wire,
};

mod oauth;
mod outcome;
mod request;
mod sandbox;

/// What the gateway knows of Huawei.
pub const SPEC: Spec =
    Spec { id: "huawei", name: "Huawei (HMS)", build, wire, simulator, impossible: &[] };

/// One lane's keys; `config/vendors/huawei.toml` says each in a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    app_id: String,
    app_secret: Secret,
    #[serde(default)]
    categories: Categories,
    badge_class: Option<String>,
    receipt_id: Option<String>,
    intent: Option<String>,
    #[serde(default)]
    foreground_show: bool,
    #[serde(default)]
    test_user: bool,
    #[serde(default = "default_base_url")]
    base_url: String,
    #[serde(default = "default_token_url")]
    token_url: String,
    ca: Option<String>,
}

/// The `category` of each class; empty means that Huawei classifies by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Categories {
    im: String,
    call: String,
    friend_request: String,
    system: String,
    marketing: String,
}

/// All categories of API v1 that a notification may carry (the send API page, `category`).
const CATEGORIES: [&str; 12] = [
    "IM",
    "VOIP",
    "SUBSCRIPTION",
    "TRAVEL",
    "HEALTH",
    "WORK",
    "ACCOUNT",
    "EXPRESS",
    "FINANCE",
    "DEVICE_REMINDER",
    "MAIL",
    "MARKETING",
];

const LIMITS: Limits = Limits {
    batching: Batching::SameContent { max: 1000 },
    // QPS are devices a second (…/harmonyos-references/push-msg-freq-control).
    cost: Cost::PerTarget,
    // Only the 4,096 bytes of the whole are documented; phones show no more than this anyway.
    title: TextLimit { max: 40, unit: TextUnit::Chars },
    body: TextLimit { max: 256, unit: TextUnit::Chars },
    ttl_max: Duration::from_secs(15 * 24 * 60 * 60),
    concurrency: 16,
};

struct Huawei {
    messages: Messages,
    client: Arc<Client>,
    credentials: Cache<oauth::Endpoint>,
}

/// The pure half.
struct Messages {
    config: Config,
    url: String,
}

impl Default for Categories {
    fn default() -> Self {
        // What the page does not name plainly (friend requests, the app's own messages) is left to
        // Huawei: a wrong self-classification is punished.
        Categories {
            im: "IM".to_owned(),
            call: "VOIP".to_owned(),
            friend_request: String::new(),
            system: String::new(),
            marketing: "MARKETING".to_owned(),
        }
    }
}

impl Categories {
    fn of(&self, class: Class) -> Option<&str> {
        let category = match class {
            Class::Im => &self.im,
            Class::Call => &self.call,
            Class::FriendRequest => &self.friend_request,
            Class::System => &self.system,
            Class::Marketing => &self.marketing,
        };
        Some(category.as_str()).filter(|category| !category.is_empty())
    }

    fn faults(&self) -> impl Iterator<Item = Fault> + '_ {
        let all = [
            ("im", &self.im),
            ("call", &self.call),
            ("friend_request", &self.friend_request),
            ("system", &self.system),
            ("marketing", &self.marketing),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty() && !CATEGORIES.contains(&value.as_str()))
            .map(|(class, _)| {
                let known = CATEGORIES.join(", ");
                Fault::new(format!("categories.{class}"), format!("must be empty or of {known}"))
            })
    }
}

fn default_base_url() -> String {
    "https://push-api.cloud.huawei.com".to_owned()
}

fn default_token_url() -> String {
    "https://oauth-login.cloud.huawei.com/oauth2/v3/token".to_owned()
}

fn read(table: toml::Table) -> Result<Config, Vec<Fault>> {
    let config: Config = settings::read(table)?;
    let mut faults: Vec<Fault> = config.categories.faults().collect();
    if config.app_id.is_empty() || !config.app_id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        faults.push(Fault::new("app_id", "must be the app's id of AppGallery Connect, digits"));
    }
    if config.app_secret.expose().is_empty() {
        faults.push(Fault::new("app_secret", "must not be empty"));
    }
    faults.extend(http1::address("base_url", &config.base_url).err());
    faults.extend(http1::address("token_url", &config.token_url).err());
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

fn build(table: toml::Table) -> Result<Arc<dyn Vendor>, Vec<Fault>> {
    let config = read(table)?;
    let client = Client::new(config.ca.as_deref()).map_err(|fault| vec![fault])?;
    let client = Arc::new(client);
    let endpoint = oauth::Endpoint::new(Arc::clone(&client), &config);
    let credentials = Cache::new(endpoint);
    Ok(Arc::new(Huawei { messages: Messages::new(config), client, credentials }))
}

fn wire(table: toml::Table) -> Result<Box<dyn Wire>, Vec<Fault>> {
    Ok(Box::new(Messages::new(read(table)?)))
}

fn simulator() -> Box<dyn crate::sandbox::Simulator> {
    Box::new(sandbox::HuaweiHost::default())
}

impl Messages {
    fn new(config: Config) -> Self {
        let url = format!("{}/v1/{}/messages:send", config.base_url, config.app_id);
        Messages { config, url }
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

impl Huawei {
    /// Sends with the credential at hand, and once more with a fresh one when the vendor says that
    /// it has ended.
    async fn deliver(&self, batch: &Batch) -> Vec<Outcome> {
        let alike = |outcome| vec![outcome; batch.pushes.len()];
        let credential = match self.credentials.get(batch.now).await {
            Ok(credential) => credential,
            Err(outcome) => return alike(outcome),
        };
        let outcomes = self.exchange(batch, credential.value.expose()).await;
        if !outcome::wants_fresh_credential(&outcomes) {
            return outcomes;
        }
        match self.credentials.refresh(&credential, batch.now).await {
            Ok(fresh) => self.exchange(batch, fresh.value.expose()).await,
            Err(outcome) => alike(outcome),
        }
    }

    async fn exchange(&self, batch: &Batch, credential: &str) -> Vec<Outcome> {
        let request = self.messages.request(batch, credential);
        match self.client.exchange(request).await {
            Ok((status, headers, body)) => self.messages.outcomes(batch, status, &headers, &body),
            Err(failure) => vec![failure.outcome(); batch.pushes.len()],
        }
    }
}

impl Vendor for Huawei {
    fn limits(&self) -> &Limits {
        &LIMITS
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> Answer<'a> {
        Box::pin(self.deliver(batch))
    }

    fn credential_expires(&self) -> Option<SystemTime> {
        self.credentials.expires_at()
    }

    fn probe<'a>(&'a self, now: SystemTime) -> Probe<'a> {
        use crate::kit::credential::Source;
        Box::pin(async move {
            match self.credentials.source().fetch(now).await {
                Ok(_) => Ok("the token endpoint took app_id and app_secret".to_owned()),
                Err(outcome) => Err(outcome.reason().cloned().unwrap_or_else(|| {
                    Reason::new("credential", "the token endpoint gave no credential")
                })),
            }
        })
    }

    fn advice(&self) -> Vec<Cow<'static, str>> {
        let config = &self.messages.config;
        let mut advice = vec![Cow::Borrowed(
            "apply for the self-classification right of every category in use (AppGallery Connect, \
             Push Kit, Configuration): without it Huawei classifies by itself and marketing caps \
             apply",
        )];
        if config.badge_class.is_none() {
            advice.push("set badge_class to the launcher activity, or badges are not sent".into());
        }
        if config.receipt_id.is_none() {
            advice.push(
                "enable message receipts (version V2) in the console: uninstalled apps are \
                 otherwise learned of only by failed sends"
                    .into(),
            );
        }
        if config.test_user {
            advice.push("test_user is on: Huawei takes 500 messages a day and no more".into());
        }
        advice
    }
}

#[cfg(test)]
mod tests;
