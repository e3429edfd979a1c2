//! What Xiaomi's answer says of each push.
//!
//! Business errors come with status 200, so the body decides and the status only when there is no
//! readable code. An empty 200 is a failure, as in the vendor's own SDK.
//! Codes: <https://dev.mi.com/xiaomihyperos/documentation/detail?pId=1560> (2024-10-18) and the error
//! enum of the vendor's SDK 2.3.0.

use std::collections::HashSet;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::kit::codes::{self, Class, Row};
use crate::{Batch, Outcome, Push, Reason};

const SUCCESS: &str = "0";
const SENDING_FAILED: &str = "20301";
const DEVICE_NOT_LEGAL: &str = "10029";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[rustfmt::skip]
const CODES: &[Row] = &[
    ("-1", Class::Retry, "Xiaomi had an unknown error"),
    ("1", Class::Retry, "Xiaomi had an internal error"),
    ("100", Class::Refused, "an argument is empty"),
    ("10001", Class::Retry, "Xiaomi had a system error"),
    ("10002", Class::Retry, "Xiaomi is busy"),
    ("10003", Class::Retry, "Xiaomi had an error of its remote service"),
    ("10004", Class::SetUp, "this server's address is not allowed; see the console"),
    ("10005", Class::SetUp, "the app has no right to this call"),
    ("10006", Class::SetUp, "the app's key is missing"),
    ("10008", Class::Refused, "Xiaomi refuses a parameter"),
    ("10009", Class::Retry, "Xiaomi is busy"),
    ("10010", Class::Retry, "Xiaomi timed out inside"),
    ("10011", Class::Retry, "Xiaomi had an error of its remote service"),
    ("10012", Class::Refused, "Xiaomi calls the request illegal"),
    ("10014", Class::SetUp, "the app may not do this"),
    ("10016", Class::Refused, "a required parameter is missing"),
    ("10017", Class::Refused, "a parameter's value is illegal"),
    ("10018", Class::Refused, "the request is too long"),
    ("10020", Class::SetUp, "there is no such call; check base_url"),
    ("10021", Class::SetUp, "this call wants another method; check base_url"),
    ("10022", Class::Wait(SECOND), "this server's address sends too fast"),
    ("10023", Class::Wait(SECOND), "the account sends too fast"),
    ("10024", Class::Wait(SECOND), "this call is made too often"),
    ("10025", Class::SetUp, "Xiaomi refuses the receipt address; check callback"),
    ("10026", Class::SetUp, "the app is on Xiaomi's block list"),
    ("10027", Class::Wait(SECOND), "the app calls too fast"),
    ("10028", Class::Wait(SECOND), "the app calls too fast"),
    ("10031", Class::SetUp, "the app is on Xiaomi's block list"),
    ("10033", Class::SetUp, "the app is on Xiaomi's block list"),
    ("10034", Class::NextDay, "the app's messages of the day are used up"),
    ("10036", Class::SetUp, "the app may not do this"),
    ("10037", Class::Retry, "the request had expired when Xiaomi read it"),
    ("20607", Class::Retry, "Xiaomi had a database error"),
    ("21301", Class::SetUp, "Xiaomi refuses app_secret"),
    ("21302", Class::SetUp, "Xiaomi refuses app_secret"),
    ("21303", Class::SetUp, "Xiaomi restricts this request"),
    ("21305", Class::Refused, "a parameter is missing"),
    ("22100", Class::Refused, "the notification's format is wrong"),
    ("22101", Class::Wait(MINUTE), "too many notifications"),
    ("22102", Class::Retry, "Xiaomi could not send the notification"),
    ("22103", Class::Refused, "the notification's id is wrong"),
    ("26003", Class::Retry, "Xiaomi had an internal error"),
    ("26004", Class::Wait(MINUTE), "broadcasts too often"),
    ("26006", Class::SetUp, "the app's push needs a review; see the console"),
    ("27001", Class::SetUp, "the channel is missing, unknown or not approved; check channels"),
    ("65003", Class::Retry, "Xiaomi did not find the device; mostly it is offline"),
    ("65009", Class::Refused, "the content is too long"),
    ("65011", Class::Refused, "a parameter is missing or empty"),
    ("65014", Class::Refused, "too many extra pairs"),
    ("65015", Class::Refused, "the extra pairs are too long"),
    ("65029", Class::Retry, "Xiaomi had an internal error"),
    ("65030", Class::Retry, "Xiaomi had an internal error"),
    ("65036", Class::SetUp, "the receipt's parameter is refused; check callback"),
    ("65037", Class::SetUp, "the receipt address is too long; check callback"),
    ("65038", Class::SetUp, "the receipt address is refused; check callback"),
    ("66108", Class::SetUp, "the package is not the app's; check package"),
    ("200001", Class::NextDayForKind, QUOTA),
    ("200002", Class::Wait(SECOND), "the app sends too fast"),
];

