//! The stored form of what the model speaks of: postcard behind one version byte, borrowed both
//! ways. Private to `store`; a field is added by a new version, never by changing an old one.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthorn_vendors::{Class, Id, Notification, Sender, Token};
use serde::{Deserialize, Serialize};

use super::{DeadLetter, Item, ItemTarget, Owner, StoreError, StoreErrorKind};
use crate::model::{
    Burst, Device, DirectTarget, Event, Kind, Message, MessageType, Millis, Preferences, Preview,
    Priority, Profile, PushOptions, PushTrace, QuietHours, Verdict,
};

/// The version this build writes; every record starts with it.
const VERSION: u8 = 1;

/// `record` behind its version byte.
pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    postcard::to_extend(record, bytes).expect("records hold only what postcard can write")
}

/// The record behind its version byte.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, record)) => postcard::from_bytes(record)
            .map_err(|err| StoreError::new(StoreErrorKind::Corrupt, err)),
        Some((version, _)) => Err(StoreError::new(
            StoreErrorKind::Corrupt,
            format!("a record of version {version}; this build reads up to {VERSION}"),
        )),
        None => Err(StoreError::new(StoreErrorKind::Corrupt, "an empty record")),
    }
}

/// An index in a list of variants stands for the variant; the list only ever grows at its end.
fn code<T: PartialEq + Copy>(list: &[T], value: T) -> u8 {
    list.iter().position(|known| *known == value).expect("every variant is listed") as u8
}

fn coded<T: Copy>(list: &[T], code: u8) -> Result<T, StoreError> {
    list.get(usize::from(code)).copied().ok_or_else(|| {
        StoreError::new(StoreErrorKind::Corrupt, format!("an unknown variant {code}"))
    })
}

const CLASSES: [Class; 5] =
    [Class::Im, Class::Call, Class::FriendRequest, Class::System, Class::Marketing];
const PREVIEWS: [Preview; 3] = [Preview::Full, Preview::Name, Preview::Hidden];
const VERDICTS: [Verdict; 7] = [
    Verdict::Accepted,
    Verdict::Sent,
    Verdict::Delivered,
    Verdict::Clicked,
    Verdict::Suppressed,
    Verdict::Failed,
    Verdict::Expired,
];
const MESSAGE_TYPES: [MessageType; 10] = [
    MessageType::Text,
    MessageType::Face,
    MessageType::Location,
    MessageType::Image,
    MessageType::Sound,
    MessageType::File,
    MessageType::Video,
    MessageType::Custom,
    MessageType::System,
    MessageType::Relay,
];

#[derive(Serialize, Deserialize)]
pub(super) struct EventRecord<'a> {
    id: &'a str,
    #[serde(borrow)]
    kind: KindRecord<'a>,
    class: u8,
    to: Vec<&'a str>,
    targets: Vec<(&'a str, &'a str)>,
    from: Option<SenderRecord<'a>>,
    conversation: Option<&'a str>,
    sent_at: u64,
    received_at: u64,
    deadline: u64,
    badge: Option<u32>,
    push: PushRecord<'a>,
    bursts: Vec<(u16, [u8; 16], u32)>,
}

