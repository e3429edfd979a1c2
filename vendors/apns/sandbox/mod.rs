//! APNs as Apple documents it, for the sandbox: every rule that a document states is kept.
//!
//! Where Apple would take a push and silently not show it (a payload that does not go with its push
//! type), this refuses it, because a test must see it. Deliberately absent: certificates.

mod rules;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value, json};

use crate::sandbox::phones::{Lookup, millis};
use crate::sandbox::{After, Exchange, Phones, Reply, ShownPush, Simulator};
use tokens::Tokens;

const VENDOR: &str = "apns";
const TOPIC: &str = "com.example.chat";
const PATH: &str = "/3/device/";

/// What a connection may open after its first good token; apps have seen 1000
/// (github.com/jchambers/pushy/issues/878, read 2026-11-22).
const STREAMS: u32 = 1000;

/// Why a push is refused: Apple's status and reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused(u16, &'static str);

/// "Handling notification responses from APNs", developer.apple.com, read 2026-11-22; the second
/// spelling of the environment error from github.com/swift-server-community/APNSwift/pull/229.
const REASONS: &[Refused] = &[
    Refused(400, "BadCollapseId"),
    Refused(400, "BadDeviceToken"),
    Refused(400, "BadExpirationDate"),
    Refused(400, "BadMessageId"),
    Refused(400, "BadPriority"),
    Refused(400, "BadTopic"),
    Refused(400, "DeviceTokenNotForTopic"),
    Refused(400, "DuplicateHeaders"),
    Refused(400, "IdleTimeout"),
    Refused(400, "InvalidPushType"),
    Refused(400, "MissingDeviceToken"),
    Refused(400, "MissingTopic"),
    Refused(400, "PayloadEmpty"),
    Refused(400, "TopicDisallowed"),
    Refused(403, "BadCertificate"),
    Refused(403, "BadCertificateEnvironment"),
    Refused(403, "BadEnvironmentKeyIdInToken"),
    Refused(403, "BadEnvironmentKeyInToken"),
    Refused(403, "ExpiredProviderToken"),
    Refused(403, "Forbidden"),
    Refused(403, "InvalidProviderToken"),
    Refused(403, "MissingProviderToken"),
    Refused(403, "UnrelatedKeyIdInToken"),
    Refused(404, "BadPath"),
    Refused(405, "MethodNotAllowed"),
    Refused(410, "ExpiredToken"),
    Refused(410, "Unregistered"),
    Refused(413, "PayloadTooLarge"),
    Refused(429, "TooManyProviderTokenUpdates"),
    Refused(429, "TooManyRequests"),
    Refused(500, "InternalServerError"),
    Refused(503, "ServiceUnavailable"),
    Refused(503, "Shutdown"),
];

/// APNs for one team, one key and one app.
pub(super) struct ApnsSimulator {
    tokens: Tokens,
}

impl ApnsSimulator {
    pub(super) fn new() -> Self {
        ApnsSimulator { tokens: Tokens::new() }
    }

    /// The device's token, and whether this is the first good provider token on its connection.
    fn admit<'a>(&self, exchange: &Exchange<'a>) -> Result<(&'a str, bool), Refused> {
        let token = device(exchange)?;
        Ok((token, self.tokens.check(exchange)?))
    }
}

fn take(token: &str, exchange: &Exchange<'_>, phones: &Phones) -> Result<Reply, Refusal> {
    let headers = rules::Headers::check(exchange.headers, TOPIC)?;
    let payload = rules::payload(exchange.body, &headers)?;
    // APNs takes the digits in either case; phones are known by lower ones.
    let token = token.to_ascii_lowercase();
    match phones.look_up(VENDOR, &token) {
        Lookup::Unknown => return Err(Refused(400, "BadDeviceToken").into()),
        Lookup::Uninstalled(at) => return Err(Refusal::Gone(at)),
        Lookup::Installed => {}
    }
    let id = headers.id.map_or_else(|| made_up_id(exchange), str::to_owned);
    if rules::is_alert(headers.push_type) {
        phones.show(VENDOR, &token, None, render(&payload, &headers, &id), exchange.now);
    } else {
        phones.drop_push(VENDOR, &token, "not an alert", &id, exchange.now);
    }
    Ok(Reply { headers: with_id(&id), ..Reply::empty(200) })
}

/// A refusal, which for a dead token says since when.
enum Refusal {
    Plain(Refused),
    Gone(SystemTime),
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Refusal::Plain(refused)
    }
}

