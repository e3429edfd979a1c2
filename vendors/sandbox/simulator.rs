//! What a vendor's simulator is: one pure step from request to reply, with the phones as its world.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::phones::{Phone, Phones, ShownPush};

/// A vendor's own side of the wire, as strict as its documents.
pub trait Simulator: Send + Sync {
    /// The protocols the vendor speaks, as ALPN names, most wanted first.
    fn alpn(&self) -> &'static [&'static str] {
        &["http/1.1"]
    }

    /// How many streams an HTTP/2 connection may open at first; `After::AllowStreams` changes it.
    fn first_streams(&self) -> u32 {
        100
    }

    /// A new phone's token, in the vendor's real shape. `serial` differs for every phone.
    fn token(&self, serial: u64) -> String;

    /// The vendor's part of a lane's configuration that reaches this simulator at `base_url`
    /// (scheme, host and port, no slash at the end), with literal keys. `vendor`, `ca` and
    /// `receipt_key` are added by the sandbox.
    fn lane(&self, base_url: &str) -> toml::Table;

    /// The vendor's answer to one request.
    fn answer(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply;

    /// The vendor's own way to refuse this request with `code` (a fault set by the tester): the
    /// documented status and body for that code.
    fn refusal(&self, code: &str, exchange: &Exchange<'_>) -> Reply;

    /// The vendor's own way to say "too many requests", and "the quota is used up" (`quota`).
    fn too_many(
        &self,
        quota: bool,
        retry_after_secs: Option<u64>,
        exchange: &Exchange<'_>,
    ) -> Reply;

    /// From now on every credential handed out or seen so far counts as expired.
    fn expire_credentials(&self);

    /// Whether this request asks for a credential; a `hang` leaves those alone.
    fn is_credential_request(&self, _path: &str) -> bool {
        false
    }

    /// The receipt this vendor would post: headers and body. `None` where it has no receipts.
    fn receipt(
        &self,
        _phone: &Phone,
        _shown: &ShownPush,
        _kind: ReceiptKind,
        _now: SystemTime,
    ) -> Option<(HeaderMap, Bytes)> {
        None
    }
}

/// One request, complete.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Counts connections, so that rules "per connection" can be kept.
    pub connection: u64,
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a Bytes,
    /// When it arrived.
    pub now: SystemTime,
}

/// What the vendor answers.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beside the length.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What happens to the connection next.
    pub after: After,
}

/// What a reply does to its connection (HTTP/2 only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Keep,
    /// The peer may now open this many streams.
    AllowStreams(u32),
    /// GOAWAY: what is in the air is finished, nothing new is taken.
    GoAway,
}

impl Reply {
    /// A JSON reply.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        headers
            .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: Bytes::from(body.to_string()),
            after: After::Keep,
        }
    }

    /// A reply without a body.
    pub fn empty(status: u16) -> Self {
        Reply { body: Bytes::new(), headers: HeaderMap::new(), ..Reply::json(status, &().into()) }
    }
}

/// What a receipt reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptKind {
    /// The phone showed it.
    Delivered,
    /// The user tapped it.
    Clicked,
    /// The app is gone.
    Uninstalled,
}
