//! A send request as Xiaomi reads it: every field's type and range, and what a phone makes of it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::super::template;
use super::{Callback, PACKAGE};
use crate::sandbox::phones::ShownPush;

const MAX_TARGETS: usize = 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The code of a refusal, and its reason.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) i64, pub(super) String);

/// One message for one device, in order.
pub(super) struct Sent {
    pub(super) target: String,
    /// What the phone shows, without the vendor's name for it.
    pub(super) shown: ShownPush,
    pub(super) callback: Option<Callback>,
}

/// A channel of the sandbox's console; a private one has a template, approved with it.
struct Approved {
    class: &'static str,
    channel: &'static str,
    /// Its id, its title and its description.
    template: Option<(&'static str, &'static str, &'static str)>,
}

const APPROVED: [Approved; 5] = [
    private("im", "100001", ("T20001", "[好友消息]{$name$}", "{$content$}")),
    private("call", "100002", ("T20002", "[语音通话]{$name$}", "{$content$}")),
    private("friend_request", "100003", ("T20003", "[好友申请]{$name$}", "{$content$}")),
    private("system", "100004", ("T20004", "[系统通知]{$name$}", "{$content$}")),
    Approved { class: "marketing", channel: "200001", template: None },
];

const fn private(
    class: &'static str,
    channel: &'static str,
    template: (&'static str, &'static str, &'static str),
) -> Approved {
    Approved { class, channel, template: Some(template) }
}

/// The console's channels as a lane's keys.
pub(super) fn channels() -> toml::Table {
    let mut channels = toml::Table::new();
    for approved in APPROVED {
        let mut keys = toml::Table::new();
        keys.insert("channel_id".to_owned(), approved.channel.into());
        if let Some((id, ..)) = approved.template {
            let variables = [("name", "title"), ("content", "body")];
            let variables = variables.map(|(name, from)| (name.to_owned(), from.into()));
            keys.insert("template_id".to_owned(), id.into());
            keys.insert("variables".to_owned(), toml::Table::from_iter(variables).into());
        }
        channels.insert(approved.class.to_owned(), keys.into());
    }
    channels
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Targeted {
    target: String,
    message: Message,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    title: Option<String>,
    description: Option<String>,
    payload: Option<String>,
    restricted_package_name: String,
    pass_through: i64,
    notify_type: Option<i64>,
    notify_id: Option<i64>,
    time_to_live: Option<i64>,
    #[serde(default)]
    extra: BTreeMap<String, String>,
}

/// Reads `/v3/message/regid`.
pub(super) fn read_one(body: &[u8]) -> Result<Vec<Sent>, Wrong> {
    let mut form = read_form(body)?;
    let targets = form.remove("registration_id").ok_or_else(|| missing("registration_id"))?;
    let message = from_form(form)?;
    let (shown, callback) = check(&message)?;
    let sent = |target: &str| Sent {
        target: target.to_owned(),
        shown: shown.clone(),
        callback: callback.clone(),
    };
    in_number(targets.split(',').map(sent).collect())
}

/// Reads `/v2/multi_messages/regids`.
pub(super) fn read_many(body: &[u8]) -> Result<Vec<Sent>, Wrong> {
    let mut form = read_form(body)?;
    let messages = form.remove("messages").ok_or_else(|| missing("messages"))?;
    if let Some(name) = form.keys().next() {
        return Err(illegal(name));
    }
    let messages: Vec<Targeted> =
        serde_json::from_str(&messages).map_err(|err| Wrong(10017, err.to_string()))?;
    let mut sent = Vec::with_capacity(messages.len());
    for Targeted { target, message } in messages {
        let (shown, callback) = check(&message)?;
        sent.push(Sent { target, shown, callback });
    }
    in_number(sent)
}

fn in_number(sent: Vec<Sent>) -> Result<Vec<Sent>, Wrong> {
    let in_order =
        (1..=MAX_TARGETS).contains(&sent.len()) && sent.iter().all(|sent| !sent.target.is_empty());
    if in_order { Ok(sent) } else { Err(illegal("the number of targets")) }
}

fn read_form(body: &[u8]) -> Result<HashMap<String, String>, Wrong> {
    let mut form = HashMap::new();
    for (name, value) in form_urlencoded::parse(body).into_owned() {
        if form.contains_key(&name) {
            return Err(illegal(&name));
        }
        form.insert(name, value);
    }
    Ok(form)
}

fn from_form(mut form: HashMap<String, String>) -> Result<Message, Wrong> {
    let number = |text: Option<String>, name: &str| match text {
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| illegal(name)),
        None => Ok(None),
    };
    let message = Message {
        title: form.remove("title"),
        description: form.remove("description"),
        payload: form.remove("payload"),
        restricted_package_name: form
            .remove("restricted_package_name")
            .ok_or_else(|| missing("restricted_package_name"))?,
        pass_through: number(form.remove("pass_through"), "pass_through")?.unwrap_or(0),
        notify_type: number(form.remove("notify_type"), "notify_type")?,
        notify_id: number(form.remove("notify_id"), "notify_id")?,
        time_to_live: number(form.remove("time_to_live"), "time_to_live")?,
        extra: BTreeMap::new(),
    };
    let mut extra = BTreeMap::new();
    for (name, value) in form {
        let own = name.strip_prefix("extra.").ok_or_else(|| illegal(&name))?;
        extra.insert(own.to_owned(), value);
    }
    Ok(Message { extra, ..message })
}

fn check(message: &Message) -> Result<(ShownPush, Option<Callback>), Wrong> {
    let approved = approved(message)?;
    let longest = if approved.template.is_some() { 10 * DAY_MS } else { DAY_MS };
    want(message.pass_through == 0, "pass_through")?;
    want(message.notify_type.is_none_or(|kind| (-1..=7).contains(&kind)), "notify_type")?;
    want(message.time_to_live.is_none_or(|ttl| (1..=longest).contains(&ttl)), "time_to_live")?;
    if message.restricted_package_name != PACKAGE {
        return Err(Wrong(66108, "the package name does not match".to_owned()));
    }
    if message.notify_id.is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        return Err(Wrong(22103, "notify_id is wrong".to_owned()));
    }
    let filled = match &approved.template {
        Some((_, title, description)) => {
            let param = param(message)?;
            Some((fill(title, &param), fill(description, &param)))
        }
        None => None,
    };
    check_texts(message, filled.is_some())?;
    check_extra(&message.extra)?;
    let callback = callback(&message.extra)?;
    let (title, body) = filled.unwrap_or_else(|| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (text(&message.title), text(&message.description))
    });
    let shown = ShownPush {
        title,
        body,
        // Without an id, all notifications of an app take one place.
        tag: Some(message.notify_id.map_or("without notify_id".to_owned(), |id| id.to_string())),
        // No `image`: a phone shows only pictures uploaded to Xiaomi beforehand. No `badge`: that
        // `extra.badge` does anything on Android is not confirmed.
        data: message.payload.as_deref().map(pairs).unwrap_or_default(),
        ..ShownPush::default()
    };
    Ok((shown, callback))
}

