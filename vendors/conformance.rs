//! One test for every vendor: push in → request out → reply in → outcome out, from fixtures.
//!
//! # The format
//!
//! `vendors/<id>/fixtures/lane.toml` is the lane's configuration, as `Spec::wire` and `Spec::build`
//! take it (the vendor's own keys only). Every other `*.toml` there holds cases and code tables.
//! Unknown keys are errors.
//!
//! ```toml
//! [[case]]
//! name = "a chat message to two devices, one dead"
//! kind = "partial"          # optional; what the case proves, see below
//! now = 1795341600          # seconds since 1970; this is the default
//! lane = { app_id = "2" }   # optional: laid over lane.toml, key by key
//!
//! # The pushes of the batch; without any, one push with every default below.
//! [[case.push]]
//! push_id = "01010101010101010101010101010101" # 32 hex digits; default: the place, from 1, in
//! slot_id = "51515151515151515151515151515151" #   each byte, and 0x50 + the place
//! token = "TOKEN_1"         # default TOKEN_ and the place
//! ttl_secs = 3600           # expires_at = now + this; 3600 is the default
//! title = "Alice"           # default
//! body = "hi"               # default
//! class = "im"              # default; im, call, friend_request, system, marketing
//! event_id = "m-1001"       # default
//! # No default, absent means absent:
//! sender = { id = "alice", nickname = "Alice", avatar = "https://…/a.png" }
//! conversation = "c2c:alice:bob"
//! badge = 3
//! sound = "default"
//! data = { k = "v" }
//! overrides = { category = "IM" }
//! # `same = true` in a later push: it shares the first one's notification (the same Arc) and
//! # expiry, as a same-content batch does; its content keys and ttl_secs must then be left out.
//!
//! # What `Wire::request` must give with the credential "CREDENTIAL". Optional; each key too.
//! [case.request]
//! method = "POST"
//! path = "/v1/100000001/messages:send"              # path and query
//! headers = { authorization = "Bearer CREDENTIAL" } # these, and maybe others
//! absent = ["apns-collapse-id"]                     # headers that must not be there
//! json = '''{"message": {…}}'''       # the whole body, structurally
//! json_has = '''{"message": {…}}'''   # the body holds at least this; arrays whole
//! json_lacks = ["/message/android/notification/badge"]   # JSON pointers to nothing
//! form = { title = "Alice" }          # the whole form-encoded body, decoded
//! form_has = { title = "Alice" }      # at least these fields
//! form_lacks = ["extra.callback"]
//! # A string that holds a JSON object or array is compared as JSON, at any depth.
//!
//! # What comes back. Optional, but then so are the outcomes.
//! [case.reply]
//! status = 200              # default
//! headers = { retry-after = "5" }
//! body = '{"code":"80000000"}'   # raw; default empty
//!
//! # One outcome a push, in order; a single one stands for every push.
//! [[case.outcome]]
//! is = "accepted"           # a name of Outcome::NAMES; the other keys are compared when given
//! vendor_ref = "157FAKE006"
//! # code = "80300007"       # Reason::code
//! # hint_has = "quota"      # part of Reason::hint
//! # certain = false         # of unregistered
//! # since_ms = 1795341600000   # of unregistered
//! # after_secs = 60         # of retry and throttled (a fraction is allowed)
//! # scope = "lane"          # of throttled; lane or device
//! # none = ["vendor_ref", "since", "after"]   # these must be None
//!
//! # A code table: one case a code, with the default push and `{code}` replaced in the body.
//! # The outcome's reason must carry the code itself.
//! [[codes]]
//! codes = ["80100001", "80100003"]
//! reply = { status = 200, body = '{"code":"{code}","msg":"x","requestId":"r"}' }
//! outcome = { is = "rejected" }
//! lane = { }                # optional, as above
//! ```
//!
//! `kind` is one of `success`, `partial`, `malformed`, `content_type`, `empty`, `truncated` (the
//! reply is complete and good, fails for some pushes only, is no valid body of this vendor, says a
//! wrong `content-type`, has no body, is cut off). Every vendor needs one case of each kind
//! (`partial` only if it batches), and a case or code for every outcome that `Spec::impossible`
//! does not excuse. Besides, the reply of every case is read again cut at every byte: that must
//! give one outcome a push, whichever, and not panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::kit::settings::Fault;
use crate::sandbox::{Exchange, Phones, Reply, Simulator};
use crate::{
    Batch, Class, Id, Notification, Outcome, Push, Scope, Sender, Spec, Token, VENDORS, Wire,
};

