//! Bytes to events: JSON object, array or NDJSON, then every rule a field must keep.
//!
//! Pure: no sockets, no store, no clock but the one passed in. What does not parse is refused
//! whole; what parses but breaks a rule is refused entry by entry.

use std::time::Duration;

use posthorn_vendors::{Class, Sender, Token};
use posthorn_wire as wire;

use crate::api::check::{fault, https_url, json, name, preview};
use crate::api::error::ApiError;
use crate::model::{
    AppId, DirectTarget, Event, Kind, Message, MessageType, Millis, PushOptions, event::RETENTION,
};

/// Most events in one request.
const MOST_EVENTS: usize = 1000;
const MOST_RECIPIENTS: usize = 500;
/// Longest names, in bytes.
const NAME: usize = 128;
const CONVERSATION: usize = 256;
const NICKNAME: usize = 256;
const TOKEN: usize = 4096;
const TEXT: usize = 16 << 10;
const DATA: usize = 2 << 10;
/// A ringing call is over soon.
const CALL_TTL: Duration = Duration::from_secs(60);
/// Numbers below this are seconds, not milliseconds (1973 read as milliseconds).
const SECONDS: u64 = 100_000_000_000;

/// One entry of a request: an event, or why not and the id it had.
pub type Entry = Result<Event, (String, ApiError)>;

/// What a request holds: `true` when it was a batch.
pub fn parse(
    app: &AppId,
    body: &[u8],
    is_ndjson: bool,
    now: Millis,
) -> Result<(bool, Vec<Entry>), ApiError> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let (is_batch, events): (bool, Vec<wire::Event>) = if is_ndjson {
        (true, lines(body)?)
    } else if first == Some(&b'[') {
        (true, json(body, "$")?)
    } else {
        (false, vec![json(body, "$")?])
    };
    if events.len() > MOST_EVENTS {
        return Err(too_many());
    }
    let entry = |(at, event): (usize, wire::Event)| {
        let root = if is_batch { format!("$[{at}]") } else { "$".to_owned() };
        let id = event.id.clone();
        check(app, event, now).map_err(|fault| {
            let path = format!("{root}{}", fault.path.as_deref().unwrap_or_default());
            (id, fault.at(path))
        })
    };
    Ok((is_batch, events.into_iter().enumerate().map(entry).collect()))
}

fn too_many() -> ApiError {
    ApiError::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        "too_many_events",
        "at most 1000 events in one request",
    )
}

fn lines(body: &[u8]) -> Result<Vec<wire::Event>, ApiError> {
    let mut events = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if events.len() == MOST_EVENTS {
            return Err(too_many());
        }
        events.push(json(line, &format!("$[{}]", events.len()))?);
    }
    Ok(events)
}

/// Checks every rule and makes the event.
fn check(app: &AppId, event: wire::Event, now: Millis) -> Result<Event, ApiError> {
    name(".id", &event.id, NAME)?;
    let (to, targets) = recipients(event.to)?;
    let conversation = match event.conversation {
        Some(conversation) => {
            name(".conversation", &conversation, CONVERSATION)?;
            Some(conversation.into_boxed_str())
        }
        None => None,
    };
    let push = push_options(event.push.unwrap_or_default())?;
    let kind = kind(
        event.kind,
        event.message,
        event.reference,
        event.up_to,
        conversation.is_some(),
        push.body.is_some(),
    )?;
    let class = class(event.class, event.kind);
    let sent_at = match event.sent_at {
        None => now,
        Some(at) if at < SECONDS => {
            return fault(".sent_at", "milliseconds since 1970, but this looks like seconds");
        }
        Some(at) if at > (now + RETENTION).0 => {
            return fault(".sent_at", "more than seven days ahead of the gateway's clock");
        }
        Some(at) => Millis(at),
    };
    let ttl = match event.ttl_secs {
        None if class == Class::Call => CALL_TTL,
        None => RETENTION,
        Some(secs) if (1..=RETENTION.as_secs()).contains(&secs) => Duration::from_secs(secs),
        Some(_) => return fault(".ttl_secs", "must be 1 to 604800 (seven days)"),
    };
    if event.badge.is_some_and(|badge| badge > 99_999) {
        return fault(".badge", "must be 0 to 99999");
    }
    Ok(Event {
        app: app.clone(),
        id: event.id.into(),
        kind,
        class,
        to,
        targets,
        from: event.from.map(sender).transpose()?,
        conversation,
        sent_at,
        received_at: now,
        deadline: now + ttl,
        badge: event.badge,
        push,
        bursts: Vec::new(),
    })
}