/// A missing, unknown or unapproved channel, and a private one without its template.
fn approved(message: &Message) -> Result<&'static Approved, Wrong> {
    static CHANNELS: [Approved; 5] = APPROVED;
    let named = |name: &str| message.extra.get(name).map(String::as_str);
    let approved = CHANNELS.iter().find(|approved| named("channel_id") == Some(approved.channel));
    approved
        .filter(|approved| named("template_id") == approved.template.map(|(id, ..)| id))
        .ok_or_else(|| Wrong(27001, "invalid channel info!".to_owned()))
}

fn param(message: &Message) -> Result<BTreeMap<String, String>, Wrong> {
    let param = message.extra.get("template_param").ok_or_else(|| missing("template_param"))?;
    let param: BTreeMap<String, String> =
        serde_json::from_str(param).map_err(|_| illegal("template_param"))?;
    let in_order = |value: &String| {
        (1..=128).contains(&value.chars().count())
            && !value.trim().is_empty()
            && !value.chars().any(template::is_refused)
    };
    want(param.values().all(in_order), "template_param")?;
    // Both variables of the sandbox's templates, and no other.
    want(param.keys().eq(["content", "name"]), "template_param")?;
    Ok(param)
}

fn fill(template: &str, param: &BTreeMap<String, String>) -> String {
    let mut filled = template.to_owned();
    for (name, value) in param {
        filled = filled.replace(&format!("{{${name}$}}"), value);
    }
    filled
}

