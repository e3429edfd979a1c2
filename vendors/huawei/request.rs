//! The one request that sends a batch: <https://developer.huawei.com/consumer/cn/doc/HMSCore-References/https-send-api-0000001050986197>.
//!
//! A batch is one content and many tokens, so the content is laid out once, borrowed, and written
//! together with the tokens in one go.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, header};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::{LIMITS, Messages};
use crate::kit::{tap, text};
use crate::{Batch, Notification, Push, TextLimit, TextUnit};

/// The longest body without its tokens; more gives 80300008.
pub(super) const MAX_BYTES: usize = 4096;

/// `set_num` ends here.
const MAX_BADGE: u32 = 99;

#[derive(serde::Serialize)]
struct Body<'a> {
    validate_only: bool,
    message: Message<'a>,
}

#[derive(serde::Serialize)]
struct Message<'a> {
    data: &'a str,
    android: Android<'a>,
    token: Tokens<'a>,
}

#[derive(serde::Serialize)]
struct Android<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    ttl: String,
    bi_tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_user_type: Option<u8>,
    notification: Alert<'a>,
}

#[derive(serde::Serialize)]
struct Alert<'a> {
    title: &'a str,
    body: Cow<'a, str>,
    click_action: ClickAction,
    importance: &'a str,
    notify_id: u32,
    foreground_show: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<Badge<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct ClickAction {
    /// 1 opens a page of the app, 3 the app itself.
    r#type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<String>,
}

#[derive(serde::Serialize)]
struct Badge<'a> {
    class: &'a str,
    set_num: u32,
}

/// The batch's tokens, each once: Huawei delivers to a repeated token twice.
struct Tokens<'a>(&'a [Push]);

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seen = HashSet::with_capacity(self.0.len());
        let mut list = serializer.serialize_seq(None)?;
        for push in self.0 {
            if seen.insert(push.token.expose()) {
                list.serialize_element(push.token.expose())?;
            }
        }
        list.end()
    }
}

pub(super) fn build(messages: &Messages, batch: &Batch, credential: &str) -> Request<Bytes> {
    Request::post(&messages.url)
        .header(header::CONTENT_TYPE, "application/json;charset=UTF-8")
        .header(header::AUTHORIZATION, format!("Bearer {credential}"))
        .body(Bytes::from(body(messages, batch)))
        .expect("the address was checked when the lane was built, and tokens are plain text")
}

fn body(messages: &Messages, batch: &Batch) -> Vec<u8> {
    let first = batch.pushes.first().expect("a batch is never empty");
    let data = tap::Data(&first.notification).to_json();
    let mut body = Body {
        validate_only: false,
        message: Message {
            data: &data,
            android: android(messages, first, batch.now),
            token: Tokens(&[]),
        },
    };
    let bare = written(&body, 512).len();
    shorten(&mut body.message.android.notification.body, bare.saturating_sub(MAX_BYTES));
    body.message.token = Tokens(&batch.pushes);
    let tokens = batch.pushes.len() * (first.token.expose().len() + 3);
    written(&body, bare + tokens)
}

fn written(body: &Body<'_>, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut bytes, body).expect("texts and numbers always serialise");
    bytes
}

/// Takes at least `excess` bytes of JSON off, and as little text as that needs: first in
/// proportion, then byte by byte, because a byte of text is at least a byte of JSON.
fn shorten(body: &mut Cow<'_, str>, excess: usize) {
    if excess == 0 {
        return;
    }
    let whole = json_bytes(body);
    let room = whole.saturating_sub(excess);
    let mut max = body.len() * room / whole;
    loop {
        let cut = text::truncate(body, TextLimit { max, unit: TextUnit::Bytes });
        let over = json_bytes(&cut).saturating_sub(room);
        if over == 0 || cut.is_empty() {
            *body = Cow::Owned(cut);
            return;
        }
        max = max.saturating_sub(over);
    }
}

fn json_bytes(text: &str) -> usize {
    serde_json::to_string(text).expect("a text always serialises").len()
}

fn android<'a>(messages: &'a Messages, push: &'a Push, now: SystemTime) -> Android<'a> {
    let config = &messages.config;
    let notification = &*push.notification;
    let ttl = push.expires_at.duration_since(now).unwrap_or_default().min(LIMITS.ttl_max);
    Android {
        category: given(notification, "category")
            .or_else(|| config.categories.of(notification.class)),
        ttl: format!("{}s", ttl.as_secs().max(1)),
        bi_tag: push.push_id.hex(),
        receipt_id: config.receipt_id.as_deref(),
        target_user_type: config.test_user.then_some(1),
        notification: alert(messages, push),
    }
}

fn alert<'a>(messages: &'a Messages, push: &'a Push) -> Alert<'a> {
    let config = &messages.config;
    let notification = &*push.notification;
    let silent = notification.sound.is_none();
    Alert {
        title: &notification.title,
        body: Cow::Borrowed(&notification.body),
        click_action: click_action(messages, notification),
        importance: given(notification, "importance").unwrap_or(if silent {
            "LOW"
        } else {
            "NORMAL"
        }),
        notify_id: push.slot_id.notify_id(),
        foreground_show: notification
            .overrides
            .get("foreground_show")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(config.foreground_show),
        image: given(notification, "image").or_else(|| avatar(notification)),
        group: given(notification, "group").or(notification.conversation.as_deref()),
        badge: badge(messages, notification),
        channel_id: given(notification, "channel_id"),
        sound: given(notification, "sound"),
        visibility: given(notification, "visibility"),
    }
}

fn click_action(messages: &Messages, notification: &Notification) -> ClickAction {
    match given(notification, "intent").or(messages.config.intent.as_deref()) {
        Some(template) => {
            ClickAction { r#type: 1, intent: Some(tap::intent(template, notification)) }
        }
        None => ClickAction { r#type: 3, intent: None },
    }
}

fn badge<'a>(messages: &'a Messages, notification: &Notification) -> Option<Badge<'a>> {
    let class = messages.config.badge_class.as_deref()?;
    Some(Badge { class, set_num: notification.badge?.min(MAX_BADGE) })
}

/// Huawei fetches pictures over https only.
fn avatar(notification: &Notification) -> Option<&str> {
    let avatar = notification.sender.as_ref()?.avatar.as_deref()?;
    avatar.starts_with("https://").then_some(avatar)
}

/// The caller's own text for one field.
fn given<'a>(notification: &'a Notification, field: &str) -> Option<&'a str> {
    notification.overrides.get(field)?.as_str()
}
