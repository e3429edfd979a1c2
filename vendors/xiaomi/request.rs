//! The one request that sends a batch: one form of the same content for all, or a list of messages.
//!
//! The first form, `/v3/message/regid`, holds one content, one notify id and one ttl, so it serves
//! only pushes that are alike in all three; a mixed batch goes to `/v2/multi_messages/regids`
//! (<https://dev.mi.com/xiaomihyperos/documentation/detail?pId=1559>). One layout feeds both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Request, header};
use serde_json::{Map, Value};

use super::{Channel, Filling, LIMITS, Messages, template};
use crate::kit::{tap, text};
use crate::{Batch, Class, Notification, Push};

/// Own extra pairs: at most this many, and this many characters together.
const MAX_EXTRAS: usize = 10;
const MAX_EXTRAS_CHARS: usize = 1024;

/// Delivered 1, clicked 2, invalid 16, disabled 32, filtered 64, quota 128, expired 1024. Each bit
/// once: a sum with a repeated bit silently ends all receipts.
const RECEIPTS: &str = "1267";

/// One message, as `multi_messages` wants it; the form has the same fields.
#[derive(serde::Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    payload: String,
    restricted_package_name: String,
    /// 0: a notification, shown by the phone itself.
    pass_through: u8,
    notify_type: i8,
    /// Without it a phone shows only one notification of the app.
    notify_id: u32,
    /// Milliseconds.
    time_to_live: u64,
    extra: Map<String, Value>,
}

#[derive(serde::Serialize)]
struct Targeted<'a> {
    target: &'a str,
    message: Message,
}

pub(super) fn build(messages: &Messages, batch: &Batch, credential: &str) -> Request<Bytes> {
    let first = batch.pushes.first().expect("a batch is never empty");
    let alike = batch.pushes.iter().all(|push| is_alike(first, push));
    let (path, form) = if alike {
        ("/v3/message/regid", one_content(messages, batch, first))
    } else {
        ("/v2/multi_messages/regids", many_contents(messages, batch))
    };
    Request::post(format!("{}{path}", messages.base_url))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded;charset=UTF-8")
        .header(header::AUTHORIZATION, format!("key={credential}"))
        .body(Bytes::from(form))
        .expect("the address and the secret were checked when the lane was built")
}

/// Whether both pushes make the same form, the token aside.
fn is_alike(a: &Push, b: &Push) -> bool {
    a.slot_id == b.slot_id
        && a.expires_at == b.expires_at
        && (Arc::ptr_eq(&a.notification, &b.notification) || a.notification == b.notification)
}

fn one_content(messages: &Messages, batch: &Batch, first: &Push) -> String {
    let message = message(messages, first, batch.now);
    let mut form = Serializer::new(String::new());
    form.append_pair("registration_id", &tokens(&batch.pushes));
    for (name, text) in [("title", &message.title), ("description", &message.description)] {
        if let Some(text) = text {
            form.append_pair(name, text);
        }
    }
    form.append_pair("payload", &message.payload)
        .append_pair("restricted_package_name", &message.restricted_package_name)
        .append_pair("pass_through", &message.pass_through.to_string())
        .append_pair("notify_type", &message.notify_type.to_string())
        .append_pair("notify_id", &message.notify_id.to_string())
        .append_pair("time_to_live", &message.time_to_live.to_string());
    for (name, value) in &message.extra {
        form.append_pair(&format!("extra.{name}"), value.as_str().unwrap_or_default());
    }
    form.finish()
}

/// Each token once, joined by commas.
fn tokens(pushes: &[Push]) -> String {
    let mut seen = HashSet::with_capacity(pushes.len());
    let mut list = String::with_capacity(pushes.len() * 65);
    for token in pushes.iter().map(|push| push.token.expose()) {
        if seen.insert(token) {
            if seen.len() > 1 {
                list.push(',');
            }
            list.push_str(token);
        }
    }
    list
}

fn many_contents(messages: &Messages, batch: &Batch) -> String {
    let list: Vec<Targeted<'_>> = batch
        .pushes
        .iter()
        .map(|push| Targeted {
            target: push.token.expose(),
            message: message(messages, push, batch.now),
        })
        .collect();
    let list = serde_json::to_string(&list).expect("texts and numbers always serialise");
    Serializer::new(String::new()).append_pair("messages", &list).finish()
}

