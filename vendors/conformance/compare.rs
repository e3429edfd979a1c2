//! Whether a request and the outcomes of a reply are what a fixture expects.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::fixture::{OutcomeOut, ReplyIn, RequestOut};
use crate::{Batch, Outcome, Scope, Wire};

pub(super) fn check_request(
    expected: &RequestOut,
    request: &http::Request<Bytes>,
    faults: &mut Vec<String>,
) {
    let mut want = |what: &str, wanted: &str, got: &str| {
        if wanted != got {
            faults.push(format!("{what} is `{got}`, not `{wanted}`"));
        }
    };
    if let Some(method) = &expected.method {
        want("the method", method, request.method().as_str());
    }
    if let Some(path) = &expected.path {
        let got = request.uri().path_and_query().map_or("", |path| path.as_str());
        want("the path", path, got);
    }
    for (name, wanted) in &expected.headers {
        let got = request.headers().get(name).map(|value| value.to_str().unwrap_or("(binary)"));
        want(name, wanted, got.unwrap_or("(absent)"));
    }
    for name in expected.absent.iter().filter(|name| request.headers().contains_key(*name)) {
        faults.push(format!("the header {name} should be absent"));
    }
    check_json(expected, request.body(), faults);
    check_form(expected, request.body(), faults);
}

fn check_json(expected: &RequestOut, body: &[u8], faults: &mut Vec<String>) {
    let parse = |text: &String| {
        let value = serde_json::from_str(text);
        unfolded(value.unwrap_or_else(|err| panic!("the fixture's JSON: {err}: {text}")))
    };
    let (whole, part) = (expected.json.as_ref().map(parse), expected.json_has.as_ref().map(parse));
    if whole.is_none() && part.is_none() && expected.json_lacks.is_empty() {
        return;
    }
    let got = match serde_json::from_slice(body) {
        Ok(got) => unfolded(got),
        Err(err) => return faults.push(format!("the body is no JSON: {err}")),
    };
    if let Some(whole) = whole.filter(|whole| *whole != got) {
        faults.push(format!("the body is\n  {got}\nnot\n  {whole}"));
    }
    if let Some(part) = part.filter(|part| !holds(&got, part)) {
        faults.push(format!("the body\n  {got}\ndoes not hold\n  {part}"));
    }
    for pointer in expected.json_lacks.iter().filter(|pointer| got.pointer(pointer).is_some()) {
        faults.push(format!("the body has {pointer}: {got}"));
    }
}

fn check_form(expected: &RequestOut, body: &[u8], faults: &mut Vec<String>) {
    let fields = |form: &BTreeMap<String, String>| -> BTreeMap<String, Value> {
        form.iter().map(|(k, v)| (k.clone(), unfolded(v.as_str().into()))).collect()
    };
    if expected.form.is_none() && expected.form_has.is_empty() && expected.form_lacks.is_empty() {
        return;
    }
    let got: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    let got_fields = fields(&got.iter().cloned().collect());
    if got_fields.len() != got.len() {
        faults.push(format!("the form has a field twice: {got:?}"));
    }
    if let Some(whole) = expected.form.as_ref().map(fields).filter(|whole| *whole != got_fields) {
        faults.push(format!("the form is\n  {got_fields:?}\nnot\n  {whole:?}"));
    }
    for (name, wanted) in fields(&expected.form_has) {
        if got_fields.get(&name) != Some(&wanted) {
            faults.push(format!("the field {name} is {:?}, not {wanted}", got_fields.get(&name)));
        }
    }
    for name in expected.form_lacks.iter().filter(|name| got_fields.contains_key(*name)) {
        faults.push(format!("the field {name} should be absent"));
    }
}

/// `value` with every string that holds a JSON object or array replaced by what it holds.
fn unfolded(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(['{', '[']) => {
            serde_json::from_str(&text).map_or(Value::String(text), unfolded)
        }
        Value::Array(items) => items.into_iter().map(unfolded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, unfolded(v))).collect(),
        plain => plain,
    }
}

fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

pub(super) fn check_reply(
    wire: &dyn Wire,
    batch: &Batch,
    reply: &ReplyIn,
    expected: &[OutcomeOut],
    faults: &mut Vec<String>,
) {
    let status = StatusCode::from_u16(reply.status.unwrap_or(200)).expect("an HTTP status");
    let headers: HeaderMap = reply
        .headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a header name");
            (name, HeaderValue::try_from(value).expect("a header value"))
        })
        .collect();
    let body = reply.body.as_bytes();
    let got = wire.outcomes(batch, status, &headers, body);
    let count = batch.pushes.len();
    if got.len() != count {
        return faults.push(format!("{} outcomes for {count} pushes", got.len()));
    }
    if expected.len() != count && expected.len() != 1 {
        faults.push(format!("the fixture has {} outcomes for {count} pushes", expected.len()));
    }
    for (at, (got, expected)) in got.iter().zip(expected.iter().cycle()).enumerate() {
        if !expected.matches(got) {
            faults.push(format!("outcome {}: {got:?}", at + 1));
        }
    }
    for end in 0..body.len() {
        if wire.outcomes(batch, status, &headers, &body[..end]).len() != count {
            faults.push(format!("cut at byte {end}: not one outcome a push"));
        }
    }
}

impl OutcomeOut {
    fn matches(&self, got: &Outcome) -> bool {
        assert!(Outcome::NAMES.contains(&self.is.as_str()), "no such outcome: {}", self.is);
        let reason = got.reason();
        let agrees = self.is == got.name()
            && self.code.as_ref().is_none_or(|code| reason.is_some_and(|r| r.code == *code))
            && self
                .hint_has
                .as_ref()
                .is_none_or(|part| reason.is_some_and(|r| r.hint.contains(part.as_str())));
        let fields = Fields::of(got);
        agrees
            && self.vendor_ref.as_ref().is_none_or(|wanted| fields.vendor_ref == Some(wanted))
            && self.certain.is_none_or(|wanted| fields.certain == Some(wanted))
            && self
                .since_ms
                .is_none_or(|wanted| fields.since == Some(Duration::from_millis(wanted)))
            && self
                .after_secs
                .is_none_or(|secs| fields.after == Some(Duration::from_secs_f64(secs)))
            && self.scope.as_ref().is_none_or(|wanted| fields.scope == Some(wanted))
            && self.none.iter().all(|name| fields.lacks(name))
    }
}

/// The fields of whichever variant, for comparing.
#[derive(Default)]
struct Fields<'o> {
    vendor_ref: Option<&'o String>,
    certain: Option<bool>,
    since: Option<Duration>,
    after: Option<Duration>,
    scope: Option<&'static str>,
}

impl<'o> Fields<'o> {
    fn of(outcome: &'o Outcome) -> Self {
        let none = Fields::default();
        match outcome {
            Outcome::Accepted { vendor_ref } => Fields { vendor_ref: vendor_ref.as_ref(), ..none },
            Outcome::Unregistered { since, certain, .. } => Fields {
                certain: Some(*certain),
                since: since
                    .map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
                ..none
            },
            Outcome::Retry { after, .. } => Fields { after: *after, ..none },
            Outcome::Throttled { after, scope, .. } => Fields {
                after: Some(*after),
                scope: Some(match scope {
                    Scope::Lane => "lane",
                    Scope::Device => "device",
                }),
                ..none
            },
            Outcome::Rejected { .. } | Outcome::Unauthorized { .. } => none,
        }
    }

    fn lacks(&self, name: &str) -> bool {
        match name {
            "vendor_ref" => self.vendor_ref.is_none(),
            "since" => self.since.is_none(),
            "after" => self.after.is_none(),
            other => panic!("no such optional field: {other}"),
        }
    }
}