#[derive(Serialize, Deserialize)]
enum KindRecord<'a> {
    #[serde(borrow)]
    Message(MessageRecord<'a>),
    Call,
    CallEnd(&'a str),
    Recall(&'a str),
    Edit(&'a str, MessageRecord<'a>),
    Read(u64),
    FriendRequest(Option<MessageRecord<'a>>),
    System(Option<MessageRecord<'a>>),
}

#[derive(Serialize, Deserialize)]
struct MessageRecord<'a> {
    kind: u8,
    text: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct SenderRecord<'a> {
    id: &'a str,
    nickname: &'a str,
    avatar: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct PushRecord<'a> {
    title: Option<&'a str>,
    body: Option<&'a str>,
    sound: Option<&'a str>,
    preview: Option<u8>,
    data: Vec<(&'a str, &'a str)>,
    /// Vendor id to JSON text: the one part whose shape is not ours.
    vendor: Vec<(&'a str, String)>,
}

impl<'a> From<&'a Message> for MessageRecord<'a> {
    fn from(message: &'a Message) -> Self {
        MessageRecord { kind: code(&MESSAGE_TYPES, message.kind), text: message.text.as_deref() }
    }
}

impl MessageRecord<'_> {
    fn message(self) -> Result<Message, StoreError> {
        let kind = coded(&MESSAGE_TYPES, self.kind)?;
        Ok(Message { kind, text: self.text.map(Box::from) })
    }
}

impl<'a> From<&'a Sender> for SenderRecord<'a> {
    fn from(sender: &'a Sender) -> Self {
        SenderRecord {
            id: &sender.id,
            nickname: &sender.nickname,
            avatar: sender.avatar.as_deref(),
        }
    }
}

impl From<SenderRecord<'_>> for Sender {
    fn from(record: SenderRecord<'_>) -> Self {
        Sender {
            id: record.id.into(),
            nickname: record.nickname.into(),
            avatar: record.avatar.map(str::to_owned),
        }
    }
}

impl<'a> From<&'a Kind> for KindRecord<'a> {
    fn from(kind: &'a Kind) -> Self {
        let optional = |message: &'a Option<Message>| message.as_ref().map(MessageRecord::from);
        match kind {
            Kind::Message(message) => KindRecord::Message(message.into()),
            Kind::Call => KindRecord::Call,
            Kind::CallEnd { of } => KindRecord::CallEnd(of),
            Kind::Recall { of } => KindRecord::Recall(of),
            Kind::Edit { of, message } => KindRecord::Edit(of, message.into()),
            Kind::Read { up_to } => KindRecord::Read(up_to.0),
            Kind::FriendRequest(message) => KindRecord::FriendRequest(optional(message)),
            Kind::System(message) => KindRecord::System(optional(message)),
        }
    }
}

impl KindRecord<'_> {
    fn kind(self) -> Result<Kind, StoreError> {
        let optional =
            |message: Option<MessageRecord<'_>>| message.map(MessageRecord::message).transpose();
        Ok(match self {
            KindRecord::Message(message) => Kind::Message(message.message()?),
            KindRecord::Call => Kind::Call,
            KindRecord::CallEnd(of) => Kind::CallEnd { of: of.into() },
            KindRecord::Recall(of) => Kind::Recall { of: of.into() },
            KindRecord::Edit(of, message) => {
                Kind::Edit { of: of.into(), message: message.message()? }
            }
            KindRecord::Read(up_to) => Kind::Read { up_to: Millis(up_to) },
            KindRecord::FriendRequest(message) => Kind::FriendRequest(optional(message)?),
            KindRecord::System(message) => Kind::System(optional(message)?),
        })
    }
}

impl<'a> From<&'a Event> for EventRecord<'a> {
    fn from(event: &'a Event) -> Self {
        EventRecord {
            id: &event.id,
            kind: (&event.kind).into(),
            class: code(&CLASSES, event.class),
            to: event.to.iter().map(|user| &**user).collect(),
            targets: event.targets.iter().map(|at| (&*at.lane, at.token.expose())).collect(),
            from: event.from.as_ref().map(Into::into),
            conversation: event.conversation.as_deref(),
            sent_at: event.sent_at.0,
            received_at: event.received_at.0,
            deadline: event.deadline.0,
            badge: event.badge,
            push: (&event.push).into(),
            bursts: event.bursts.iter().map(|(at, b)| (*at, b.slot.0, b.count)).collect(),
        }
    }
}

impl EventRecord<'_> {
    pub(super) fn event(self, app: &Arc<str>) -> Result<Event, StoreError> {
        let target = |(lane, token): (&str, &str)| DirectTarget {
            lane: lane.into(),
            token: Token::new(token),
        };
        let burst =
            |(at, slot, count): (u16, [u8; 16], u32)| (at, Burst { slot: Id(slot), count });
        Ok(Event {
            app: app.clone(),
            id: self.id.into(),
            kind: self.kind.kind()?,
            class: coded(&CLASSES, self.class)?,
            to: self.to.into_iter().map(Box::from).collect(),
            targets: self.targets.into_iter().map(target).collect(),
            from: self.from.map(Into::into),
            conversation: self.conversation.map(Box::from),
            sent_at: Millis(self.sent_at),
            received_at: Millis(self.received_at),
            deadline: Millis(self.deadline),
            badge: self.badge,
            push: self.push.options()?,
            bursts: self.bursts.into_iter().map(burst).collect(),
        })
    }
}