fn message(messages: &Messages, push: &Push, now: SystemTime) -> Message {
    let config = &messages.config;
    let notification = &*push.notification;
    let ttl = push.expires_at.duration_since(now).unwrap_or_default();
    let ttl = ttl.min(longest_ttl(notification.class));
    let extra = extra(messages, push);
    let plain = !extra.contains_key("template_id") || config.send_title_with_template;
    Message {
        title: plain.then(|| text::truncate(&notification.title, LIMITS.title)),
        description: plain.then(|| text::truncate(&notification.body, LIMITS.body)),
        payload: tap::Data(notification).to_json(),
        restricted_package_name: config.package.clone(),
        pass_through: 0,
        // -1 rings, vibrates and lights as the user allows; 0 is silent.
        notify_type: if notification.sound.is_some() { -1 } else { 0 },
        notify_id: push.slot_id.notify_id(),
        time_to_live: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1000),
        extra,
    }
}

/// The public class is kept for a day, the private one for ten (pId=1854, since 2024-09-03).
fn longest_ttl(class: Class) -> Duration {
    match class {
        Class::Marketing => Duration::from_secs(24 * 60 * 60),
        Class::Im | Class::Call | Class::FriendRequest | Class::System => LIMITS.ttl_max,
    }
}

/// The `extra` fields, without the prefix that the form adds.
fn extra(messages: &Messages, push: &Push) -> Map<String, Value> {
    let config = &messages.config;
    let notification = &*push.notification;
    let mut extra = own_extras(notification);
    let mut set = |name: &str, value: String| extra.insert(name.to_owned(), Value::String(value));
    let channel = config.channels.of(notification.class);
    let channel_id = given(notification, "channel_id");
    if let Some(id) = channel_id.or(channel.map(|channel| channel.channel_id.as_str())) {
        set("channel_id", id.to_owned());
    }
    if let Some((id, param)) = template(messages, notification, channel) {
        set("template_id", id);
        set("template_param", param);
    }
    match given(notification, "intent").or(config.intent.as_deref()) {
        Some(intent) => {
            set("notify_effect", "2".to_owned());
            set("intent_uri", tap::intent(intent, notification));
        }
        None => {
            set("notify_effect", "1".to_owned());
        }
    }
    let foreground = notification.overrides.get("foreground_show").and_then(Value::as_bool);
    let foreground = foreground.unwrap_or(config.foreground_show);
    set("notify_foreground", u8::from(foreground).to_string());
    if let Some(sound) = given(notification, "sound_uri") {
        set("sound_uri", sound.to_owned());
    }
    if let Some(callback) = &config.callback {
        set("callback", callback.clone());
        set("callback.param", push.push_id.hex());
        set("callback.type", RECEIPTS.to_owned());
    }
    extra
}

/// The template's id and its filled-in variables. The caller may name another template and bring
/// its values; they pass the same filter.
fn template(
    messages: &Messages,
    notification: &Notification,
    channel: Option<&Channel>,
) -> Option<(String, String)> {
    let own_id = given(notification, "template_id");
    let id = own_id.or(channel.and_then(|channel| channel.template_id.as_deref()))?;
    let empty_text = &messages.config.empty_text;
    let value = |text: &str| Value::String(template::value(text, empty_text));
    let param: Map<String, Value> = match notification.overrides.get("template_param") {
        Some(Value::Object(param)) => {
            param.iter().map(|(k, v)| (k.clone(), value(v.as_str().unwrap_or_default()))).collect()
        }
        _ => channel?
            .variables
            .iter()
            .map(|(name, filling)| (name.clone(), value(filling.text(notification))))
            .collect(),
    };
    Some((id.to_owned(), Value::Object(param).to_string()))
}

impl Filling {
    fn text(self, notification: &Notification) -> &str {
        match self {
            Filling::Title => &notification.title,
            Filling::Body => &notification.body,
            Filling::Sender => match &notification.sender {
                Some(sender) => &sender.nickname,
                None => &notification.title,
            },
        }
    }
}

/// The caller's own pairs (`extra`), as many as the vendor takes.
fn own_extras(notification: &Notification) -> Map<String, Value> {
    let mut room = MAX_EXTRAS_CHARS;
    let mut extras = Map::new();
    let Some(Value::Object(given)) = notification.overrides.get("extra") else { return extras };
    for (name, value) in given.iter().take(MAX_EXTRAS) {
        let Some(text) = value.as_str() else { continue };
        let size = name.chars().count() + text.chars().count();
        if size > room {
            break;
        }
        room -= size;
        extras.insert(name.clone(), value.clone());
    }
    extras
}

/// The caller's own text for one field.
fn given<'a>(notification: &'a Notification, field: &str) -> Option<&'a str> {
    notification.overrides.get(field)?.as_str()
}
