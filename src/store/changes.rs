//! Everything one writer wants written together.

use std::sync::Arc;

use posthorn_vendors::{Id, Notification, Token};

use super::LaneKey;
use crate::model::{AppId, Event, LaneName, Millis, Preferences, Priority, Profile, PushTrace};

/// One atomic write. Empty fields cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Events to queue, each unless its id is known. Recalls, edits, call ends and reads among
    /// them write their tombstone in the same stroke.
    pub append: Vec<Arc<Event>>,
    /// Events that are through.
    pub ack: Vec<LeaseKey>,
    /// Items to keep for their lane.
    pub park: Vec<Item>,
    /// Items that are through (or were parked again).
    pub unpark: Vec<ItemKey>,
    /// What became of pushes.
    pub traces: Vec<TraceRow>,
    /// Tokens the vendor called dead.
    pub prune: Vec<Prune>,
    /// Pushes in bursts that the vendor took, so that older ones are not sent over them.
    pub latest: Vec<(AppId, Id, u32)>,
    /// What nobody could deliver, for the operator.
    pub bury: Vec<DeadLetter>,
    /// Dead letters that go, by app and sequence.
    pub exhume: Vec<(AppId, u64)>,
    /// Devices to register.
    pub register: Vec<Registration>,
    /// Devices to forget: app, device id, and the user it must belong to, if any.
    pub unregister: Vec<(AppId, Box<str>, Option<Box<str>>)>,
    pub preferences: Vec<(AppId, Box<str>, Preferences)>,
    pub profiles: Vec<(AppId, Box<str>, Profile)>,
    /// Whether the caller will tell somebody that this is kept. Without it a power cut may undo
    /// the change (a crash of the process never does); pushes are then sent again with their ids.
    pub durable: bool,
}

impl Changes {
    /// About how many rows this writes.
    pub(super) fn rows(&self) -> usize {
        3 * self.append.len()
            + self.ack.len()
            + self.park.len()
            + self.unpark.len()
            + self.traces.len()
    }
}

/// What a commit found.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each of `Changes::append`, in order.
    pub appended: Vec<Appended>,
    /// One for each of `Changes::register`, in order.
    pub registered: Vec<Registered>,
    /// One for each of `Changes::unregister`: whether it was there.
    pub unregistered: Vec<bool>,
    /// One for each of `Changes::park`, in order.
    pub parked: Vec<ItemKey>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    New,
    Duplicate,
}

/// A queued event's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    pub priority: Priority,
    pub app: AppId,
    pub sequence: u64,
}

/// An item's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemKey {
    pub lane: LaneKey,
    pub priority: Priority,
    pub due: Millis,
    pub sequence: u64,
}

/// Pushes of one event that share a lane and a notification, waiting for their lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub app: AppId,
    pub lane: LaneName,
    pub priority: Priority,
    pub due: Millis,
    pub event: Box<str>,
    pub received_at: Millis,
    pub sent_at: Millis,
    pub deadline: Millis,
    pub conversation: Option<Box<str>>,
    pub notification: Arc<Notification>,
    pub targets: Vec<ItemTarget>,
    /// Vendor calls made so far.
    pub attempts: u32,
    /// The event whose text this one replaces: its recall or a later edit overtakes this too.
    pub edits: Option<Box<str>>,
    /// Parked by somebody who goes on working on it: leased from the start.
    pub leased: bool,
}

/// One device of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemTarget {
    pub push_id: Id,
    pub slot_id: Id,
    pub token: Token,
    /// The user and device, unless the caller keeps the token itself.
    pub owner: Option<Owner>,
    /// This message's place in its burst.
    pub burst: Option<u32>,
}

/// The device behind a target, as it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub user: Box<str>,
    pub device: Box<str>,
    pub generation: u64,
}

/// A part of an event's trace.
#[derive(Debug, Clone)]
pub struct TraceRow {
    pub app: AppId,
    pub event: Box<str>,
    /// Finds the day the trace is kept in.
    pub received_at: Millis,
    pub pushes: Vec<PushTrace>,
    /// Whether this is the event's own row, written with its ack.
    pub settles: bool,
}

/// A token to forget, if the device still has this generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    pub app: AppId,
    pub owner: Owner,
    /// The vendor knew it dead at this moment: a later registration stays.
    pub since: Option<Millis>,
}

/// A registration to write.
#[derive(Debug, Clone)]
pub struct Registration {
    pub app: AppId,
    pub user: Box<str>,
    /// `generation` is ignored.
    pub device: crate::model::Device,
    /// Refuse when the device id is another user's with another token.
    pub must_prove: bool,
}

/// What a registration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// A new device, or a new token or owner for a known one.
    Created { generation: u64 },
    /// The same device, user, lane and token: refreshed.
    Refreshed { generation: u64 },
    /// It is another user's, and the caller did not show its token.
    Foreign,
}

/// A device and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub user: Box<str>,
    pub device: crate::model::Device,
}

/// Something nobody could deliver, kept for the operator to look at and send again.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub app: AppId,
    /// Its place in the list; ignored when burying.
    pub sequence: u64,
    pub at: Millis,
    pub event: Box<str>,
    /// In one sentence.
    pub why: Box<str>,
    pub item: Item,
}
