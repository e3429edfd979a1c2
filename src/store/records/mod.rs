//! The stored form of what the model speaks of: postcard behind one version byte, borrowed both
//! ways. Private to `store`; a field is added by a new version, never by changing an old one.

mod event;
mod item;
mod trace;
mod user;

use posthorn_vendors::Class;
use serde::{Deserialize, Serialize};

pub(super) use self::event::EventRecord;
pub(super) use self::item::{DeadRecord, ItemRecord};
pub(super) use self::trace::TraceRecord;
pub(super) use self::user::UserRecord;
use super::{StoreError, StoreErrorKind};
use crate::model::{MessageType, Preview, Verdict};

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