const QUOTA: &str = "the channel's messages of the day are used up; a private channel has no such \
                     limit, so for chat the channel is probably the wrong one";

#[derive(Deserialize)]
struct Said {
    code: Value,
    #[serde(default)]
    reason: Value,
    #[serde(default)]
    data: Value,
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
    if code == SUCCESS { taken(batch, &said.data) } else { alike(by_code(batch, code, &said)) }
}

fn code_of(body: &[u8]) -> Option<(String, Said)> {
    let said: Said = serde_json::from_slice(body).ok()?;
    let code = match &said.code {
        Value::Number(code) => code.to_string(),
        Value::String(code) if code.parse::<i64>().is_ok() => code.clone(),
        _ => return None,
    };
    Some((code, said))
}

/// Taken, but for the targets that Xiaomi lists as bad. A call with several texts does not fail
/// with 200001 but counts what was over the quota, without saying for whom; all of the call are
/// then sent again the next day, where `notify_id` lets a repeat take the first one's place.
fn taken(batch: &Batch, data: &Value) -> Vec<Outcome> {
    let none = Map::new();
    let data = data.as_object().unwrap_or(&none);
    let vendor_ref = field(data, "id").and_then(Value::as_str);
    let listed = field(data, "bad_regids").map(listed).unwrap_or_default();
    let is_bad = |push: &Push| listed.contains(push.token.expose());
    // That some were taken proves the app right, so the listed ones are dead for certain.
    let certain = !batch.pushes.iter().all(is_bad);
    let over_quota = field(data, "channel_exceed_quota").is_some_and(is_something);
    let outcome = |push: &Push| {
        if is_bad(push) {
            let reason = Reason::new("bad_regids", "Xiaomi lists this token as bad");
            Outcome::Unregistered { since: None, certain, reason }
        } else if over_quota {
            Class::NextDayForKind.outcome("channel_exceed_quota", QUOTA, batch.now)
        } else {
            Outcome::Accepted { vendor_ref: vendor_ref.map(str::to_owned) }
        }
    };
    batch.pushes.iter().map(outcome).collect()
}

/// Clients disagree on the spelling of the names.
fn field<'v>(data: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    data.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn listed(bad: &Value) -> HashSet<&str> {
    match bad {
        Value::String(text) => text.split(',').map(str::trim).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::trim).collect(),
        _ => HashSet::new(),
    }
}

fn is_something(value: &Value) -> bool {
    !matches!(value, Value::Null) && value.as_str() != Some("")
}

fn by_code(batch: &Batch, code: String, said: &Said) -> Outcome {
    let no_targets = said.reason.as_str().is_some_and(|reason| reason.contains("No valid target"));
    let (class, hint) = match code.as_str() {
        SENDING_FAILED if no_targets => {
            (Class::PerhapsDead, "every token is invalid, or belongs to another app or region")
        }
        SENDING_FAILED => (Class::Refused, "Xiaomi could not send this message"),
        DEVICE_NOT_LEGAL if batch.pushes.len() == 1 => {
            (Class::PerhapsDead, "Xiaomi calls the device illegal")
        }
        DEVICE_NOT_LEGAL => (Class::Refused, "Xiaomi calls one of the devices illegal"),
        // Illegal app, id, key, secret and package name; 22100 and up speak of notifications.
        other if matches!(other.parse(), Ok(22_000..=22_022)) => {
            (Class::SetUp, "Xiaomi refuses the app's id, secret or package")
        }
        other => codes::find(CODES, other).unwrap_or((
            Class::Refused,
            "Xiaomi refuses the message; look the code up in its list",
        )),
    };
    class.outcome(code, hint, batch.now)
}

fn by_status(batch: &Batch, status: StatusCode, headers: &HeaderMap) -> Outcome {
    let (class, hint) = match status.as_u16() {
        200..=299 => {
            let hint = "Xiaomi's answer could not be read; whether it took the message is unknown";
            return Class::Retry.outcome("malformed_answer", hint, batch.now);
        }
        401 | 403 => (Class::SetUp, "Xiaomi refuses app_secret"),
        404 => (Class::SetUp, "there is no such call; check region and base_url"),
        429 => {
            let after = codes::retry_after(headers).unwrap_or(SECOND);
            (Class::Wait(after), "Xiaomi limits the app's rate")
        }
        300..=399 => (Class::SetUp, "base_url leads elsewhere"),
        400..=499 => (Class::Refused, "Xiaomi refuses the request without a code"),
        _ => (Class::Retry, "Xiaomi's servers failed"),
    };
    class.outcome(format!("http_{}", status.as_u16()), hint, batch.now)
}
