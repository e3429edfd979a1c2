//! What Huawei's answer says of each push.
//!
//! The body decides whatever the status, because partial success comes with 200 and some gateways
//! on the way rewrite statuses; the status decides when there is no readable code.
//! Codes: <https://developer.huawei.com/consumer/cn/doc/HMSCore-References/https-send-api-0000001050986197>,
//! read 2026-11-22.

use std::collections::HashSet;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::kit::codes::{self, Class, Row};
use crate::{Batch, Outcome, Reason};

const SUCCESS: &str = "80000000";
const PARTIAL: &str = "80100000";

/// The vendor says that the credential has ended. 80200001 can also be a lasting mismatch, which a
/// second refusal then shows.
const CREDENTIAL_ENDED: [&str; 4] = ["80200001", "80200003", "80200005", "http_401"];

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[rustfmt::skip]
const CODES: &[Row] = &[
    ("80000001", Class::Retry, "Huawei had an internal error"),
    ("80100001", Class::Refused, "Huawei refuses a parameter"),
    ("80100002", Class::Refused, "Huawei wants one token in this request"),
    ("80100003", Class::Refused, "Huawei refuses the structure of the message"),
    ("80100004", Class::Refused, "the message had expired when Huawei read it"),
    ("80100013", Class::Refused, "Huawei refuses the collapse key"),
    ("80100016", Class::Refused, "Huawei found sensitive content in the text"),
    ("80100017", Class::Wait(MINUTE), "too many topic tasks at once"),
    ("80100018", Class::Refused, "the content audit's signature does not match"),
    ("80100020", Class::Refused, "Huawei refuses a part of the structure"),
    ("80100022", Class::Refused, "the picture has not been audited; send without one"),
    ("80200001", Class::SetUp, "Huawei refuses a fresh credential; check that app_id and app_secret belong together"),
    ("80200003", Class::SetUp, "Huawei calls a fresh credential expired; check the clock"),
    ("80200005", Class::SetUp, "Huawei calls a fresh credential expired; check the clock"),
    ("80200006", Class::SetUp, "the credential was disabled in the console"),
    ("80300002", Class::SetUp, "the app may not send to these tokens; check that Push Kit is on, for overseas too, and that the project is the app's"),
    ("80300007", Class::PerhapsDead, "every token of the request is invalid, or belongs to another project"),
    ("80300008", Class::Refused, "the message is over 4,096 bytes; shorten the caller's data"),
    ("80300010", Class::Refused, "Huawei refuses the number of tokens in one request"),
    ("80300011", Class::SetUp, "the app has no right to high urgency"),
    ("80300013", Class::SetUp, "the console has no receipt with this receipt_id"),
    ("80300017", Class::Refused, "the tokens belong to several apps"),
    ("80300028", Class::Refused, "the tokens belong to another app"),
    ("80300029", Class::NextDay, "the day's test messages are used up; turn test_user off"),
    ("80300030", Class::Refused, "too many tokens for a test message; turn test_user off"),
    ("80300032", Class::Refused, "the app has no right to this call"),
    ("80300036", Class::SetUp, "the credential lives longer than a day"),
    ("80300037", Class::SetUp, "Huawei penalises the app; see the console"),
    ("80600003", Class::Retry, "Huawei could not check the credential"),
    ("81000001", Class::Retry, "Huawei had an internal error"),
    ("82000012", Class::SetUp, "the app's data is kept at another location"),
    ("82000013", Class::SetUp, "the app's data is kept at another location"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    code: Value,
    #[serde(default)]
    msg: Value,
    request_id: Option<String>,
}

/// What `msg` holds, as JSON in a text, when some tokens were refused.
#[derive(Deserialize)]
struct Refused {
    illegal_tokens: Vec<String>,
}

/// One outcome a push.
pub(super) fn read(
    batch: &Batch,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<Outcome> {
    let alike = |outcome| vec![outcome; batch.pushes.len()];
    let Some((code, said)) = code_of(body) else {
        return alike(by_status(batch, status, headers));
    };
    match code.as_str() {
        SUCCESS => alike(Outcome::Accepted { vendor_ref: said.request_id }),
        PARTIAL => partial(batch, &said),
        _ => alike(by_code(batch, status, headers, code)),
    }
}

/// Whether the first answer asks for another try with a fresh credential.
pub(super) fn wants_fresh_credential(outcomes: &[Outcome]) -> bool {
    match outcomes.first() {
        Some(Outcome::Unauthorized { reason }) => CREDENTIAL_ENDED.contains(&reason.code.as_ref()),
        _ => false,
    }
}

fn code_of(body: &[u8]) -> Option<(String, Said)> {
    let said: Said = serde_json::from_slice(body).ok()?;
    let code = match &said.code {
        Value::String(code) if !code.is_empty() => code.clone(),
        Value::Number(code) => code.to_string(),
        _ => return None,
    };
    Some((code, said))
}

/// The listed tokens were refused, the others taken. A list that cannot be read refuses nobody:
/// rather a lost notification than a lost token.
fn partial(batch: &Batch, said: &Said) -> Vec<Outcome> {
    let refused: Option<Refused> = match &said.msg {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Refused::deserialize(other).ok(),
    };
    let refused = refused.map(|refused| refused.illegal_tokens).unwrap_or_default();
    let refused: HashSet<&str> = refused.iter().map(|token| token.trim()).collect();
    let is_refused = |token: &crate::Token| refused.contains(token.expose());
    // That some were taken proves the project right, so the listed ones are dead for certain.
    let certain = !batch.pushes.iter().all(|push| is_refused(&push.token));
    let outcome = |push: &crate::Push| {
        if is_refused(&push.token) {
            let reason = Reason::new(PARTIAL, "Huawei lists this token as illegal");
            Outcome::Unregistered { since: None, certain, reason }
        } else {
            Outcome::Accepted { vendor_ref: said.request_id.clone() }
        }
    };
    batch.pushes.iter().map(outcome).collect()
}

fn by_code(batch: &Batch, status: StatusCode, headers: &HeaderMap, code: String) -> Outcome {
    let (class, hint) = match codes::find(CODES, &code) {
        Some(known) => known,
        None if code.starts_with("81") => (Class::Retry, "Huawei had an internal error"),
        None if code.starts_with("80") || code.starts_with("82") => {
            (Class::Refused, "Huawei refuses the message; look the code up in its send API page")
        }
        None => return by_status(batch, status, headers),
    };
    class.outcome(code, hint, batch.now)
}

fn by_status(batch: &Batch, status: StatusCode, headers: &HeaderMap) -> Outcome {
    let (class, hint) = match status.as_u16() {
        200..=299 => {
            let hint = "Huawei's answer could not be read; whether it took the message is unknown";
            return Class::Retry.outcome("malformed_answer", hint, batch.now);
        }
        401 => (Class::SetUp, "Huawei refuses a fresh credential"),
        404 => (Class::SetUp, "there is no such app; check app_id and base_url"),
        // No delay is documented for either; dispatch doubles on repetition.
        429 | 503 => {
            let after = codes::retry_after(headers).unwrap_or(SECOND);
            (Class::Wait(after), "Huawei limits the app's rate, or its own load")
        }
        300..=399 => (Class::SetUp, "base_url leads elsewhere"),
        400..=499 => (Class::Refused, "Huawei refuses the request without a code"),
        _ => (Class::Retry, "Huawei's servers failed"),
    };
    class.outcome(format!("http_{}", status.as_u16()), hint, batch.now)
}