fn check_texts(message: &Message, has_template: bool) -> Result<(), Wrong> {
    for (text, below) in [(&message.title, 50), (&message.description, 128)] {
        match text {
            None if has_template => {}
            None => return Err(Wrong(65011, "Title or Description is empty!".to_owned())),
            Some(text) if text.trim().is_empty() => {
                return Err(Wrong(65011, "Title or Description is empty!".to_owned()));
            }
            Some(text) if text.chars().count() >= below => {
                return Err(Wrong(65009, "the content is too long".to_owned()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The vendor's own extras; all others are the sender's, and limited.
const VENDORS_EXTRAS: [&str; 17] = [
    "channel_id",
    "template_id",
    "template_param",
    "notify_effect",
    "intent_uri",
    "web_uri",
    "notify_foreground",
    "callback",
    "callback.param",
    "callback.type",
    "jobkey",
    "only_send_once",
    "sound_uri",
    "flow_control",
    "notification_style_type",
    "notification_large_icon_uri",
    "badge",
];

fn check_extra(extra: &BTreeMap<String, String>) -> Result<(), Wrong> {
    let named = |name: &str| extra.get(name).map(String::as_str);
    let effect = match named("notify_effect") {
        Some("1") => true,
        Some("2") => named("intent_uri").is_some_and(|uri| !uri.is_empty()),
        Some("3") => named("web_uri").is_some_and(|uri| uri.starts_with("http")),
        _ => false,
    };
    want(effect, "notify_effect")?;
    want(matches!(named("notify_foreground"), None | Some("0" | "1")), "notify_foreground")?;
    let own = || extra.iter().filter(|(name, _)| !VENDORS_EXTRAS.contains(&name.as_str()));
    if own().count() > 10 {
        return Err(Wrong(65014, "too many extra pairs".to_owned()));
    }
    let size: usize = own().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if size > 1024 {
        return Err(Wrong(65015, "the extra pairs are too long".to_owned()));
    }
    Ok(())
}

fn callback(extra: &BTreeMap<String, String>) -> Result<Option<Callback>, Wrong> {
    const ALL_KINDS: u32 = 1 | 2 | 16 | 32 | 64 | 128 | 1024;
    let Some(url) = extra.get("callback") else { return Ok(None) };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Wrong(65038, "the callback is illegal".to_owned()));
    }
    let param = extra.get("callback.param").cloned().unwrap_or_default();
    if param.len() > 256 {
        return Err(Wrong(65036, "the callback's param is too long".to_owned()));
    }
    let kinds = match extra.get("callback.type") {
        Some(kinds) => kinds.parse().ok().filter(|kinds| kinds & !ALL_KINDS == 0),
        None => Some(3),
    };
    let kinds = kinds.ok_or_else(|| illegal("callback.type"))?;
    Ok(Some(Callback { param, kinds }))
}

fn pairs(payload: &str) -> BTreeMap<String, String> {
    match serde_json::from_str(payload) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect(),
        _ => [("payload".to_owned(), payload.to_owned())].into(),
    }
}

fn want(in_order: bool, field: &str) -> Result<(), Wrong> {
    if in_order { Ok(()) } else { Err(illegal(field)) }
}

fn illegal(field: &str) -> Wrong {
    Wrong(10017, format!("illegal: {field}"))
}

fn missing(field: &str) -> Wrong {
    Wrong(10016, format!("missing: {field}"))
}