impl Simulator for ApnsSimulator {
    fn alpn(&self) -> &'static [&'static str] {
        &["h2"]
    }

    fn first_streams(&self) -> u32 {
        1
    }

    fn token(&self, serial: u64) -> String {
        // 32 bytes, as today's devices have; spread so that no two look alike.
        let spread = |salt: u64| (serial ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        let parts = [1, 2, 3].map(|salt| spread(salt * 0x0101_0101_0101));
        format!("{:016x}{:016x}{:016x}{serial:016x}", parts[0], parts[1], parts[2])
    }

    fn lane(&self, base_url: &str) -> toml::Table {
        let pairs = [
            ("team_id", tokens::TEAM),
            ("key_id", tokens::KEY_ID),
            ("key", self.tokens.private_pem()),
            ("topic", TOPIC),
            ("environment", "production"),
            ("base_url", base_url),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    fn answer(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        let (token, first) = match self.admit(exchange) {
            Ok(admitted) => admitted,
            Err(refused) => return refuse(refused, None, exchange),
        };
        let mut reply = match take(token, exchange, phones) {
            Ok(reply) => reply,
            Err(Refusal::Plain(refused)) => refuse(refused, None, exchange),
            Err(Refusal::Gone(at)) => refuse(Refused(410, "Unregistered"), Some(at), exchange),
        };
        if first {
            reply.after = After::AllowStreams(STREAMS);
        }
        reply
    }

    fn refusal(&self, code: &str, exchange: &Exchange<'_>) -> Reply {
        let known = REASONS.iter().find(|Refused(_, reason)| *reason == code);
        match known {
            Some(refused @ Refused(410, _)) => refuse(*refused, Some(exchange.now), exchange),
            Some(refused) => refuse(*refused, None, exchange),
            // A reason that Apple may invent tomorrow.
            None => with_reason(400, &json!({ "reason": code }), exchange),
        }
    }

    fn too_many(&self, _quota: bool, after: Option<u64>, exchange: &Exchange<'_>) -> Reply {
        let mut reply = refuse(Refused(429, "TooManyRequests"), None, exchange);
        // Apple documents no such header; it is sent only because the tester asked for it.
        if let Some(secs) = after {
            reply.headers.insert(header::RETRY_AFTER, secs.into());
        }
        reply
    }

    fn expire_credentials(&self) {
        self.tokens.expire_seen();
    }
}

fn device<'a>(exchange: &Exchange<'a>) -> Result<&'a str, Refused> {
    let token = exchange.uri.path().strip_prefix(PATH).ok_or(Refused(404, "BadPath"))?;
    if exchange.method != Method::POST {
        return Err(Refused(405, "MethodNotAllowed"));
    }
    if token.is_empty() {
        return Err(Refused(400, "MissingDeviceToken"));
    }
    if exchange.uri.query().is_some() || token.contains('/') {
        return Err(Refused(404, "BadPath"));
    }
    let hex = token.bytes().all(|byte| byte.is_ascii_hexdigit()) && token.len() % 2 == 0;
    if hex { Ok(token) } else { Err(Refused(400, "BadDeviceToken")) }
}

fn refuse(refused: Refused, since: Option<SystemTime>, exchange: &Exchange<'_>) -> Reply {
    let Refused(status, reason) = refused;
    let body = match since {
        Some(since) => json!({ "reason": reason, "timestamp": millis(since) }),
        None => json!({ "reason": reason }),
    };
    with_reason(status, &body, exchange)
}

fn with_reason(status: u16, body: &Value, exchange: &Exchange<'_>) -> Reply {
    let asked = exchange.headers.get("apns-id").and_then(|id| id.to_str().ok());
    let id = asked.map_or_else(|| made_up_id(exchange), str::to_owned);
    let mut reply = Reply::json(status, body);
    reply.headers.extend(with_id(&id));
    reply
}

fn with_id(id: &str) -> http::HeaderMap {
    let mut headers = http::HeaderMap::with_capacity(2);
    // An id that cannot be a header came from no header; it is made up and always fits.
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("apns-id"), value);
    }
    headers
}

/// APNs invents an id where the provider gave none.
fn made_up_id(exchange: &Exchange<'_>) -> String {
    let n = millis(exchange.now);
    format!("00000000-0000-4000-8000-{:012x}", (n ^ exchange.connection << 32) & 0xffff_ffff_ffff)
}

/// What the phone shows: the alert, and the sender's picture if the app's extension may run.
fn render(payload: &Map<String, Value>, headers: &rules::Headers<'_>, id: &str) -> ShownPush {
    let aps = &payload["aps"];
    let alert = &aps["alert"];
    let line = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let (title, body) = match alert.as_str() {
        Some(text) => (String::new(), text.to_owned()),
        None => (line("title"), line("body")),
    };
    let picture = payload.get("posthorn").and_then(|ours| ours["from"]["avatar"].as_str());
    let image = picture.filter(|_| aps["mutable-content"] == 1).map(str::to_owned);
    ShownPush {
        title,
        body,
        image,
        badge: aps["badge"].as_u64().and_then(|badge| badge.try_into().ok()),
        tag: headers.collapse_id.map(str::to_owned),
        data: handed_to_app(payload),
        vendor_ref: id.to_owned(),
        received_at: 0,
    }
}

/// Everything beside `aps`; what is no text is given as JSON.
fn handed_to_app(payload: &Map<String, Value>) -> BTreeMap<String, String> {
    let custom = payload.iter().filter(|(key, _)| *key != "aps");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    custom.map(|(key, value)| (key.clone(), text(value))).collect()
}