fn text(path: &str, value: Option<String>, longest: usize) -> Result<Option<Box<str>>, ApiError> {
    match value {
        Some(value) if value.len() > longest => fault(path, format!("longer than {longest} bytes")),
        other => Ok(other.map(Box::from)),
    }
}

type Recipients = (Vec<Box<str>>, Vec<DirectTarget>);

fn recipients(given: Vec<wire::Recipient>) -> Result<Recipients, ApiError> {
    if given.is_empty() {
        return fault(".to", "missing: 1 to 500 recipients");
    }
    if given.len() > MOST_RECIPIENTS {
        return fault(".to", "more than 500 recipients");
    }
    let mut users: Vec<Box<str>> = Vec::with_capacity(given.len());
    let mut targets: Vec<DirectTarget> = Vec::new();
    let mut seen = std::collections::HashSet::with_capacity(given.len());
    for (at, recipient) in given.into_iter().enumerate() {
        match recipient {
            wire::Recipient::User(user) => {
                name(&format!(".to[{at}]"), &user, NAME)?;
                // Naming somebody twice does not ring twice.
                if seen.insert(user.clone()) {
                    users.push(user.into());
                }
            }
            wire::Recipient::Target(target) => {
                name(&format!(".to[{at}].lane"), &target.lane, 64)?;
                name(&format!(".to[{at}].token"), &target.token, TOKEN)?;
                let target =
                    DirectTarget { lane: target.lane.into(), token: Token::new(target.token) };
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
    }
    Ok((users, targets))
}

fn sender(from: wire::From) -> Result<Sender, ApiError> {
    name(".from.user_id", &from.user_id, NAME)?;
    let nickname = text(".from.nickname", from.nickname, NICKNAME)?;
    // An empty string means "not given" in the callers' own SDKs.
    let avatar = from.avatar.filter(|url| !url.is_empty());
    if let Some(url) = &avatar {
        https_url(".from.avatar", url)?;
    }
    Ok(Sender { id: from.user_id, nickname: nickname.unwrap_or_default().into(), avatar })
}

fn message(message: wire::Message) -> Result<Message, ApiError> {
    let kind = match message.kind {
        wire::MessageType::Text => MessageType::Text,
        wire::MessageType::Face => MessageType::Face,
        wire::MessageType::Location => MessageType::Location,
        wire::MessageType::Image => MessageType::Image,
        wire::MessageType::Sound => MessageType::Sound,
        wire::MessageType::File => MessageType::File,
        wire::MessageType::Video => MessageType::Video,
        wire::MessageType::Custom => MessageType::Custom,
        wire::MessageType::System => MessageType::System,
        wire::MessageType::Relay => MessageType::Relay,
    };
    Ok(Message { kind, text: text(".message.text", message.text, TEXT)? })
}

fn kind(
    kind: wire::Kind,
    said: Option<wire::Message>,
    reference: Option<String>,
    up_to: Option<u64>,
    has_conversation: bool,
    has_body: bool,
) -> Result<Kind, ApiError> {
    let said = said.map(message).transpose()?;
    let of = || match &reference {
        Some(reference) => {
            name(".ref", reference, NAME)?;
            Ok(Box::from(reference.as_str()))
        }
        None => fault(".ref", "missing: the id of the event this one speaks of"),
    };
    let words = |said: Option<Message>| match said {
        Some(said) => Ok(said),
        None if has_body => Ok(Message::default()),
        None => fault(".message", "missing: what was written (or push.body)"),
    };
    Ok(match kind {
        wire::Kind::Message => Kind::Message(words(said)?),
        wire::Kind::Call => Kind::Call,
        wire::Kind::CallEnd => Kind::CallEnd { of: of()? },
        wire::Kind::Recall => Kind::Recall { of: of()? },
        wire::Kind::Edit => Kind::Edit { of: of()?, message: words(said)? },
        wire::Kind::Read => {
            if !has_conversation {
                return fault(".conversation", "missing: which conversation was read");
            }
            match up_to {
                Some(up_to) if up_to >= SECONDS => Kind::Read { up_to: Millis(up_to) },
                Some(_) => {
                    return fault(".up_to", "milliseconds since 1970, but this looks like seconds");
                }
                None => {
                    return fault(".up_to", "missing: the sent_at of the newest message read");
                }
            }
        }
        wire::Kind::FriendRequest => Kind::FriendRequest(said),
        wire::Kind::System => Kind::System(said),
    })
}

fn class(given: Option<wire::Class>, kind: wire::Kind) -> Class {
    match (given, kind) {
        (Some(wire::Class::Im), _) => Class::Im,
        (Some(wire::Class::Call), _) => Class::Call,
        (Some(wire::Class::FriendRequest), _) => Class::FriendRequest,
        (Some(wire::Class::System), _) => Class::System,
        (Some(wire::Class::Marketing), _) => Class::Marketing,
        (None, wire::Kind::Call | wire::Kind::CallEnd) => Class::Call,
        (None, wire::Kind::FriendRequest) => Class::FriendRequest,
        (None, wire::Kind::System) => Class::System,
        (None, wire::Kind::Message | wire::Kind::Recall | wire::Kind::Edit | wire::Kind::Read) => {
            Class::Im
        }
    }
}

fn push_options(push: wire::Push) -> Result<PushOptions, ApiError> {
    let data_size: usize = push.data.iter().map(|(key, value)| key.len() + value.len()).sum();
    if data_size > DATA {
        return fault(".push.data", format!("keys and values together exceed {DATA} bytes"));
    }
    for (vendor, fields) in &push.vendor {
        let path = format!(".push.vendor.{vendor}");
        if posthorn_vendors::vendor(vendor).is_none() {
            return fault(&path, "no such vendor");
        }
        if serde_json::to_vec(fields).map_or(true, |text| text.len() > DATA) {
            return fault(&path, format!("longer than {DATA} bytes"));
        }
    }
    Ok(PushOptions {
        title: text(".push.title", push.title, NICKNAME * 4)?,
        body: text(".push.body", push.body, TEXT)?,
        sound: text(".push.sound", push.sound, NICKNAME)?,
        preview: push.preview.map(preview),
        data: push.data,
        vendor: push.vendor,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Millis = Millis(1_795_392_000_000);

    fn sound_event() -> Value {
        json!({
            "id": "m-1", "kind": "message", "class": "im", "to": ["bob"],
            "from": {"user_id": "alice", "nickname": "Alice", "avatar": "https://x.example/a.png"},
            "conversation": "c2c:alice:bob", "message": {"type": "text", "text": "hi"},
            "sent_at": 1_795_391_999_000u64, "ttl_secs": 604_800, "badge": 3,
            "push": {"title": null, "body": null, "sound": "default", "preview": "full",
                     "data": {"k": "v"}, "vendor": {"xiaomi": {"channel_id": "1"}}}
        })
    }

    fn read(value: &Value) -> Result<Event, ApiError> {
        let (_, mut entries) = parse(&"demo".into(), value.to_string().as_bytes(), false, NOW)?;
        entries.remove(0).map_err(|(_, fault)| fault)
    }

    #[test]
    fn the_example_of_the_documentation_is_an_event() {
        let event = read(&sound_event()).expect("a sound event");
        assert_eq!(&*event.id, "m-1");
        assert_eq!(event.to, ["bob".into()]);
        assert_eq!(event.deadline, NOW + RETENTION);
    }

    #[test]
    fn every_bad_field_is_refused_with_its_path() {
        let long = "x".repeat(20_000);
        let many: Vec<String> = (0..501).map(|n| format!("u{n}")).collect();
        let cases: Vec<(&str, Value, &str)> = vec![
            ("/id", json!(7), "$.id"),
            ("/id", json!(""), "$.id"),
            ("/id", json!(long), "$.id"),
            ("/id", json!("a\u{0}b"), "$.id"),
            ("/kind", json!("shout"), "$.kind"),
            ("/class", json!(1), "$.class"),
            ("/to", json!("bob"), "$.to"),
            ("/to", json!([]), "$.to"),
            ("/to", json!(many), "$.to"),
            ("/to", json!([""]), "$.to[0]"),
            ("/to", json!([{"lane": "a"}]), "$.to[0]"),
            ("/to", json!([{"lane": "a", "token": ""}]), "$.to[0].token"),
            ("/from", json!("alice"), "$.from"),
            ("/from/user_id", json!(""), "$.from.user_id"),
            ("/from/nickname", json!(long), "$.from.nickname"),
            ("/from/avatar", json!("http://x.example/a.png"), "$.from.avatar"),
            ("/from/avatar", json!("javascript:alert(1)"), "$.from.avatar"),
            ("/conversation", json!(long), "$.conversation"),
            ("/message", json!([]), "$.message"),
            ("/message/type", json!("smell"), "$.message.type"),
            ("/message/text", json!(long), "$.message.text"),
            ("/sent_at", json!("now"), "$.sent_at"),
            ("/sent_at", json!(1_795_392_000u64), "$.sent_at"),
            ("/sent_at", json!(-1), "$.sent_at"),
            ("/ttl_secs", json!(0), "$.ttl_secs"),
            ("/ttl_secs", json!(604_801), "$.ttl_secs"),
            ("/badge", json!(-1), "$.badge"),
            ("/badge", json!(100_000), "$.badge"),
            ("/push/preview", json!("half"), "$.push.preview"),
            ("/push/data", json!({"k": 1}), "$.push.data.k"),
            ("/push/data", json!({"k": long}), "$.push.data"),
            ("/push/vendor", json!({"nokia": {}}), "$.push.vendor.nokia"),
            ("/push/vendor/xiaomi", json!({"k": long}), "$.push.vendor.xiaomi"),
            ("/push/sound", json!(long), "$.push.sound"),
        ];
        for (field, bad, path) in cases {
            let mut event = sound_event();
            *event.pointer_mut(field).expect(field) = bad.clone();
            let fault = read(&event).expect_err(field);
            assert_eq!(fault.path.as_deref(), Some(path), "{field} = {bad}");
            assert!(fault.status.is_client_error());
        }
    }

    #[test]
    fn what_a_kind_needs_is_missed_by_name() {
        for (kind, path) in
            [("recall", "$.ref"), ("edit", "$.ref"), ("call_end", "$.ref"), ("read", "$.up_to")]
        {
            let mut event = sound_event();
            event["kind"] = json!(kind);
            assert_eq!(read(&event).expect_err(kind).path.as_deref(), Some(path));
        }
        let mut silent = sound_event();
        silent["message"] = Value::Null;
        assert_eq!(read(&silent).expect_err("no text").path.as_deref(), Some("$.message"));
    }

    #[test]
    fn an_unknown_field_is_refused_because_a_typo_would_be_lost() {
        let mut event = sound_event();
        event["pussh"] = json!({});
        assert_eq!(read(&event).expect_err("a typo").path.as_deref(), Some("$.pussh"));
    }

    #[test]
    fn bad_bytes_and_deep_nesting_are_not_json() {
        let deep = "[".repeat(100_000);
        let cases: [&[u8]; 5] = [b"", b"{", b"\xff\xfe", b"{\"id\":\"\xc3\x28\"}", deep.as_bytes()];
        for body in cases {
            let fault = parse(&"demo".into(), body, false, NOW).expect_err("not JSON");
            assert_eq!((fault.status.as_u16(), fault.path.as_deref()), (400, Some("$")));
        }
    }

    #[test]
    fn a_batch_keeps_its_sound_entries_and_names_the_others() {
        let mut bad = sound_event();
        bad["badge"] = json!(100_000);
        let body = format!("{}\n\n{}\n", sound_event(), bad);
        let (is_batch, entries) =
            parse(&"demo".into(), body.as_bytes(), true, NOW).expect("it parses");
        assert!(is_batch && entries[0].is_ok());
        let (id, fault) = entries[1].as_ref().expect_err("too large a badge");
        assert_eq!((id.as_str(), fault.path.as_deref()), ("m-1", Some("$[1].badge")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _either = parse(&"demo".into(), &body, false, NOW);
            let _either = parse(&"demo".into(), &body, true, NOW);
        }

        #[test]
        fn any_json_in_any_field_is_taken_or_refused_with_a_path(
            field in prop::sample::select(vec![
                "id", "kind", "class", "to", "from", "conversation", "message", "sent_at",
                "ttl_secs", "badge", "push", "ref", "up_to",
            ]),
            value in prop_oneof![
                Just(json!(null)), any::<bool>().prop_map(|b| json!(b)),
                any::<i64>().prop_map(|n| json!(n)), any::<f64>().prop_map(|n| json!(n)),
                "\\PC{0,300}".prop_map(|s| json!(s)),
                prop::collection::vec("\\PC{0,9}", 0..9).prop_map(|v| json!(v)),
                prop::collection::btree_map("[a-z_]{1,9}", "\\PC{0,9}", 0..5).prop_map(|m| json!(m)),
            ],
        ) {
            let mut event = sound_event();
            event[field] = value;
            if let Err(fault) = read(&event) {
                prop_assert!(fault.status.is_client_error());
                prop_assert!(fault.path.is_some());
            }
        }
    }
}
