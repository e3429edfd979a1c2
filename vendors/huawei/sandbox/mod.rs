//! Huawei's side of the wire: the token endpoint and the send endpoint on one host.
//!
//! Field rules as at developer.huawei.com/consumer/cn/doc/HMSCore-References/https-send-api-0000001050986197
//! (read 2026-11-22), unknown fields refused. The statuses that go with the codes are not
//! documented; adapters must read the code. Deliberately absent: topics, conditions and web push.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;

use self::message::{Sent, Wrong};
use super::SPEC;
use super::request::MAX_BYTES;
use crate::sandbox::phones::{Lookup, Phone, Phones, ShownPush, millis};
use crate::sandbox::{Exchange, ReceiptKind, Reply, Simulator};

mod message;

const APP_ID: &str = "100000001";
const APP_SECRET: &str = "sandbox+secret/==";
const PACKAGE: &str = "com.example.im";
const TOKEN_PATH: &str = "/oauth2/v3/token";
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// User name and key of the console's receipt form.
const CALLBACK_USER: &str = "relay-callback";
const CALLBACK_KEY: &[u8] = b"sandbox-callback-key";
/// Receipts can be asked for this many of the latest messages.
const REMEMBERED: usize = 100_000;

/// The simulator.
#[derive(Default)]
pub(super) struct HuaweiHost {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Every credential handed out, and when it ends.
    credentials: HashMap<String, SystemTime>,
    /// Counts credentials and requests.
    serial: u64,
    /// The `bi_tag` of each request, for its receipts.
    bi_tags: BTreeMap<String, String>,
}

impl HuaweiHost {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `POST /oauth2/v3/token`.
    fn grant(&self, exchange: &Exchange<'_>) -> Reply {
        let form: HashMap<String, String> =
            form_urlencoded::parse(exchange.body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str);
        let denied = |sub_error, why: &str| {
            let body = json!({"error": 1101, "sub_error": sub_error, "error_description": why});
            Reply::json(400, &body)
        };
        if exchange.method != Method::POST || !says(exchange, "application/x-www-form-urlencoded") {
            return denied(20001, "want a form by POST");
        }
        match (field("grant_type"), field("client_id"), field("client_secret")) {
            (Some("client_credentials"), Some(APP_ID), Some(APP_SECRET)) => {
                let credential = self.lock().new_credential(exchange.now);
                let lifetime = TOKEN_LIFETIME.as_secs();
                Reply::json(
                    200,
                    &json!({"access_token": credential, "expires_in": lifetime, "token_type": "Bearer"}),
                )
            }
            (Some("client_credentials"), Some(APP_ID), Some("") | None) => {
                denied(20171, "client_secret is empty")
            }
            (Some("client_credentials"), Some(APP_ID), Some(_)) => denied(12304, "wrong secret"),
            (Some("client_credentials"), _, _) => denied(20003, "client_id is unknown"),
            _ => denied(20001, "grant_type must be client_credentials"),
        }
    }

    /// `POST /v1/{app_id}/messages:send`.
    fn send(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        if let Err(Wrong(code, why)) = self.authorised(exchange) {
            return self.say(code, &why);
        }
        if exchange.method != Method::POST || !says(exchange, "application/json") {
            return self.say("80100003", "want JSON by POST");
        }
        match message::read(exchange.body, MAX_BYTES) {
            Ok(sent) if sent.validate_only => self.say("80000000", "Success"),
            Ok(sent) => self.deliver(&sent, phones, exchange.now),
            Err(Wrong(code, why)) => self.say(code, &why),
        }
    }

    fn authorised(&self, exchange: &Exchange<'_>) -> Result<(), Wrong> {
        let given = exchange.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let credential = given.and_then(|value| value.strip_prefix("Bearer "));
        match credential.and_then(|credential| self.lock().credentials.get(credential).copied()) {
            None => Err(Wrong("80200001", "Oauth authentication error".to_owned())),
            Some(end) if end <= exchange.now => {
                Err(Wrong("80200003", "Oauth token expired".to_owned()))
            }
            Some(_) => Ok(()),
        }
    }

    fn deliver(&self, sent: &Sent, phones: &Phones, now: SystemTime) -> Reply {
        let request_id = self.lock().new_request(sent.bi_tag.as_deref());
        let mut illegal = Vec::new();
        for token in &sent.tokens {
            match phones.look_up(SPEC.id, token) {
                Lookup::Installed => {
                    let push = ShownPush { vendor_ref: request_id.clone(), ..sent.shown.clone() };
                    phones.show(SPEC.id, token, None, push, now);
                }
                Lookup::Uninstalled(_) | Lookup::Unknown => illegal.push(token),
            }
        }
        let failure = illegal.len();
        let success = sent.tokens.len() - failure;
        let (code, msg) = match (success, failure) {
            (_, 0) => ("80000000", "Success".to_owned()),
            (0, _) => ("80300007", "All the tokens are invalid".to_owned()),
            _ => {
                let list =
                    json!({"success": success, "failure": failure, "illegal_tokens": illegal});
                ("80100000", list.to_string())
            }
        };
        Reply::json(status_of(code), &json!({"code": code, "msg": msg, "requestId": request_id}))
    }