impl<'a> From<&'a PushOptions> for PushRecord<'a> {
    fn from(push: &'a PushOptions) -> Self {
        let text = |fields: &serde_json::Map<String, serde_json::Value>| {
            serde_json::to_string(fields).expect("JSON maps can be written")
        };
        PushRecord {
            title: push.title.as_deref(),
            body: push.body.as_deref(),
            sound: push.sound.as_deref(),
            preview: push.preview.map(|preview| code(&PREVIEWS, preview)),
            data: push.data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            vendor: push.vendor.iter().map(|(id, map)| (id.as_str(), text(map))).collect(),
        }
    }
}

impl PushRecord<'_> {
    fn options(self) -> Result<PushOptions, StoreError> {
        let mut vendor = BTreeMap::new();
        for (id, text) in self.vendor {
            vendor.insert(id.to_owned(), json(&text)?);
        }
        Ok(PushOptions {
            title: self.title.map(Box::from),
            body: self.body.map(Box::from),
            sound: self.sound.map(Box::from),
            preview: self.preview.map(|preview| coded(&PREVIEWS, preview)).transpose()?,
            data: self.data.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            vendor,
        })
    }
}

fn json(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, StoreError> {
    serde_json::from_str(text).map_err(|err| StoreError::new(StoreErrorKind::Corrupt, err))
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserRecord<'a> {
    #[serde(borrow)]
    pub(super) devices: Vec<DeviceRecord<'a>>,
    muted: Vec<&'a str>,
    quiet: Option<(u16, u16, &'a str)>,
    preview: Option<u8>,
    language: Option<&'a str>,
    nickname: Option<&'a str>,
    avatar: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeviceRecord<'a> {
    pub(super) id: &'a str,
    lane: &'a str,
    token: &'a str,
    locale: Option<&'a str>,
    time_zone: Option<&'a str>,
    app_version: Option<&'a str>,
    model: Option<&'a str>,
    pub(super) generation: u64,
    registered_at: u64,
}

impl<'a> UserRecord<'a> {
    pub(super) fn of(user: &'a super::User) -> Self {
        let (wishes, looks) = (&user.preferences, &user.profile);
        let quiet = wishes.quiet_hours.as_ref();
        UserRecord {
            devices: user.devices.iter().map(DeviceRecord::from).collect(),
            muted: wishes.muted.iter().map(|conversation| &**conversation).collect(),
            quiet: quiet.map(|hours| (hours.from_minute, hours.to_minute, &*hours.time_zone)),
            preview: wishes.preview.map(|preview| code(&PREVIEWS, preview)),
            language: wishes.language.as_deref(),
            nickname: looks.nickname.as_deref(),
            avatar: looks.avatar.as_deref(),
        }
    }

    pub(super) fn user(self) -> Result<super::User, StoreError> {
        let hours = |(from_minute, to_minute, zone): (u16, u16, &str)| QuietHours {
            from_minute,
            to_minute,
            time_zone: zone.into(),
        };
        Ok(super::User {
            devices: self.devices.iter().map(DeviceRecord::device).collect(),
            preferences: Preferences {
                muted: self.muted.into_iter().map(Box::from).collect(),
                quiet_hours: self.quiet.map(hours),
                preview: self.preview.map(|preview| coded(&PREVIEWS, preview)).transpose()?,
                language: self.language.map(Box::from),
            },
            profile: Profile {
                nickname: self.nickname.map(Box::from),
                avatar: self.avatar.map(Box::from),
            },
            as_of: 0,
        })
    }
}

impl<'a> From<&'a Device> for DeviceRecord<'a> {
    fn from(device: &'a Device) -> Self {
        DeviceRecord {
            id: &device.id,
            lane: &device.lane,
            token: device.token.expose(),
            locale: device.locale.as_deref(),
            time_zone: device.time_zone.as_deref(),
            app_version: device.app_version.as_deref(),
            model: device.model.as_deref(),
            generation: device.generation,
            registered_at: device.registered_at.0,
        }
    }
}

impl DeviceRecord<'_> {
    fn device(&self) -> Device {
        Device {
            id: self.id.into(),
            lane: self.lane.into(),
            token: Token::new(self.token),
            locale: self.locale.map(Box::from),
            time_zone: self.time_zone.map(Box::from),
            app_version: self.app_version.map(Box::from),
            model: self.model.map(Box::from),
            generation: self.generation,
            registered_at: Millis(self.registered_at),
        }
    }
}

