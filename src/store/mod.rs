//! What must survive: events, devices, traces. Floor 1.
//!
//! Role traits here, one backend a folder, one behaviour suite (`suite/`) that every backend must
//! pass. All writing goes through one verb, [`Commit::commit`], which takes everything that belongs
//! together as one [`Changes`]: the embedded backend commits it atomically, a distributed one
//! writes idempotent pieces in an order that a crash cannot hurt.
//!
//! Deliberately absent: policy. Nothing here knows why a push is retried or a token dropped.

mod changes;
pub mod embedded;
mod records;
#[cfg(feature = "testkit")]
pub mod suite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use changes::{
    Appended, Changes, Committed, DeadLetter, Device, Item, ItemKey, ItemTarget, LeaseKey, Owner,
    Prune, Registered, Registration, TraceRow,
};

use crate::model::{AppId, Event, EventTrace, LaneName, Millis, Preferences, Profile};

/// What every method answers. Boxed, so that a backend is chosen at run time; all methods take or
/// give batches, so the box is paid once a batch.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A complete backend.
pub trait Store: Commit + Queue + Items + Registry + Traces {}
impl<T: Commit + Queue + Items + Registry + Traces> Store for T {}

/// Writing.
pub trait Commit: Send + Sync {
    /// Writes all of `changes` or none. On `Ok` they are durable as far as `changes.durable` asked.
    /// Shared, so that a caller who must not lose them can try again.
    fn commit(&self, changes: Arc<Changes>) -> Answer<'_, Committed>;

    /// Whether a commit would be taken now.
    fn health(&self) -> Health;
}

/// Whether the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Ready,
    /// Commits fail for the reason given; it is being reopened.
    Unavailable(String),
    /// A commit has been hanging for longer than the watchdog allows.
    Stalled,
}

/// Events on their way in, in order of (priority, app, sequence).
pub trait Queue: Send + Sync {
    /// Leases up to `max` events that nobody holds: calls before chat before bulk, apps in turn,
    /// passing over `busy` apps. Waits for nothing. A lease ends by an ack in a commit or by
    /// [`Queue::release`]; one whose holder died is due again.
    fn lease<'a>(&'a self, max: usize, busy: &'a [AppId]) -> Answer<'a, Vec<Lease>>;

    /// Gives leases back unfinished.
    fn release(&self, leases: &[LeaseKey]);

    /// Returns once an event may have become leasable since this was last called.
    fn wait_for_events(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Events of this app that are not acked yet.
    fn backlog(&self, app: &str) -> u64;
}

/// A leased event.
#[derive(Debug, Clone)]
pub struct Lease {
    pub key: LeaseKey,
    pub event: Arc<Event>,
}

/// Pushes that wait for their lane: retries, and what a slow lane did not get to.
pub trait Items: Send + Sync {
    /// Leases up to `max` items of this lane that are due: calls before chat before bulk, then by
    /// time. Ends as an event's lease does.
    fn lease_items<'a>(
        &'a self,
        app: &'a str,
        lane: &'a str,
        now: Millis,
        max: usize,
    ) -> Answer<'a, Vec<(ItemKey, Item)>>;

    /// Gives items back unfinished.
    fn release_items(&self, items: &[ItemKey]);

    /// When the lane's next unleased item is due.
    fn next_due<'a>(&'a self, app: &'a str, lane: &'a str) -> Answer<'a, Option<Millis>>;

    /// When the event of the lane's oldest item was received, leased ones included; of a long
    /// backlog only the items first due are looked at.
    fn oldest<'a>(&'a self, app: &'a str, lane: &'a str) -> Answer<'a, Option<Millis>>;

    /// Every lane that has items, configured or not.
    fn item_lanes(&self) -> Vec<LaneKey>;

    /// Items of this lane, leased ones included.
    fn depth(&self, app: &str, lane: &str) -> u64;

    /// Dead letters of this app, newest first.
    fn dead<'a>(&'a self, app: &'a str, max: usize) -> Answer<'a, Vec<DeadLetter>>;
}

