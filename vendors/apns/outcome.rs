//! What an APNs answer means.
//!
//! The reasons are those of "Handling notification responses from APNs"
//! (developer.apple.com/documentation/usernotifications, read 2026-11-22). A reason that is not
//! listed is judged by its status and kept in its own words.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::{Outcome, Reason, Scope};

/// How long a device rests that got too much, when APNs does not say (ours; Apple names no figure).
const DEVICE_REST: Duration = Duration::from_secs(20);

/// "more than once every 20 minutes" draws TooManyProviderTokenUpdates; the same page.
const TOKEN_REST: Duration = Duration::from_secs(20 * 60);

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    /// Milliseconds; only with 410.
    #[serde(default)]
    timestamp: Option<u64>,
}

fn refusal(body: &[u8]) -> Option<Refusal<'_>> {
    serde_json::from_slice(body).ok()
}

/// One answer's outcome.
pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    if status == StatusCode::OK {
        let id = headers.get("apns-id").and_then(|id| id.to_str().ok());
        return Outcome::Accepted { vendor_ref: id.map(str::to_owned) };
    }
    // APNs always names a reason; whatever does not may be a proxy in between.
    let Some(refusal) = refusal(body) else {
        let hint = format!("HTTP {} without a reason; not an answer of APNs", status.as_u16());
        return Outcome::Retry { after: None, reason: Reason::new("malformed_answer", hint) };
    };
    let since = refusal
        .timestamp
        .and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    judge(status, &refusal.reason, since, retry_after(headers))
}

fn judge(
    status: StatusCode,
    reason: &str,
    since: Option<SystemTime>,
    wait: Option<Duration>,
) -> Outcome {
    let why = |hint: &'static str| Reason::new(reason.to_owned(), hint);
    let dead = |certain, hint| Outcome::Unregistered { since, certain, reason: why(hint) };
    let lane = |hint| Outcome::Unauthorized { reason: why(hint) };
    let ours = |hint| Outcome::Rejected { reason: why(hint) };
    // Apple advises to wait 15 minutes after a 5xx. For a chat message that is too late to be of
    // use, so no delay is named here and the caller's own schedule decides.
    let later = |hint| Outcome::Retry { after: None, reason: why(hint) };
    match reason {
        "Unregistered" => dead(true, "the app is no longer on this device"),
        "ExpiredToken" => dead(true, "the device token has expired"),
        "BadDeviceToken" => {
            dead(false, "no token of this environment; sandbox and production may be mixed up")
        }
        "DeviceTokenNotForTopic" => dead(false, "the token belongs to another app than `topic`"),

        "ExpiredProviderToken" => lane("the provider token is too old; check this machine's clock"),
        "InvalidProviderToken" => lane("check team_id, key_id and key, and that it is not revoked"),
        "MissingProviderToken" => lane("APNs saw neither a provider token nor a certificate"),
        "UnrelatedKeyIdInToken" => lane("this key may not be used beside the key used before"),
        // Apple documents the first spelling, the wire has shown the second
        // (github.com/swift-server-community/APNSwift/pull/229, read 2026-11-22).
        "BadEnvironmentKeyIdInToken" | "BadEnvironmentKeyInToken" => {
            lane("this key is for the other environment; check `environment`")
        }
        "BadCertificate" => lane("the certificate is not accepted"),
        "BadCertificateEnvironment" => lane("the certificate is for the other environment"),
        "Forbidden" => lane("APNs forbids this action to this credential"),
        "BadTopic" | "MissingTopic" => lane("`topic` is not a valid bundle id"),
        "TopicDisallowed" => lane("this credential may not push to `topic`"),

        "TooManyRequests" => Outcome::Throttled {
            after: wait.unwrap_or(DEVICE_REST),
            scope: Scope::Device,
            reason: why("too many pushes in a row to this device"),
        },
        "TooManyProviderTokenUpdates" => Outcome::Throttled {
            after: TOKEN_REST,
            scope: Scope::Lane,
            reason: why("the provider token changed too often; is the key used elsewhere too?"),
        },

        "PayloadTooLarge" => ours("the payload is longer than 4096 bytes"),
        "BadCollapseId" => ours("the collapse id is longer than 64 bytes"),
        "BadExpirationDate" => ours("apns-expiration is not a time"),
        "BadMessageId" => ours("apns-id is not a UUID"),
        "BadPriority" => ours("apns-priority does not go with this push"),
        "InvalidPushType" => ours("apns-push-type does not go with this payload"),
        "DuplicateHeaders" => ours("a header was sent twice"),
        "PayloadEmpty" => ours("the payload is empty"),
        "MissingDeviceToken" => ours("the path holds no device token"),
        "BadPath" => ours("the path is wrong"),
        "MethodNotAllowed" => ours("the method is wrong"),

        "IdleTimeout" => later("the connection was idle for too long"),
        "InternalServerError" => later("an error inside APNs"),
        "ServiceUnavailable" => later("APNs is not available"),
        "Shutdown" => later("this APNs server is going down"),
        _ => by_status(status, why("a reason unknown to this version, judged by its status"), wait),
    }
}

fn by_status(status: StatusCode, reason: Reason, wait: Option<Duration>) -> Outcome {
    match status.as_u16() {
        403 => Outcome::Unauthorized { reason },
        410 => Outcome::Unregistered { since: None, certain: false, reason },
        429 => {
            let after = wait.unwrap_or(DEVICE_REST);
            Outcome::Throttled { after, scope: Scope::Device, reason }
        }
        400..=499 => Outcome::Rejected { reason },
        _ => Outcome::Retry { after: wait, reason },
    }
}

/// APNs does not document Retry-After; a proxy before it may send one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let secs = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(secs))
}

/// What the adapter can do about an answer before it reports it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// Send again on another connection; this one is of no use any more.
    OtherConnection,
    /// Report it, and do not use this connection again.
    LeaveConnection,
    /// Sign a new token and send again.
    NewToken,
    /// Send again if the token was replaced while the request was in the air.
    IfTokenChanged,
}

/// The remedy for an answer.
pub(super) fn remedy(status: StatusCode, body: &[u8]) -> Remedy {
    if status == StatusCode::OK {
        return Remedy::None;
    }
    match refusal(body).as_ref().map(|refusal| refusal.reason.as_ref()) {
        Some("ExpiredProviderToken") => Remedy::NewToken,
        Some("InvalidProviderToken" | "MissingProviderToken") => Remedy::IfTokenChanged,
        Some("Shutdown" | "IdleTimeout" | "UnrelatedKeyIdInToken") => Remedy::OtherConnection,
        Some("TooManyProviderTokenUpdates") => Remedy::LeaveConnection,
        _ => Remedy::None,
    }
}