/// Who owns a token.
#[derive(Serialize, Deserialize)]
pub(super) struct OwnerRecord<'a> {
    pub(super) user: &'a str,
    pub(super) device: &'a str,
}

/// A known event id.
#[derive(Serialize, Deserialize)]
pub(super) struct IdRecord {
    pub(super) received_at: u64,
}

/// Late news of an event.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum TombstoneRecord<'a> {
    Recalled,
    /// By the event of this id.
    Edited(&'a str),
    Ended,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TraceRecord<'a> {
    pub(super) settles: bool,
    #[serde(borrow)]
    pushes: Vec<PushTraceRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PushTraceRecord<'a> {
    push_id: [u8; 16],
    slot_id: [u8; 16],
    user: Option<&'a str>,
    device: Option<&'a str>,
    lane: &'a str,
    verdict: u8,
    reason: Option<&'a str>,
    code: Option<&'a str>,
    hint: Option<&'a str>,
    vendor_ref: Option<&'a str>,
    attempts: u32,
    at: u64,
}

impl<'a> TraceRecord<'a> {
    pub(super) fn of(row: &'a super::TraceRow) -> Self {
        let push = |push: &'a PushTrace| PushTraceRecord {
            push_id: push.push_id.0,
            slot_id: push.slot_id.0,
            user: push.user_id.as_deref(),
            device: push.device_id.as_deref(),
            lane: &push.lane,
            verdict: code(&VERDICTS, push.verdict),
            reason: push.reason.as_deref(),
            code: push.code.as_deref(),
            hint: push.hint.as_deref(),
            vendor_ref: push.vendor_ref.as_deref(),
            attempts: push.attempts,
            at: push.at.0,
        };
        TraceRecord { settles: row.settles, pushes: row.pushes.iter().map(push).collect() }
    }

    pub(super) fn pushes(self) -> Result<Vec<PushTrace>, StoreError> {
        self.pushes.into_iter().map(PushTraceRecord::push).collect()
    }
}

impl PushTraceRecord<'_> {
    fn push(self) -> Result<PushTrace, StoreError> {
        Ok(PushTrace {
            push_id: Id(self.push_id),
            slot_id: Id(self.slot_id),
            user_id: self.user.map(Box::from),
            device_id: self.device.map(Box::from),
            lane: self.lane.into(),
            verdict: coded(&VERDICTS, self.verdict)?,
            reason: self.reason.map(Box::from),
            code: self.code.map(Box::from),
            hint: self.hint.map(Box::from),
            vendor_ref: self.vendor_ref.map(Box::from),
            attempts: self.attempts,
            at: Millis(self.at),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ItemRecord<'a> {
    priority: u8,
    event: &'a str,
    received_at: u64,
    sent_at: u64,
    deadline: u64,
    conversation: Option<&'a str>,
    #[serde(borrow)]
    notification: NotificationRecord<'a>,
    targets: Vec<TargetRecord<'a>>,
    attempts: u32,
    edits: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct NotificationRecord<'a> {
    title: &'a str,
    body: &'a str,
    #[serde(borrow)]
    sender: Option<SenderRecord<'a>>,
    class: u8,
    conversation: Option<&'a str>,
    event_id: &'a str,
    badge: Option<u32>,
    sound: Option<&'a str>,
    data: Vec<(&'a str, &'a str)>,
    overrides: String,
}

#[derive(Serialize, Deserialize)]
struct TargetRecord<'a> {
    push_id: [u8; 16],
    slot_id: [u8; 16],
    token: &'a str,
    owner: Option<(&'a str, &'a str, u64)>,
    burst: Option<u32>,
}

impl<'a> From<&'a Item> for ItemRecord<'a> {
    fn from(item: &'a Item) -> Self {
        let target = |target: &'a ItemTarget| TargetRecord {
            push_id: target.push_id.0,
            slot_id: target.slot_id.0,
            token: target.token.expose(),
            owner: target.owner.as_ref().map(|o| (&*o.user, &*o.device, o.generation)),
            burst: target.burst,
        };
        ItemRecord {
            priority: code(&Priority::ALL, item.priority),
            event: &item.event,
            received_at: item.received_at.0,
            sent_at: item.sent_at.0,
            deadline: item.deadline.0,
            conversation: item.conversation.as_deref(),
            notification: (&*item.notification).into(),
            targets: item.targets.iter().map(target).collect(),
            attempts: item.attempts,
            edits: item.edits.as_deref(),
        }
    }
}

