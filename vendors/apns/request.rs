//! The head of an APNs request, with whatever is the same for the whole lane made once.
//!
//! Headers as in "Sending notification requests to APNs" (developer.apple.com, read 2026-11-22).

use std::fmt::Write;
use std::time::SystemTime;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::payload::Overrides;
use crate::{Class, Outcome, Push, Reason};

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const TOPIC: HeaderName = HeaderName::from_static("apns-topic");

/// Makes the heads of one lane's requests.
pub(super) struct Requests {
    authority: Authority,
    topic: HeaderValue,
}

/// What can be told without asking APNs.
pub(super) fn check(push: &Push) -> Result<(), Outcome> {
    let token = push.token.expose();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        // Every BadDeviceToken costs throughput, so one that cannot be right is not sent.
        let reason = Reason::new("BadDeviceToken", "not hex digits, so no APNs token; not sent");
        return Err(Outcome::Unregistered { since: None, certain: true, reason });
    }
    match Overrides::read(&push.notification.overrides) {
        Ok(_) => Ok(()),
        Err(key) => {
            let hint = format!("the apns override `{key}` is unknown or has a wrong value");
            Err(Outcome::rejected("bad_override", hint))
        }
    }
}

impl Requests {
    pub(super) fn new(authority: Authority, topic: HeaderValue) -> Self {
        Requests { authority, topic }
    }

    /// The head of a push's request; the credential is added when it is written.
    pub(super) fn head(&self, push: &Push) -> Request<()> {
        let mut headers = HeaderMap::with_capacity(9);
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static("alert"));
        headers.insert(PRIORITY, HeaderValue::from_static(priority(push)));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let expires = push.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        headers.insert(EXPIRATION, unique(expires.as_secs().into()));
        headers.insert(APNS_ID, unique(ascii(push.push_id.uuid())));
        headers.insert(COLLAPSE_ID, unique(ascii(push.slot_id.hex())));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri(push.token.expose());
        *request.headers_mut() = headers;
        request
    }

    fn uri(&self, token: &str) -> Uri {
        const PREFIX: &str = "/3/device/";
        let mut path = String::with_capacity(PREFIX.len() + token.len());
        path.push_str(PREFIX);
        for byte in token.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                path.push(byte.into());
            } else {
                write!(path, "%{byte:02X}").expect("writing to a string never fails");
            }
        }
        let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.expect("escaped above"));
        Uri::from_parts(parts).expect("all three parts are there")
    }
}

fn priority(push: &Push) -> &'static str {
    let asked = Overrides::of(push).priority;
    match (asked, push.notification.class) {
        (Some(1), _) => "1",
        (Some(5), _) => "5",
        (Some(_), _) => "10",
        (None, Class::Im | Class::Call | Class::FriendRequest | Class::System) => "10",
        (None, Class::Marketing) => "5",
    }
}

/// Different in every request, so it would only push the useful entries out of HPACK's table of
/// 4096 bytes; Apple advises the same.
fn unique(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("hex digits and dashes always fit a header")
}
