//! A parked item, and a dead letter.

use std::sync::Arc;

use posthorn_vendors::{Id, Notification, Token};
use serde::{Deserialize, Serialize};

use super::event::{SenderRecord, json};
use super::{CLASSES, code, coded};
use crate::model::{Millis, Priority};
use crate::store::{DeadLetter, Item, ItemTarget, LaneKey, Owner, StoreError};

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct ItemRecord<'a> {
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
    pub(in crate::store) fn item(self, lane: &LaneKey, due: Millis) -> Result<Item, StoreError> {
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
pub(in crate::store) struct DeadRecord<'a> {
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
    pub(in crate::store) fn letter(
        self,
        app: &Arc<str>,
        sequence: u64,
    ) -> Result<DeadLetter, StoreError> {
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
