//! What comes in: an event, addressed to users or to bare tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use posthorn_vendors::{Class, Id, Sender, Token};

use super::{AppId, LaneName, Millis, Preview};

/// How long an event id is remembered, a trace is kept, and a tombstone stands.
pub const RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// One thing that happened at the IM server, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub app: AppId,
    /// The caller's id; the idempotency key within the app.
    pub id: Box<str>,
    pub kind: Kind,
    pub class: Class,
    /// Recipients known to us by their devices.
    pub to: Vec<Box<str>>,
    /// Recipients whose tokens the caller keeps.
    pub targets: Vec<DirectTarget>,
    /// As the caller sent it; the stored profile fills what is missing.
    pub from: Option<Sender>,
    pub conversation: Option<Box<str>>,
    pub sent_at: Millis,
    pub received_at: Millis,
    /// After this nobody wants it.
    pub deadline: Millis,
    pub badge: Option<u32>,
    pub push: PushOptions,
    /// Recipients for whom this is not the first message of its conversation within the burst
    /// window: the place in `to`, and the burst.
    pub bursts: Vec<(u16, Burst)>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Message(Message),
    Call,
    CallEnd {
        of: Box<str>,
    },
    Recall {
        of: Box<str>,
    },
    Edit {
        of: Box<str>,
        message: Message,
    },
    /// One of the recipient's devices has read the conversation up to this moment.
    Read {
        up_to: Millis,
    },
    FriendRequest(Option<Message>),
    System(Option<Message>),
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub kind: MessageType,
    pub text: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// A token the caller keeps itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectTarget {
    pub lane: LaneName,
    pub token: Token,
}

/// The caller's wishes for the notification.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushOptions {
    pub title: Option<Box<str>>,
    pub body: Option<Box<str>>,
    /// `None` leaves the default; `Some("")` is silence.
    pub sound: Option<Box<str>>,
    pub preview: Option<Preview>,
    pub data: BTreeMap<String, String>,
    /// Fields for one vendor alone, by vendor id.
    pub vendor: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

/// A recipient's run of messages in one conversation: all share the first one's place on screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// The slot of the first message.
    pub slot: Id,
    /// How many distinct messages it counts with this one; at least 2.
    pub count: u32,
}

/// The order of work. A call never waits behind chat, chat never behind bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Call,
    Chat,
    Bulk,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Call, Priority::Chat, Priority::Bulk];
}

impl Event {
    /// When this event's work is done, relative to others.
    pub fn priority(&self) -> Priority {
        match (&self.kind, self.class) {
            (Kind::Call | Kind::CallEnd { .. }, _) | (_, Class::Call) => Priority::Call,
            (_, Class::Marketing) => Priority::Bulk,
            _ => Priority::Chat,
        }
    }

    /// The event this one speaks of.
    pub fn speaks_of(&self) -> Option<&str> {
        match &self.kind {
            Kind::CallEnd { of } | Kind::Recall { of } | Kind::Edit { of, .. } => Some(of),
            Kind::Message(_)
            | Kind::Call
            | Kind::Read { .. }
            | Kind::FriendRequest(_)
            | Kind::System(_) => None,
        }
    }

    /// The burst that the recipient at `place` in `to` is in, if this is not its first message.
    pub fn burst_of(&self, place: usize) -> Option<Burst> {
        self.bursts.iter().find(|(at, _)| usize::from(*at) == place).map(|(_, burst)| *burst)
    }
}
