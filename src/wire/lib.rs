//! The JSON that strangers depend on, as serde types.
//!
//! Deliberately absent: meaning. A field's presence and type are checked here; lengths, references
//! and rules are checked where an event is taken in (`ingest/`).

#![warn(missing_docs)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One offline-message event, as `POST /v1/events` takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The idempotency key within the app, 1 to 128 bytes.
    pub id: String,
    /// What happened.
    #[serde(default)]
    pub kind: Kind,
    /// What kind of message; follows from `kind` when absent.
    pub class: Option<Class>,
    /// 1 to 500 user ids or `{"lane","token"}` targets.
    #[serde(default)]
    pub to: Vec<Recipient>,
    /// Who wrote.
    pub from: Option<From>,
    /// The conversation, for grouping, muting and reading.
    pub conversation: Option<String>,
    /// What was written.
    pub message: Option<Message>,
    /// Milliseconds since 1970; now when absent.
    pub sent_at: Option<u64>,
    /// How long anybody wants it; seven days when absent.
    pub ttl_secs: Option<u64>,
    /// The number on the app's icon.
    pub badge: Option<u32>,
    /// The caller's wishes for the notification.
    pub push: Option<Push>,
    /// The event that a recall, an edit or a call's end speaks of.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// For `read`: everything sent up to this moment is read.
    pub up_to: Option<u64>,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    #[default]
    Message,
    Call,
    CallEnd,
    Recall,
    Edit,
    Read,
    FriendRequest,
    System,
}

/// What kind of message, which decides every vendor's channel, category and urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    Im,
    Call,
    FriendRequest,
    System,
    Marketing,
}

/// Somebody to ring.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a user id or {\"lane\", \"token\"}")]
pub enum Recipient {
    /// A user whose devices are registered.
    User(String),
    /// A token that the caller keeps itself.
    Target(Target),
}

/// A token at a lane.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The lane's name.
    pub lane: String,
    /// The vendor's token.
    pub token: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// Who wrote; what is absent comes from the stored profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The user id.
    pub user_id: String,
    /// The name shown.
    pub nickname: Option<String>,
    /// An https URL.
    pub avatar: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The sort of message.
    #[serde(rename = "type", default)]
    pub kind: MessageType,
    /// Its text, or the words that stand for it.
    pub text: Option<String>,
}

/// The sort of message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum MessageType {
    #[default]
    Text,
    Face,
    Location,
    Image,
    Sound,
    File,
    Video,
    Custom,
    System,
    Relay,
}

/// The caller's wishes for the notification.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Instead of the composed title.
    pub title: Option<String>,
    /// Instead of the composed body.
    pub body: Option<String>,
    /// A sound file of the app; `""` is silence.
    pub sound: Option<String>,
    /// How much a lock screen may tell, at most.
    pub preview: Option<Preview>,
    /// Handed to the app on tap.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Fields for one vendor alone, by vendor id.
    #[serde(default)]
    pub vendor: BTreeMap<String, Map<String, Value>>,
}

/// How much of a message a lock screen may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Preview {
    Full,
    Name,
    Hidden,
}

/// The answer to one event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The event's id; absent when it had none that could be read.
    pub id: Option<String>,
    /// `accepted`, `duplicate` or `rejected`.
    pub status: String,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<EntryError>,
}

/// Why one entry of a batch was rejected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryError {
    /// A stable word.
    pub code: String,
    /// The JSON path at fault.
    pub path: String,
    /// What is wrong with it.
    pub detail: String,
}

/// `PUT /v1/devices/{device_id}`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Whose device it is. A UserSig caller may leave it out.
    pub user_id: Option<String>,
    /// The lane that reaches it.
    pub lane: String,
    /// Its address there.
    pub token: String,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA.
    pub time_zone: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// The phone's model.
    pub model: Option<String>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A device as it is told; never with its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `Device`")]
pub struct DeviceView {
    pub device_id: String,
    pub user_id: String,
    pub lane: String,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub app_version: Option<String>,
    pub model: Option<String>,
    /// Grows whenever the token gets an owner.
    pub generation: u64,
    /// Milliseconds since 1970.
    pub registered_at: u64,
}

/// `PUT /v1/users/{id}/preferences`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// Conversations that do not ring.
    #[serde(default)]
    pub muted_conversations: Vec<String>,
    /// A time of day without notifications.
    pub quiet_hours: Option<QuietHours>,
    /// How much of a message a lock screen may tell.
    pub preview: Option<Preview>,
    /// BCP 47; instead of the devices' own.
    pub language: Option<String>,
}

/// A time of day without notifications; may span midnight.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// `22:30`.
    pub from: String,
    /// `07:00`, the first minute that rings again.
    pub to: String,
    /// IANA, `Asia/Shanghai`.
    pub time_zone: String,
}

/// `PUT /v1/users/{id}/profile`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name shown in notifications.
    pub nickname: Option<String>,
    /// An https URL.
    pub avatar: Option<String>,
}

/// `GET /v1/events/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trace {
    /// The app it belongs to.
    pub app: String,
    /// The event's id.
    pub id: String,
    /// The furthest any push came: `accepted`, `sent`, `delivered`, `clicked`, `suppressed`,
    /// `failed` or `expired`.
    pub status: String,
    /// Milliseconds since 1970.
    pub received_at: u64,
    /// What became of each push.
    pub pushes: Vec<PushTrace>,
}

/// What became of one push.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in the README's table")]
pub struct PushTrace {
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    pub lane: Option<String>,
    pub status: String,
    pub reason: Option<String>,
    pub code: Option<String>,
    pub hint: Option<String>,
    pub vendor_ref: Option<String>,
    pub attempts: u32,
    pub at: u64,
}

/// An error, as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`; `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: String,
    /// What is wrong and what to do.
    pub detail: String,
    /// The JSON path at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
