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

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::compare::{check_reply, check_request};
use self::fixture::{Case, Codes, Fixtures, KINDS, Kind, parse, read_fixtures};
use crate::kit::settings::Fault;
use crate::sandbox::{Exchange, Phones, Reply, Simulator};
use crate::{Batch, Id, Notification, Outcome, Push, Spec, Token, VENDORS, Wire};

mod compare;
mod fixture;

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