impl ItemRecord<'_> {
    pub(super) fn item(self, lane: &super::LaneKey, due: Millis) -> Result<Item, StoreError> {
        let owner = |(user, device, generation): (&str, &str, u64)| Owner {
            user: user.into(),
            device: device.into(),
            generation,
        };
        let target = |target: TargetRecord<'_>| ItemTarget {
            push_id: Id(target.push_id),
            slot_id: Id(target.slot_id),
            token: Token::new(target.token),
            owner: target.owner.map(owner),
            burst: target.burst,
        };
        Ok(Item {
            app: lane.0.clone(),
            lane: lane.1.clone(),
            priority: coded(&Priority::ALL, self.priority)?,
            due,
            event: self.event.into(),
            received_at: Millis(self.received_at),
            sent_at: Millis(self.sent_at),
            deadline: Millis(self.deadline),
            conversation: self.conversation.map(Box::from),
            notification: Arc::new(self.notification.notification()?),
            targets: self.targets.into_iter().map(target).collect(),
            attempts: self.attempts,
            edits: self.edits.map(Box::from),
            leased: false,
        })
    }
}

impl<'a> From<&'a Notification> for NotificationRecord<'a> {
    fn from(n: &'a Notification) -> Self {
        NotificationRecord {
            title: &n.title,
            body: &n.body,
            sender: n.sender.as_ref().map(Into::into),
            class: code(&CLASSES, n.class),
            conversation: n.conversation.as_deref(),
            event_id: &n.event_id,
            badge: n.badge,
            sound: n.sound.as_deref(),
            data: n.data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            overrides: serde_json::to_string(&n.overrides).expect("JSON maps can be written"),
        }
    }
}

impl NotificationRecord<'_> {
    fn notification(self) -> Result<Notification, StoreError> {
        Ok(Notification {
            title: self.title.into(),
            body: self.body.into(),
            sender: self.sender.map(Into::into),
            class: coded(&CLASSES, self.class)?,
            conversation: self.conversation.map(str::to_owned),
            event_id: self.event_id.into(),
            badge: self.badge,
            sound: self.sound.map(str::to_owned),
            data: self.data.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            overrides: json(&self.overrides)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeadRecord<'a> {
    at: u64,
    why: &'a str,
    lane: &'a str,
    #[serde(borrow)]
    item: ItemRecord<'a>,
}

impl<'a> From<&'a DeadLetter> for DeadRecord<'a> {
    fn from(dead: &'a DeadLetter) -> Self {
        DeadRecord {
            at: dead.at.0,
            why: &dead.why,
            lane: &dead.item.lane,
            item: (&dead.item).into(),
        }
    }
}

impl DeadRecord<'_> {
    pub(super) fn letter(self, app: &Arc<str>, sequence: u64) -> Result<DeadLetter, StoreError> {
        let item = self.item.item(&(app.clone(), self.lane.into()), Millis(self.at))?;
        Ok(DeadLetter {
            app: app.clone(),
            sequence,
            at: Millis(self.at),
            event: item.event.clone(),
            why: self.why.into(),
            item,
        })
    }
}
