//! The JSON body: `aps` for the system, everything beside it for the app.
//!
//! Keys as in "Generating a remote notification" (developer.apple.com, read 2026-11-22).

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::kit::text;
use crate::{Class, Push, TextLimit, TextUnit};

/// The longest body APNs takes for an alert.
pub(super) const MAX: usize = 4096;

/// The body of a push's request. The text's end is cut off where it would be longer than [`MAX`];
/// it is longer all the same only when the rest alone is.
pub(super) fn bytes(push: &Push) -> Vec<u8> {
    let notification = &*push.notification;
    let whole = write(push, &notification.body);
    let Some(excess) = whole.len().checked_sub(MAX).filter(|excess| *excess > 0) else {
        return whole;
    };
    // A byte of text is at least a byte of JSON, so one cut is enough.
    let max = notification.body.len().saturating_sub(excess);
    write(push, &text::truncate(&notification.body, TextLimit { max, unit: TextUnit::Bytes }))
}

fn write(push: &Push, body: &str) -> Vec<u8> {
    let overrides = Overrides::of(push);
    let payload = Payload {
        aps: Aps::of(push, body, &overrides),
        posthorn: Posthorn::of(push),
        data: &push.notification.data,
    };
    let mut bytes = Vec::with_capacity(512 + body.len());
    serde_json::to_writer(&mut bytes, &payload)
        .expect("writing to memory never fails, and all keys are strings");
    bytes
}

struct Payload<'a> {
    aps: Aps<'a>,
    posthorn: Posthorn<'a>,
    data: &'a BTreeMap<String, String>,
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("aps", &self.aps)?;
        map.serialize_entry("posthorn", &self.posthorn)?;
        for (key, value) in self.data {
            // The two names above are taken; a second entry would make the JSON ambiguous.
            if key != "aps" && key != "posthorn" {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    alert: Alert<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<Sound<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutable_content: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
    interruption_level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    relevance_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_content_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_criteria: Option<&'a str>,
}

#[derive(Serialize)]
struct Alert<'a> {
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtitle: Option<&'a str>,
    body: &'a str,
}

impl<'a> Aps<'a> {
    fn of(push: &'a Push, body: &'a str, overrides: &Overrides<'a>) -> Self {
        let notification = &*push.notification;
        let conversation = notification.conversation.as_deref();
        let mutable = overrides.mutable_content.unwrap_or(notification.sender.is_some());
        Aps {
            alert: Alert { title: &notification.title, subtitle: overrides.subtitle, body },
            badge: notification.badge,
            sound: overrides.sound.or(notification.sound.as_deref().map(Sound::Name)),
            thread_id: overrides.thread_id.or(conversation),
            category: overrides.category,
            mutable_content: mutable.then_some(1),
            content_available: overrides.content_available.unwrap_or(false).then_some(1),
            interruption_level: overrides
                .interruption_level
                .unwrap_or(Level::of(notification.class)),
            relevance_score: overrides.relevance_score,
            target_content_id: overrides.target_content_id.or(conversation),
            filter_criteria: overrides.filter_criteria,
        }
    }
}

/// What the app's extension needs to show who wrote, and the app to find the message.
#[derive(Serialize)]
struct Posthorn<'a> {
    v: u8,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<From<'a>>,
}

#[derive(Serialize)]
struct From<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<&'a str>,
}

impl<'a> Posthorn<'a> {
    fn of(push: &'a Push) -> Self {
        let notification = &*push.notification;
        let from = notification.sender.as_ref().map(|sender| From {
            id: &sender.id,
            name: &sender.nickname,
            avatar: sender.avatar.as_deref(),
        });
        Posthorn {
            v: 1,
            event: &notification.event_id,
            conversation: notification.conversation.as_deref(),
            from,
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Passive,
    Active,
    TimeSensitive,
    Critical,
}

impl Level {
    fn of(class: Class) -> Self {
        match class {
            Class::Im | Class::FriendRequest | Class::System => Level::Active,
            Class::Call => Level::TimeSensitive,
            Class::Marketing => Level::Passive,
        }
    }
}

/// A sound file's name, or a critical alert's sound (which needs an entitlement).
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Sound<'a> {
    Name(&'a str),
    Critical {
        critical: u8,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        volume: Option<f64>,
    },
}

/// The caller's fields for APNs alone, named as Apple names them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Overrides<'a> {
    pub(super) priority: Option<u8>,
    subtitle: Option<&'a str>,
    category: Option<&'a str>,
    #[serde(borrow)]
    sound: Option<Sound<'a>>,
    thread_id: Option<&'a str>,
    interruption_level: Option<Level>,
    relevance_score: Option<f64>,
    target_content_id: Option<&'a str>,
    filter_criteria: Option<&'a str>,
    mutable_content: Option<bool>,
    content_available: Option<bool>,
}

impl<'a> Overrides<'a> {
    /// The overrides, or the name of the first that is unknown or wrong.
    pub(super) fn read(fields: &'a Map<String, Value>) -> Result<Self, String> {
        if fields.is_empty() {
            return Ok(Overrides::default());
        }
        let read: Overrides<'a> =
            serde_path_to_error::deserialize(fields).map_err(|err| err.path().to_string())?;
        if !matches!(read.priority, None | Some(1 | 5 | 10)) {
            return Err("priority".to_owned());
        }
        if read.relevance_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            return Err("relevance-score".to_owned());
        }
        Ok(read)
    }

    /// Those of a push that was checked before it came here.
    pub(super) fn of(push: &'a Push) -> Self {
        Overrides::read(&push.notification.overrides).unwrap_or_default()
    }
}
