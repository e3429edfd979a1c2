//! What APNs wants of headers and payload.
//!
//! "Sending notification requests to APNs" and "Generating a remote notification",
//! developer.apple.com/documentation/usernotifications, read 2026-11-22.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::Refused;

const MAX_PAYLOAD: usize = 4096;
const MAX_COLLAPSE_ID: usize = 64;

const PUSH_TYPES: &[&str] = &[
    "alert",
    "background",
    "complication",
    "controls",
    "fileprovider",
    "liveactivity",
    "location",
    "mdm",
    "pushtotalk",
    "voip",
    "widgets",
];

/// A request's headers, all good.
pub(super) struct Headers<'a> {
    pub(super) push_type: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) collapse_id: Option<&'a str>,
}

impl<'a> Headers<'a> {
    pub(super) fn check(headers: &'a HeaderMap, topic: &str) -> Result<Self, Refused> {
        let twice = headers.keys().any(|name| headers.get_all(name).iter().nth(1).is_some());
        if twice {
            return Err(Refused(400, "DuplicateHeaders"));
        }
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        let push_type = text("apns-push-type").filter(|kind| PUSH_TYPES.contains(kind));
        let push_type = push_type.ok_or(Refused(400, "InvalidPushType"))?;
        match text("apns-topic") {
            None => return Err(Refused(400, "MissingTopic")),
            Some("") => return Err(Refused(400, "BadTopic")),
            Some(given) if given != topic => return Err(Refused(400, "TopicDisallowed")),
            Some(_) => {}
        }
        match text("apns-priority") {
            None | Some("1" | "5") => {}
            Some("10") if push_type != "background" => {}
            Some(_) => return Err(Refused(400, "BadPriority")),
        }
        if text("apns-expiration").is_some_and(|at| !is_seconds(at)) {
            return Err(Refused(400, "BadExpirationDate"));
        }
        let id = text("apns-id");
        if id.is_some_and(|id| !is_canonical_uuid(id)) {
            return Err(Refused(400, "BadMessageId"));
        }
        let collapse_id = text("apns-collapse-id");
        if collapse_id.is_some_and(|id| id.is_empty() || id.len() > MAX_COLLAPSE_ID) {
            return Err(Refused(400, "BadCollapseId"));
        }
        Ok(Headers { push_type, id, collapse_id })
    }
}

/// Whether a phone shows pushes of this type.
pub(super) fn is_alert(push_type: &str) -> bool {
    push_type == "alert"
}

/// Seconds since 1970. Thirteen digits are milliseconds, a mistake that Apple would take for the
/// year 50000.
fn is_seconds(at: &str) -> bool {
    (1..=11).contains(&at.len()) && at.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_canonical_uuid(id: &str) -> bool {
    let mut places = id.bytes().enumerate();
    id.len() == 36
        && places.all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The payload, if it is one and goes with its push type.
pub(super) fn payload(body: &Bytes, headers: &Headers<'_>) -> Result<Map<String, Value>, Refused> {
    if body.len() > MAX_PAYLOAD {
        return Err(Refused(413, "PayloadTooLarge"));
    }
    // Apple documents no reason for a body that is not JSON; it is as good as none.
    let payload = serde_json::from_slice::<Map<String, Value>>(body);
    let payload = payload.map_err(|_| Refused(400, "PayloadEmpty"))?;
    let aps = payload.get("aps").and_then(Value::as_object).ok_or(Refused(400, "PayloadEmpty"))?;
    let fits = match headers.push_type {
        "alert" => has_alert(aps) && is_well_typed(aps),
        "background" => aps.get("content-available") == Some(&1.into()) && !has_alert(aps),
        _ => true,
    };
    if fits { Ok(payload) } else { Err(Refused(400, "InvalidPushType")) }
}

fn has_alert(aps: &Map<String, Value>) -> bool {
    let texts = ["title", "subtitle", "body", "loc-key", "title-loc-key", "subtitle-loc-key"];
    match aps.get("alert") {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(alert)) => texts.iter().any(|key| alert.contains_key(*key)),
        _ => false,
    }
}

/// Keys of a wrong type are ignored by the phone; here they are refused, so that a test sees them.
fn is_well_typed(aps: &Map<String, Value>) -> bool {
    aps.iter().all(|(key, value)| match key.as_str() {
        "alert" => true,
        "badge" => value.is_u64(),
        "sound" => value.is_string() || value.is_object(),
        "mutable-content" | "content-available" => *value == 1 || *value == 0,
        "interruption-level" => {
            matches!(value.as_str(), Some("passive" | "active" | "time-sensitive" | "critical"))
        }
        "relevance-score" => value.as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)),
        "thread-id" | "category" | "target-content-id" | "filter-criteria" => value.is_string(),
        _ => false,
    })
}
