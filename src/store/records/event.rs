//! A queued event.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthorn_vendors::{Id, Sender, Token};
use serde::{Deserialize, Serialize};

use super::{CLASSES, MESSAGE_TYPES, PREVIEWS, code, coded};
use crate::model::{Burst, DirectTarget, Event, Kind, Message, Millis, PushOptions};
use crate::store::{StoreError, StoreErrorKind};

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct EventRecord<'a> {
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
pub(super) struct SenderRecord<'a> {
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
    pub(in crate::store) fn event(self, app: &Arc<str>) -> Result<Event, StoreError> {
        let target = |(lane, token): (&str, &str)| DirectTarget {
            lane: lane.into(),
            token: Token::new(token),
        };
        let burst = |(at, slot, count): (u16, [u8; 16], u32)| (at, Burst { slot: Id(slot), count });
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

pub(super) fn json(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, StoreError> {
    serde_json::from_str(text).map_err(|err| StoreError::new(StoreErrorKind::Corrupt, err))
}