    fn say(&self, code: &str, msg: &str) -> Reply {
        let request_id = self.lock().new_request(None);
        Reply::json(status_of(code), &json!({"code": code, "msg": msg, "requestId": request_id}))
    }
}

impl State {
    fn new_credential(&mut self, now: SystemTime) -> String {
        self.serial += 1;
        // Real ones hold slashes, which the vendor's JSON escapes.
        let credential = format!("sandbox/access+token/{}==", self.serial);
        self.credentials.retain(|_, end| now < *end + TOKEN_LIFETIME);
        self.credentials.insert(credential.clone(), now + TOKEN_LIFETIME);
        credential
    }

    fn new_request(&mut self, bi_tag: Option<&str>) -> String {
        self.serial += 1;
        let request_id = format!("{:018}", 157_000_000_000_000_000 + self.serial);
        if let Some(bi_tag) = bi_tag {
            self.bi_tags.insert(request_id.clone(), bi_tag.to_owned());
            if self.bi_tags.len() > REMEMBERED {
                self.bi_tags.pop_first();
            }
        }
        request_id
    }
}

impl Simulator for HuaweiHost {
    /// 130 characters of the alphabet of real ones.
    fn token(&self, serial: u64) -> String {
        format!("IQAAAACy0{serial:0>12}{:A<109}", "sandbox-Posthorn_")
    }

    fn lane(&self, base_url: &str) -> toml::Table {
        let keys = [
            ("app_id", APP_ID.to_owned()),
            ("app_secret", APP_SECRET.to_owned()),
            ("badge_class", format!("{PACKAGE}.MainActivity")),
            ("base_url", base_url.to_owned()),
            ("token_url", format!("{base_url}{TOKEN_PATH}")),
        ];
        keys.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    fn answer(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        match exchange.uri.path() {
            TOKEN_PATH => self.grant(exchange),
            path if path == format!("/v1/{APP_ID}/messages:send") => self.send(exchange, phones),
            _ => Reply::empty(404),
        }
    }

    fn refusal(&self, code: &str, exchange: &Exchange<'_>) -> Reply {
        match code.parse::<u16>() {
            Ok(status) if (400..600).contains(&status) => Reply::empty(status),
            _ if self.is_credential_request(exchange.uri.path()) => {
                Reply::json(400, &json!({"error": 1101, "sub_error": code.parse::<u64>().ok()}))
            }
            _ => self.say(code, "a fault of the sandbox"),
        }
    }

    /// 503 for the rate. The only daily quota with a code is that of test messages; a device's is
    /// told of in receipts alone.
    fn too_many(
        &self,
        quota: bool,
        retry_after_secs: Option<u64>,
        _exchange: &Exchange<'_>,
    ) -> Reply {
        let mut reply = if quota {
            self.say("80300029", "the test messages of the day are used up")
        } else {
            Reply::empty(503)
        };
        if let Some(secs) = retry_after_secs {
            reply.headers.insert(header::RETRY_AFTER, secs.into());
        }
        reply
    }

    fn expire_credentials(&self) {
        for end in self.lock().credentials.values_mut() {
            *end = SystemTime::UNIX_EPOCH;
        }
    }

    fn is_credential_request(&self, path: &str) -> bool {
        path == TOKEN_PATH
    }

    /// Version V2; Huawei reports no taps.
    fn receipt(
        &self,
        phone: &Phone,
        shown: &ShownPush,
        kind: ReceiptKind,
        now: SystemTime,
    ) -> Option<(HeaderMap, Bytes)> {
        let result = match kind {
            ReceiptKind::Delivered => 0,
            ReceiptKind::Uninstalled => 2,
            ReceiptKind::Clicked => return None,
        };
        let bi_tag = self.lock().bi_tags.get(&shown.vendor_ref).cloned().unwrap_or_default();
        let body = json!({"statuses": [{
            "biTag": bi_tag,
            "pushType": 0,
            "token": phone.token,
            "requestId": shown.vendor_ref,
            "appPackageName": PACKAGE,
            "deliveryStatus": {"result": result, "timestamp": millis(now)},
        }]});
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let nonce = format!("{}-{result}", shown.vendor_ref);
        let signature = callback_id(millis(now), &nonce, CALLBACK_USER, CALLBACK_KEY);
        let signature = HeaderValue::try_from(signature).expect("digits and base64 only");
        headers.insert("x-huawei-callback-id", signature);
        Some((headers, Bytes::from(body.to_string())))
    }
}

/// The header `X-HUAWEI-CALLBACK-ID`
/// (developer.huawei.com/consumer/cn/doc/harmonyos-guides/push-msg-receipt, 2026-04-20).
fn callback_id(timestamp: u64, nonce: &str, user: &str, key: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{timestamp}{nonce}{user}").as_bytes());
    format!("timestamp={timestamp}; nonce={nonce}; value={}", STANDARD.encode(tag))
}

fn says(exchange: &Exchange<'_>, content_type: &str) -> bool {
    let given = exchange.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    given.is_some_and(|given| given.split(';').next() == Some(content_type))
}

fn status_of(code: &str) -> u16 {
    match code.get(..4) {
        Some("8020") => 401,
        Some("8060" | "8100") => 500,
        _ if matches!(code, "80000000" | "80100000") => 200,
        _ => 400,
    }
}

#[cfg(test)]
mod tests;