/// Users' devices, wishes and looks.
pub trait Registry: Send + Sync {
    /// What is known of each user, in order; a stranger has no devices.
    fn users<'a>(&'a self, app: &'a str, users: &'a [&'a str]) -> Answer<'a, Vec<User>>;

    /// Whether each device still belongs to this user with this generation. `as_of` is what
    /// [`User::as_of`] said when the devices were read; a backend may answer from it alone.
    fn still_owned<'a>(
        &'a self,
        app: &'a str,
        checks: &'a [Ownership<'a>],
        as_of: u64,
    ) -> Answer<'a, Vec<bool>>;

    /// Whether no device has changed its owner since this reading, for all that is known here:
    /// then [`Registry::still_owned`] need not be asked.
    fn is_current(&self, as_of: u64) -> bool;

    /// Who has this device id now.
    fn device_owner<'a>(&'a self, app: &'a str, device: &'a str) -> Answer<'a, Option<Device>>;

    /// Registered devices of all apps.
    fn device_count(&self) -> u64;
}

/// What is known of one user.
#[derive(Debug, Clone, Default)]
pub struct User {
    pub devices: Vec<crate::model::Device>,
    pub preferences: Preferences,
    pub profile: Profile,
    /// Names this reading, for [`Registry::still_owned`].
    pub as_of: u64,
}

/// A device as it was when it was looked up.
#[derive(Debug, Clone, Copy)]
pub struct Ownership<'a> {
    pub user: &'a str,
    pub device: &'a str,
    pub generation: u64,
}

/// What became of events, and late news about them.
pub trait Traces: Send + Sync {
    /// Whether this id was accepted within the retention.
    fn is_known<'a>(&'a self, app: &'a str, event: &'a str) -> Answer<'a, bool>;

    /// One event's trace; `None` when the id was not seen within the retention.
    fn trace<'a>(&'a self, app: &'a str, event: &'a str) -> Answer<'a, Option<EventTrace>>;

    /// The ids of the newest events addressed to this user, newest first.
    fn events_of<'a>(
        &'a self,
        app: &'a str,
        user: &'a str,
        max: usize,
    ) -> Answer<'a, Vec<Box<str>>>;

    /// Whether there is any late news at all: without it [`Traces::overtaken`] need not be asked.
    fn has_news(&self) -> bool;

    /// For each question, what has overtaken the push.
    fn overtaken<'a>(
        &'a self,
        app: &'a str,
        pushes: &'a [Standing<'a>],
    ) -> Answer<'a, Vec<Option<Overtaken>>>;
}

/// A push about to be sent, as far as late news can concern it.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub event: &'a str,
    /// The event whose text this one replaces.
    pub edits: Option<&'a str>,
    pub user: Option<&'a str>,
    pub conversation: Option<&'a str>,
    pub sent_at: Millis,
    /// The recipient's burst, and this message's place in it.
    pub burst: Option<(posthorn_vendors::Id, u32)>,
}

/// Why a push must not be sent any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overtaken {
    /// Its event was recalled or cancelled.
    Recalled,
    /// Its event was edited; the edit carries the new text.
    Edited,
    /// Its call is over.
    Ended,
    /// The recipient has read it elsewhere.
    Read,
    /// A later message of the same burst stands in its place.
    Superseded,
}

impl Overtaken {
    /// The rule's word in a trace.
    pub fn word(self) -> &'static str {
        match self {
            Overtaken::Recalled => "recalled",
            Overtaken::Edited => "edited",
            Overtaken::Ended => "call_ended",
            Overtaken::Read => "read",
            Overtaken::Superseded => "superseded",
        }
    }
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub detail: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreErrorKind {
    #[error("the store is unavailable")]
    Unavailable,
    #[error("the change conflicts with another")]
    Conflict,
    #[error("the store is full")]
    Full,
    #[error("stored data is unreadable")]
    Corrupt,
}

impl StoreError {
    /// An error of this kind.
    pub fn new(kind: StoreErrorKind, detail: impl std::fmt::Display) -> Self {
        StoreError { kind, detail: detail.to_string().into() }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Full)
    }
}

/// A lane's place in the store.
pub type LaneKey = (AppId, LaneName);
