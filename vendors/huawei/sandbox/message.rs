//! A send request as Huawei reads it: every field's type and range, and what a phone makes of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::huawei::CATEGORIES;
use crate::sandbox::phones::ShownPush;

/// The one receipt that the sandbox's console has.
const RECEIPT_ID: &str = "RCP0001";
const MAX_TOKENS: usize = 1000;
const MAX_TTL_SECS: f64 = 1_296_000.0;
const MAX_TAG_BYTES: usize = 64;

/// The code of a refusal, and its words.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) &'static str, pub(super) String);

/// A request in order.
pub(super) struct Sent {
    pub(super) validate_only: bool,
    pub(super) tokens: Vec<String>,
    pub(super) bi_tag: Option<String>,
    /// What every phone shows, without the vendor's name for it.
    pub(super) shown: ShownPush,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    validate_only: bool,
    message: Message,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    data: Option<String>,
    notification: Option<Plain>,
    android: Option<Android>,
    token: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    title: Option<String>,
    body: Option<String>,
    image: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Android {
    category: Option<String>,
    ttl: Option<String>,
    collapse_key: Option<i32>,
    urgency: Option<String>,
    bi_tag: Option<String>,
    receipt_id: Option<String>,
    target_user_type: Option<u8>,
    data: Option<String>,
    notification: Option<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    title: Option<String>,
    body: Option<String>,
    click_action: Option<ClickAction>,
    importance: Option<String>,
    notify_id: Option<i32>,
    tag: Option<String>,
    group: Option<String>,
    badge: Option<Badge>,
    image: Option<String>,
    style: Option<i32>,
    big_title: Option<String>,
    big_body: Option<String>,
    channel_id: Option<String>,
    #[expect(dead_code, reason = "read for its type; a sandbox phone's app is never open")]
    foreground_show: Option<bool>,
    when: Option<String>,
    visibility: Option<String>,
    sound: Option<String>,
    default_sound: Option<bool>,
    profile_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClickAction {
    r#type: u8,
    intent: Option<String>,
    action: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Badge {
    class: Option<String>,
    add_num: Option<u32>,
    set_num: Option<u32>,
}

/// Reads and checks a body; `max_bytes` is its longest without the tokens.
pub(super) fn read(body: &[u8], max_bytes: usize) -> Result<Sent, Wrong> {
    let Body { validate_only, message } =
        serde_json::from_slice(body).map_err(|err| structure(err.to_string()))?;
    if message.token.is_empty() || message.token.len() > MAX_TOKENS {
        return Err(Wrong("80300010", "the number of tokens must be 1 to 1000".to_owned()));
    }
    let commas = message.token.len() - 1;
    let tokens: usize = message.token.iter().map(|token| token.len() + 2).sum();
    if body.len() - tokens - commas > max_bytes {
        return Err(Wrong("80300008", "the message body is over 4096 bytes".to_owned()));
    }
    let android = message.android.ok_or_else(|| structure("android is missing"))?;
    check_android(&android)?;
    let alert = android.notification.ok_or_else(|| structure("notification is missing"))?;
    check_alert(&alert)?;
    let data = android.data.or(message.data);
    let shown = rendered(&alert, message.notification.as_ref(), data.as_deref())?;
    Ok(Sent { validate_only, tokens: message.token, bi_tag: android.bi_tag, shown })
}

fn check_android(android: &Android) -> Result<(), Wrong> {
    let is = |value: &Option<String>, check: fn(&str) -> bool| value.as_deref().is_none_or(check);
    want(is(&android.category, |name| CATEGORIES.contains(&name)), "category")?;
    want(is(&android.ttl, is_ttl), "ttl")?;
    want(is(&android.bi_tag, |tag| tag.len() <= MAX_TAG_BYTES), "bi_tag")?;
    want(is(&android.urgency, |word| ["NORMAL", "HIGH"].contains(&word)), "urgency")?;
    want(android.target_user_type.is_none_or(|kind| kind <= 1), "target_user_type")?;
    if android.collapse_key.is_some_and(|key| !(-1..=100).contains(&key)) {
        return Err(Wrong("80100013", "collapse_key is wrong".to_owned()));
    }
    if android.urgency.as_deref() == Some("HIGH") {
        return Err(Wrong("80300011", "no right to high urgency".to_owned()));
    }
    if android.receipt_id.as_deref().is_some_and(|id| id != RECEIPT_ID) {
        return Err(Wrong("80300013", "the receipt address is wrong".to_owned()));
    }
    Ok(())
}

fn check_alert(alert: &Alert) -> Result<(), Wrong> {
    let one_of = |value: &Option<String>, words: &[&str]| {
        value.as_deref().is_none_or(|value| words.contains(&value))
    };
    want(alert.click_action.as_ref().is_some_and(leads_somewhere), "click_action")?;
    want(one_of(&alert.importance, &["LOW", "NORMAL"]), "importance")?;
    want(one_of(&alert.visibility, &["PRIVATE", "PUBLIC", "SECRET"]), "visibility")?;
    want(alert.notify_id.is_none_or(|id| id >= -1), "notify_id")?;
    want(alert.profile_id.as_ref().is_none_or(|id| id.len() <= 64), "profile_id")?;
    want(alert.image.as_deref().is_none_or(|image| image.starts_with("https://")), "image")?;
    want(alert.badge.as_ref().is_none_or(in_range), "badge")?;
    // An empty text is as good as none.
    for (name, text) in [
        ("group", &alert.group),
        ("tag", &alert.tag),
        ("channel_id", &alert.channel_id),
        ("sound", &alert.sound),
        ("when", &alert.when),
    ] {
        want(text.as_deref() != Some(""), name)?;
    }
    want(alert.sound.is_none() || alert.default_sound != Some(true), "default_sound")?;
    let big = alert.big_title.is_some() && alert.big_body.is_some();
    want(matches!((alert.style, big), (None | Some(0 | 3), _) | (Some(1), true)), "style")
}

fn leads_somewhere(click: &ClickAction) -> bool {
    match click.r#type {
        1 => click.intent.is_some() || click.action.is_some(),
        2 => click.url.as_deref().is_some_and(|url| url.starts_with("https://")),
        3 => true,
        _ => false,
    }
}

fn in_range(badge: &Badge) -> bool {
    badge.class.as_deref().is_some_and(|class| !class.is_empty())
        && badge.add_num.is_none_or(|add| (1..=99).contains(&add))
        && badge.set_num.is_none_or(|set| set <= 99)
}

/// `\d+[sS]?`, a fraction allowed, at most 15 days.
fn is_ttl(ttl: &str) -> bool {
    let number = ttl.strip_suffix(['s', 'S']).unwrap_or(ttl);
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain && number.parse::<f64>().is_ok_and(|secs| secs <= MAX_TTL_SECS)
}

fn rendered(alert: &Alert, plain: Option<&Plain>, data: Option<&str>) -> Result<ShownPush, Wrong> {
    let text = |own: &Option<String>, other: Option<&String>| own.as_ref().or(other).cloned();
    let title = text(&alert.title, plain.and_then(|plain| plain.title.as_ref()));
    let body = text(&alert.body, plain.and_then(|plain| plain.body.as_ref()));
    let filled = |text: Option<String>, name: &str| {
        text.filter(|text| !text.is_empty()).ok_or_else(|| structure(format!("{name} is missing")))
    };
    let image = text(&alert.image, plain.and_then(|plain| plain.image.as_ref()));
    let number = alert.notify_id.filter(|id| *id != -1).map(|id| id.to_string());
    let badge = alert.badge.as_ref();
    Ok(ShownPush {
        title: filled(title, "title")?,
        body: filled(body, "body")?,
        image,
        // A phone adds one when neither number is given; the sandbox's counts from nothing.
        badge: badge.map(|badge| badge.set_num.or(badge.add_num).unwrap_or(1)),
        tag: alert.tag.clone().or(number),
        data: data.map(pairs).unwrap_or_default(),
        ..ShownPush::default()
    })
}

/// The app gets each member of the object by its name, and any other data whole.
fn pairs(data: &str) -> BTreeMap<String, String> {
    match serde_json::from_str(data) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect(),
        _ => [("data".to_owned(), data.to_owned())].into(),
    }
}

fn want(in_order: bool, field: &str) -> Result<(), Wrong> {
    if in_order { Ok(()) } else { Err(structure(format!("{field} is wrong"))) }
}

fn structure(why: impl Into<String>) -> Wrong {
    Wrong("80100003", why.into())
}