#[test]
fn every_vendor_keeps_its_fixtures() {
    let mut faults = Vec::new();
    for spec in VENDORS {
        match read_fixtures(spec) {
            Some(fixtures) => check_vendor(spec, &fixtures, &mut faults),
            None => eprintln!("{}: still a placeholder, not checked", spec.id),
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// All files of one vendor's fixture folder.
struct Fixtures {
    lane: toml::Table,
    cases: Vec<Case>,
    codes: Vec<Codes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "case")]
    cases: Vec<Case>,
    #[serde(default)]
    codes: Vec<Codes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    kind: Option<Kind>,
    #[serde(default = "default_now")]
    now: u64,
    #[serde(default)]
    lane: toml::Table,
    #[serde(default = "one_default_push", rename = "push")]
    pushes: Vec<PushIn>,
    request: Option<RequestOut>,
    reply: Option<ReplyIn>,
    #[serde(default, rename = "outcome")]
    outcomes: Vec<OutcomeOut>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Codes {
    codes: Vec<String>,
    reply: ReplyIn,
    outcome: OutcomeOut,
    #[serde(default)]
    lane: toml::Table,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Success,
    Partial,
    Malformed,
    ContentType,
    Empty,
    Truncated,
}

const KINDS: [Kind; 6] = [
    Kind::Success,
    Kind::Partial,
    Kind::Malformed,
    Kind::ContentType,
    Kind::Empty,
    Kind::Truncated,
];

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct PushIn {
    same: bool,
    push_id: Option<String>,
    slot_id: Option<String>,
    token: Option<String>,
    ttl_secs: Option<u64>,
    title: Option<String>,
    body: Option<String>,
    class: Option<String>,
    event_id: Option<String>,
    sender: Option<SenderIn>,
    conversation: Option<String>,
    badge: Option<u32>,
    sound: Option<String>,
    data: BTreeMap<String, String>,
    overrides: serde_json::Map<String, Value>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct SenderIn {
    id: String,
    nickname: String,
    avatar: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RequestOut {
    method: Option<String>,
    path: Option<String>,
    headers: BTreeMap<String, String>,
    absent: Vec<String>,
    json: Option<String>,
    json_has: Option<String>,
    json_lacks: Vec<String>,
    form: Option<BTreeMap<String, String>>,
    form_has: BTreeMap<String, String>,
    form_lacks: Vec<String>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct ReplyIn {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct OutcomeOut {
    is: String,
    vendor_ref: Option<String>,
    code: Option<String>,
    hint_has: Option<String>,
    certain: Option<bool>,
    since_ms: Option<u64>,
    after_secs: Option<f64>,
    scope: Option<String>,
    none: Vec<String>,
}

fn default_now() -> u64 {
    1_795_341_600
}

fn one_default_push() -> Vec<PushIn> {
    vec![PushIn::default()]
}

// ---- reading -----------------------------------------------------------------------------------

/// `None` for the placeholder, whose `wire` refuses without a fault.
fn read_fixtures(spec: &Spec) -> Option<Fixtures> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(spec.id).join("fixtures");
    if matches!((spec.wire)(toml::Table::new()), Err(faults) if faults.is_empty()) {
        return None;
    }
    let mut fixtures = Fixtures { lane: toml::Table::new(), cases: vec![], codes: vec![] };
    for path in toml_files(&folder) {
        if path.ends_with("lane.toml") {
            fixtures.lane = parse(&path);
        } else {
            let File { cases, codes } = parse(&path);
            fixtures.cases.extend(cases);
            fixtures.codes.extend(codes);
        }
    }
    Some(fixtures)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).expect("the fixture was listed");
    toml::from_str(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        panic!("{}: a vendor without fixtures", folder.display());
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

impl Codes {
    /// The table as cases.
    fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        self.codes.iter().map(|code| Case {
            name: format!("code {code}"),
            kind: None,
            now: default_now(),
            lane: self.lane.clone(),
            pushes: one_default_push(),
            request: None,
            reply: Some(ReplyIn {
                body: self.reply.body.replace("{code}", code),
                ..self.reply.clone()
            }),
            outcomes: vec![OutcomeOut { code: Some(code.clone()), ..self.outcome.clone() }],
        })
    }
}

impl Case {
    fn batch(&self) -> Batch {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.now);
        let mut pushes: Vec<Push> = Vec::new();
        for (at, given) in self.pushes.iter().enumerate() {
            let place = u8::try_from(at % 0x50 + 1).expect("less than 0x51");
            let shared = given.same.then(|| pushes.first().expect("`same` follows a push"));
            let (notification, expires_at) = match shared {
                Some(first) => (Arc::clone(&first.notification), first.expires_at),
                None => (
                    Arc::new(given.notification()),
                    now + Duration::from_secs(given.ttl_secs.unwrap_or(3600)),
                ),
            };
            pushes.push(Push {
                push_id: id(given.push_id.as_deref(), place),
                slot_id: id(given.slot_id.as_deref(), 0x50 + place),
                token: Token::new(given.token.clone().unwrap_or(format!("TOKEN_{}", at + 1))),
                notification,
                expires_at,
            });
        }
        Batch { pushes, now }
    }
}

impl PushIn {
    fn notification(&self) -> Notification {
        let given = self.clone();
        Notification {
            title: given.title.unwrap_or("Alice".to_owned()),
            body: given.body.unwrap_or("hi".to_owned()),
            sender: given.sender.map(|SenderIn { id, nickname, avatar }| Sender {
                id,
                nickname,
                avatar,
            }),
            class: match given.class.as_deref() {
                None | Some("im") => Class::Im,
                Some("call") => Class::Call,
                Some("friend_request") => Class::FriendRequest,
                Some("system") => Class::System,
                Some("marketing") => Class::Marketing,
                Some(other) => panic!("no such class: {other}"),
            },
            conversation: given.conversation,
            event_id: given.event_id.unwrap_or("m-1001".to_owned()),
            badge: given.badge,
            sound: given.sound,
            data: given.data,
            overrides: given.overrides,
        }
    }
}

fn id(hex: Option<&str>, default: u8) -> Id {
    let Some(hex) = hex else { return Id([default; 16]) };
    Id(u128::from_str_radix(hex, 16).expect("an id of 32 hex digits").to_be_bytes())
}

// ---- checking ----------------------------------------------------------------------------------

fn check_vendor(spec: &Spec, fixtures: &Fixtures, faults: &mut Vec<String>) {
    let mut seen = Vec::new();
    let tables = fixtures.codes.iter().flat_map(Codes::cases).collect::<Vec<_>>();
    for case in fixtures.cases.iter().chain(&tables) {
        seen.extend(case.outcomes.iter().map(|outcome| outcome.is.as_str()));
        for fault in check_case(spec, &fixtures.lane, case) {
            faults.push(format!("{}: {}: {fault}", spec.id, case.name));
        }
    }
    for name in Outcome::NAMES {
        let excused = spec.impossible.iter().any(|(is, why)| *is == name && !why.is_empty());
        if !excused && !seen.contains(&name) {
            faults.push(format!("{}: no fixture gives the outcome `{name}`", spec.id));
        }
    }
    faults.extend(sample_faults(spec));
    let vendor = match (spec.build)(fixtures.lane.clone()) {
        Ok(vendor) => vendor,
        Err(why) => return faults.push(format!("{}: lane.toml does not build: {why:?}", spec.id)),
    };
    for kind in KINDS {
        let needed = kind != Kind::Partial || vendor.limits().batching.max() > 1;
        if needed && !fixtures.cases.iter().any(|case| case.kind == Some(kind)) {
            faults.push(format!("{}: no fixture of the kind {kind:?}", spec.id));
        }
    }
}

/// `config/vendors/<id>.toml` must hold no key that the vendor does not know. Its values may stand
/// for others (`env:NAME`), so they are not checked.
fn sample_faults(spec: &Spec) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../config/vendors").join(spec.id).with_extension("toml");
    if !path.exists() {
        return vec![format!("{}: no sample at {}", spec.id, path.display())];
    }
    let mut sample: toml::Table = parse(&path);
    // What the gateway itself reads of a lane.
    for key in ["vendor", "receipt_key"] {
        sample.remove(key);
    }
    let unknown = |fault: &Fault| fault.problem.starts_with("unknown key");
    let faults = (spec.wire)(sample).err().unwrap_or_default();
    faults.into_iter().filter(unknown).map(|fault| format!("{}: {fault:?}", spec.id)).collect()
}

fn check_case(spec: &Spec, lane: &toml::Table, case: &Case) -> Vec<String> {
    let mut lane = lane.clone();
    lane.extend(case.lane.clone());
    let wire = match (spec.wire)(lane) {
        Ok(wire) => wire,
        Err(why) => return vec![format!("the lane is refused: {why:?}")],
    };
    let batch = case.batch();
    let mut faults = Vec::new();
    let request = wire.request(&batch, "CREDENTIAL");
    if let Some(expected) = &case.request {
        check_request(expected, &request, &mut faults);
    }
    if let Some(reply) = &case.reply {
        check_reply(wire.as_ref(), &batch, reply, &case.outcomes, &mut faults);
    }
    faults
}

fn check_request(expected: &RequestOut, request: &http::Request<Bytes>, faults: &mut Vec<String>) {
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

fn check_reply(
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

// ---- for the simulators' own tests -------------------------------------------------------------

/// One push a token, all alike, living an hour.
pub(crate) fn pushes(
    tokens: impl IntoIterator<Item = String>,
    notification: Arc<Notification>,
    now: SystemTime,
) -> Vec<Push> {
    let push = |(at, token): (usize, String)| Push {
        push_id: Id((at as u128 + 1).to_be_bytes()),
        slot_id: Id([0x51; 16]),
        token: Token::new(token),
        notification: Arc::clone(&notification),
        expires_at: now + Duration::from_secs(3600),
    };
    tokens.into_iter().enumerate().map(push).collect()
}

/// The simulator's reply to one request.
pub(crate) fn ask(
    simulator: &dyn Simulator,
    phones: &Phones,
    request: &http::Request<Bytes>,
    now: SystemTime,
) -> Reply {
    let (method, uri) = (request.method(), request.uri());
    let (headers, body) = (request.headers(), request.body());
    simulator.answer(&Exchange { connection: 1, method, uri, headers, body, now }, phones)
}

/// What the adapter reads in the simulator's reply to one request.
pub(crate) fn exchange(
    wire: &dyn Wire,
    simulator: &dyn Simulator,
    phones: &Phones,
    batch: &Batch,
    request: &http::Request<Bytes>,
) -> Vec<Outcome> {
    let reply = ask(simulator, phones, request, batch.now);
    wire.outcomes(batch, reply.status, &reply.headers, &reply.body)
}
